"""Prepared pictures, ready to train on: a memory-mapped array of uint8 and what belongs to each picture.

A store on disk is a folder that is complete or absent, never half there (`preparing` sees to that):

    store.json     format version, source, how it was read, pipeline, class names, fingerprint
    pictures.npy   uint8 (N, H, W, C), in the order of the source
    names.bin      the N names (see `texts`)
    skipped.bin    what could not be prepared and why: name and reason in turn
    index.npz      digests (N,); where the source has them labels (N,) and one array of indices per official split;
                   the indices in the source of skipped pictures to which access was refused (see `preparing`)

Names and reasons stay on the disk until they are asked for; in memory a picture takes a few numbers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from betabloom.data.pictures.pipeline import Pipeline
from betabloom.data.pictures.reading import Reading
from betabloom.data.store.split import split_pictures
from betabloom.data.store.texts import Texts, write_texts
from betabloom.errors import FormatError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from typing_extensions import Self

__all__ = [
    "FORMAT",
    "Store",
    "digest_of",
    "fingerprint_of",
    "open_store",
    "write_facts",
    "write_names",
    "write_skipped",
]

FORMAT = 3
"""Version of the format above; a store of another version is prepared anew."""


@dataclass(frozen=True, eq=False)
class Store:
    """Prepared pictures. Made by `prepare` or `Store.from_array`; read-only.

    Attributes:
        pictures: uint8, shape (N, H, W, C); memory-mapped where it lies on disk.
        names: The name of each picture in its source.
        digests: A hash of the pixels of each picture, uint64, shape (N,); equal pictures have equal digests.
        pipeline: What prepared them, and prepares others in the same way.
        source_name: What a person calls the source.
        fingerprint: Hexadecimal digest of all names and digests.
        labels: Class indices, int64, shape (N,), or None.
        label_names: The name of each class, or None.
        splits: Official splits as {name: indices into this store}; empty where there are none.
        skipped: What could not be prepared, as {"name": …, "reason": …}.
        changed: Whether the source changed while it was prepared. The pictures are sound, but the next `prepare` does
            not take them for those of the source.
        reading: How its pictures were read, or None where that is not known.
        refused: Indices in the source of skipped pictures that could not be accessed and may come back, int64.
        path: The folder it lies in, or None in memory.
    """

    pictures: np.ndarray
    names: Sequence[str]
    digests: np.ndarray
    pipeline: Pipeline
    source_name: str
    fingerprint: str
    labels: np.ndarray | None = None
    label_names: Sequence[str] | None = None
    splits: dict[str, np.ndarray] = field(default_factory=dict)
    skipped: Sequence[dict[str, str]] = ()
    changed: bool = False
    reading: Reading | None = None
    refused: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    path: Path | None = None

    def __len__(self) -> int:
        return len(self.pictures)

    def __repr__(self) -> str:
        shape = " × ".join(str(n) for n in self.pictures.shape)
        return f"<Store of '{self.source_name}': {shape}, pipeline '{self.pipeline.name}', {len(self.skipped)} skipped>"

    @classmethod
    def from_array(
        cls,
        array: np.ndarray,
        names: Sequence[str] | None = None,
        labels: np.ndarray | None = None,
        source_name: str = "array",
        pipeline: Pipeline | None = None,
    ) -> Self:
        """Make a store in memory from pictures that are already prepared.

        Arguments:
            array: uint8, shape (N, H, W, C) with C = 1 or 3; it is not copied.
            names: N names; "0", "1", … if left out.
            labels: N class indices.
            source_name: What a person calls the source.
            pipeline: What prepared them; `square` of their size if left out.

        Returns:
            The store; nothing is written to disk.

        Raises:
            UsageError: The array is of another type or shape, or the lengths differ.
        """
        if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.ndim != 4 or 0 in array.shape:
            found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise UsageError(f"'array' should be uint8 of shape (N, H, W, C), not {found}")
        names = [str(i) for i in range(len(array))] if names is None else list(names)
        if len(names) != len(array) or (labels is not None and len(labels) != len(array)):
            raise UsageError(f"'names' and 'labels' should have {len(array)} entries, one for each picture")
        pictures = array.view()
        pictures.flags.writeable = False
        digests = np.array([digest_of(picture) for picture in array], dtype=np.uint64)
        return cls(
            pictures=pictures,
            names=names,
            digests=digests,
            pipeline=pipeline or Pipeline.named("square", array.shape[1:3], array.shape[3]),
            source_name=source_name,
            fingerprint=fingerprint_of(names, digests),
            labels=None if labels is None else np.asarray(labels, dtype=np.int64),
        )

    def split(self, train: str = "auto", holdout: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
        """Choose the pictures to train on and those to validate on.

        Arguments:
            train: "auto": with an official "val" split, validate on it and train on everything else; without, as "all".
                "all": everything, a share of it held out by content. Names of official splits joined by "+", such as
                "train" or "train+test": train on these, validate on "val", or on a share of them if "val" is one.
            holdout: The share, in (0, 1), that is held out by content: a picture is held out if its digest lies in the
                lowest share of all possible ones. Adding pictures therefore never moves one to the other side, and
                exact duplicates stay together. Where that leaves a side empty (few pictures), it gets the pictures
                whose digest is nearest to it; of pictures that are all equal the first is held out.

        Returns:
            (training, validation): sorted int64 indices without a picture in common. Each has at least one when the
            chosen pictures are at least two.

        Raises:
            UsageError: There is no such split, or `holdout` is not a share.
        """
        return split_pictures(self.digests, self.splits, train, holdout)

    def held_out_as(self, other: Store) -> Self:
        """The same pictures, of which `split` holds out those that it does in `other`, by their names.

        The pixels of pictures that were prepared in another size say nothing of that.
        """
        theirs = dict(zip(other.names, other.digests, strict=True))
        pairs = zip(self.names, self.digests, strict=True)
        return dataclasses.replace(self, digests=np.array([theirs.get(*each) for each in pairs], dtype=np.uint64))


def digest_of(picture: np.ndarray) -> int:
    """Hash the pixels of one prepared picture to 64 bits."""
    return int.from_bytes(hashlib.blake2b(np.ascontiguousarray(picture).data, digest_size=8).digest(), "little")


def fingerprint_of(names: Iterable[str], digests: np.ndarray) -> str:
    """Digest all names and picture digests, in order."""
    digest = hashlib.sha256(b"[")
    for i, name in enumerate(names):
        digest.update(f"{', ' if i else ''}{json.dumps(name)}".encode())
    digest.update(b"]")
    digest.update(digests.astype("<u8").tobytes())
    return digest.hexdigest()


class _Skipped(Sequence[dict[str, str]]):
    """Names and reasons in turn, as dictionaries."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts) // 2

    @overload
    def __getitem__(self, index: int) -> dict[str, str]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, str]]: ...

    def __getitem__(self, index: int | slice) -> dict[str, str] | list[dict[str, str]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = 2 * range(len(self))[index]
        return {"name": self._texts[place], "reason": self._texts[place + 1]}


def write_names(folder: Path, names: Iterable[str], count: int) -> Sequence[str]:
    """Write the names of the `count` pictures into `folder`; return them as they lie there."""
    write_texts(folder / "names.bin", names, count)
    return Texts(folder / "names.bin")


def write_skipped(folder: Path, skipped: Iterable[dict[str, str]], count: int) -> Sequence[dict[str, str]]:
    """Write what could not be prepared, `count` entries, into `folder`; return it as it lies there."""
    texts = (entry[key] for entry in skipped for key in ("name", "reason"))
    write_texts(folder / "skipped.bin", texts, 2 * count)
    return _Skipped(Texts(folder / "skipped.bin"))


def write_facts(folder: Path, store: Store) -> None:
    """Write everything else but the pictures into `folder`."""
    facts: dict[str, Any] = {"format": FORMAT, "shape": list(store.pictures.shape)}
    for key in ("source_name", "fingerprint", "label_names", "changed"):
        facts[key] = getattr(store, key)
    facts["pipeline"] = store.pipeline.to_dict()
    facts["reading"] = None if store.reading is None else store.reading.options()
    arrays = {"digests": store.digests, "refused": store.refused}
    arrays |= {f"split/{name}": indices for name, indices in store.splits.items()}
    if store.labels is not None:
        arrays["labels"] = store.labels
    with (folder / "index.npz").open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    (folder / "store.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def open_store(folder: Path) -> Store:
    """Open a prepared store.

    Raises:
        FormatError: It is damaged or of another version.
    """
    try:
        store = _read(folder)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise FormatError(f"the prepared pictures in '{folder}' are damaged ({error}); delete that folder") from error
    if not len(store.pictures) == len(store.names) == len(store.digests):
        raise FormatError(f"the prepared pictures in '{folder}' are damaged (lengths differ); delete that folder")
    return store


def _read(folder: Path) -> Store:
    facts = json.loads((folder / "store.json").read_text(encoding="utf-8"))
    if facts["format"] != FORMAT:
        raise ValueError(f"format {facts['format']}, expected {FORMAT}")
    with (folder / "index.npz").open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        arrays = dict(file)
    pictures = np.load(folder / "pictures.npy", mmap_mode="r", allow_pickle=False)
    if pictures.dtype != np.uint8 or list(pictures.shape) != facts["shape"]:
        raise ValueError("pictures of another shape")
    return Store(
        pictures=pictures,
        names=Texts(folder / "names.bin"),
        digests=arrays["digests"],
        pipeline=Pipeline.from_dict(facts["pipeline"]),
        source_name=facts["source_name"],
        fingerprint=facts["fingerprint"],
        labels=arrays.get("labels"),
        label_names=facts["label_names"],
        splits={key.removeprefix("split/"): value for key, value in arrays.items() if key.startswith("split/")},
        skipped=_Skipped(Texts(folder / "skipped.bin")),
        changed=facts["changed"],
        reading=None if facts["reading"] is None else Reading(**facts["reading"]),
        refused=arrays["refused"],
        path=folder,
    )
