"""Data sets in the format of Hugging Face `datasets`: from the Hub, saved on this disk, or Parquet files.

The package is the extra `hf`; it is imported when such a source is opened. Its own decoding is not used: what its cells
hold is read as any other file is, with the same care.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.data.pictures.decode import peek
from betabloom.data.sources.encoded import Encoded, natural
from betabloom.data.sources.source import Stream
from betabloom.data.sources.table import PATHS
from betabloom.errors import PictureError, SourceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from typing_extensions import Unpack

    from betabloom.data.pictures.reading import ReadingOptions

__all__ = ["HuggingFace", "HuggingFaceStream", "is_saved"]

_LABELS = ("label", "labels", "class", "category", "fine_label", "target")


class HuggingFace(Encoded):
    """One split of a data set, held on this disk.

    Arguments:
        place: "NAME", "OWNER/NAME" or "OWNER/NAME/CONFIG" on the Hub, each also with ":SPLIT" ("train" if left out); a
            folder that `save_to_disk` wrote; a Parquet file or a list of them.
        options: How pictures are read; see `Reading`.

    Raises:
        UsageError: The package is not installed, or there is no such colour or size.
        SourceError: There is no such data set or split, or it holds no pictures.
    """

    def __init__(self, place: str | Path | Sequence[Path], **options: Unpack[ReadingOptions]) -> None:
        super().__init__(**options)
        self.name, dataset = _open(place)
        self._roots = _roots(place)
        self._image, label, self.notes = _columns(dataset, self.name)
        self._dataset = _undecoded(dataset, self._image)
        self.names = [f"{index:07d}" for index in range(len(dataset))]  # rows have no names to exclude
        if not self.names:
            raise SourceError(f"'{self.name}' holds no pictures: it is empty")
        self.splits = {}
        if label is not None:
            self.label_names, self.labels = _classes(dataset, label)

    def open(self, index: int) -> Path | BinaryIO:
        """Return the encoded bytes of picture `index`, or its path."""
        return _file(self._dataset[index][self._image], self._roots)

    def fingerprint(self) -> str:
        """Digest what `datasets` keeps to tell data sets apart, and how some of the pictures begin."""
        facts = (self._how(), self.name, len(self), self._image, self._dataset._fingerprint, self._beginnings())
        return hashlib.sha256(repr(facts).encode()).hexdigest()


class HuggingFaceStream(Stream):
    """One split of a data set on the Hub or on this disk, read as it comes; nothing is kept.

    Arguments:
        place: As for `HuggingFace`.
        options: How pictures are read; see `Reading`.

    Raises:
        UsageError: The package is not installed, or there is no such colour.
        SourceError: There is no such data set or split, or it holds no pictures.
    """

    def __init__(self, place: str | Path | Sequence[Path], **options: Unpack[ReadingOptions]) -> None:
        super().__init__(**options)
        self.name, dataset = _open(place, streaming=True)
        if dataset.features is None:
            dataset = dataset._resolve_features()
        self._roots = _roots(place)
        self._image, self._label, _ = _columns(dataset, self.name)
        self.label_names = getattr(dataset.features.get(self._label), "names", None)
        self._dataset = _undecoded(dataset, self._image)
        self._part = (0, 1)

    def shard(self, rank: int, world: int) -> HuggingFaceStream:
        """Return every `world`-th file of the data set, or every `world`-th picture where files do not divide so."""
        part = object.__new__(HuggingFaceStream)
        part.__dict__.update(self.__dict__)
        part._part = (rank, world)
        return part

    def files(self) -> Iterator[tuple[str, Path | BinaryIO, int | None]]:
        """Yield what the data set yields."""
        from datasets.distributed import split_dataset_by_node

        rank, world = self._part
        for number, row in enumerate(split_dataset_by_node(self._dataset, rank, world)):
            name = f"{number * world + rank:07d}"
            label = row.get(self._label)
            try:
                yield name, _file(row[self._image], self._roots), label if self.label_names else None
            except PictureError as error:
                self.skipped.add(name, str(error))


def is_saved(path: Path) -> bool:
    """Tell whether a folder is one that `save_to_disk` wrote."""
    return (path / "dataset_dict.json").is_file() or all(
        (path / name).is_file() for name in ("dataset_info.json", "state.json")
    )


def _open(place: str | Path | Sequence[Path], *, streaming: bool = False) -> tuple[str, Any]:
    """Return what a person calls the data set, and one split of it."""
    try:
        import datasets
    except ImportError as error:
        raise UsageError(
            "data sets from Hugging Face and Parquet files need one more package: type pip install 'betabloom[hf]'"
        ) from error
    files = [place] if isinstance(place, Path) else place
    name = place if isinstance(place, str) else Path(files[0]).stem
    try:
        if isinstance(place, Path) and place.is_dir():
            dataset = _one_split(datasets.load_from_disk(place))
            return place.name, dataset.to_iterable_dataset() if streaming else dataset
        if not isinstance(place, str):
            paths = [str(path) for path in files]
            return name, datasets.load_dataset("parquet", data_files=paths, split="train", streaming=streaming)
        owner, config, split = _parts(place)
        return name, datasets.load_dataset(owner, config, split=split, streaming=streaming)
    except Exception as error:  # the package and what it stands on raise anything
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        raise SourceError(f"the data set '{name}' cannot be loaded from Hugging Face or this disk: {first}") from error


def _parts(text: str) -> tuple[str, str | None, str]:
    """Split "OWNER/NAME/CONFIG:SPLIT"."""
    name, _, split = text.partition(":")
    parts = name.split("/")
    if not all(parts) or len(parts) > 3:
        raise SourceError("write hf:NAME, hf:OWNER/NAME or hf:OWNER/NAME/CONFIG, and :SPLIT after it")
    return "/".join(parts[:2]), parts[2] if len(parts) == 3 else None, split or "train"


def _one_split(dataset: Any) -> Any:
    if not hasattr(dataset, "keys"):
        return dataset
    return dataset["train"] if "train" in dataset else dataset[next(iter(dataset))]


def _roots(place: str | Path | Sequence[Path]) -> list[Path]:
    """Return the folders that relative paths in cells may start at: those of the files, or the saved data set's."""
    if isinstance(place, str):
        return []
    files = [place] if isinstance(place, Path) else place
    return list(dict.fromkeys(file if file.is_dir() else file.parent for file in files))


def _columns(dataset: Any, name: str) -> tuple[str, str | None, list[str]]:
    """Return the names of the column of pictures and of that of classes, or None, and notes on others like them.

    Of several columns of pictures the one declared as such is taken, then one that is called so, then the one whose
    first bytes are a picture.
    """
    features = dataset.features
    kinds = {column: type(feature).__name__ for column, feature in features.items()}
    images = [column for column, kind in kinds.items() if kind == "Image"]
    images += [column for column in kinds if column not in images and _is_file(features[column])]
    if not images:
        raise SourceError(f"the data set '{name}' has no column of pictures: its columns are {', '.join(kinds)}")
    called = [column for wanted in PATHS for column in images if column.lower() == wanted]
    declared = [column for column in images if kinds[column] == "Image"]
    first = [column for column in called if column in declared] + declared + called
    chosen = first[0] if first else _with_pictures(dataset, images)
    labels = [column for column, kind in kinds.items() if kind == "ClassLabel"]
    labels += [column for column in _LABELS if kinds.get(column) == "Value"]
    notes = [f"pictures are read from the column '{chosen}'; '{other}' may hold some too"
             for other in images if other != chosen and (kinds[other] == "Image" or other in called)]  # fmt: skip
    return chosen, labels[0] if labels else None, notes


def _with_pictures(dataset: Any, columns: list[str]) -> str:
    """Return the first of the columns whose cell in the first row is a picture; the first one if none is."""
    row: dict[str, Any] = next(iter(dataset.select_columns(columns)), {}) if len(columns) > 1 else {}
    for column in columns:
        with contextlib.suppress(PictureError, TypeError):
            peek(_file(row.get(column), []))
            return column
    return columns[0]


def _is_file(feature: Any) -> bool:
    """Tell a column of encoded pictures that was saved without saying so: bytes, or bytes and a path."""
    return (isinstance(feature, dict) and "bytes" in feature) or getattr(feature, "dtype", "") in (
        "binary",
        "large_binary",
    )


def _undecoded(dataset: Any, column: str) -> Any:
    import datasets

    dataset = dataset.select_columns([name for name in dataset.features if name in (column, *_LABELS)
                                      or type(dataset.features[name]).__name__ == "ClassLabel"])  # fmt: skip
    if type(dataset.features[column]).__name__ == "Image":
        return dataset.cast_column(column, datasets.Image(decode=False))
    return dataset


def _classes(dataset: Any, column: str) -> tuple[list[str], np.ndarray]:
    values = list(dataset[column])
    names = getattr(dataset.features[column], "names", None)
    if names:
        return list(names), np.array([-1 if value is None else value for value in values], dtype=np.int64)
    texts = [str(value) for value in values]
    names = sorted(set(texts), key=natural)
    index = {name: i for i, name in enumerate(names)}
    return names, np.array([index[text] for text in texts], dtype=np.int64)


def _file(cell: Any, roots: Sequence[Path]) -> Path | BinaryIO:
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, bytes):
        return io.BytesIO(cell)
    if not cell:
        raise PictureError("an empty cell")
    ways = [root / way for root in roots for way in (cell, cell.replace("\\", "/"))]
    return next((way for way in ways if os.path.lexists(way)), ways[0] if ways else Path(cell))
