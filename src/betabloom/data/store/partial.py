"""A store while it is being prepared: what is finished so far survives any interruption.

    KEY.part/journal.jsonl          a line on what is prepared, then a line for each finished piece
    KEY.part/store/pictures.npy     room for a header, then the pixels of the finished pieces

Pixels are appended before the line that announces them. A line counts only if its checksum is right and the digests in
it are those of the pixels, so whatever a crash leaves of the two files, what is trusted was really prepared.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.data.store.store import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from typing_extensions import Self

__all__ = ["Partial", "Piece", "Skip"]

_HEADER = 128
_SYNC_EVERY = 1.0  # seconds; what a power cut may cost


@dataclass(frozen=True)
class Skip:
    """A picture that could not be prepared; `refused` if the file could not be opened, whatever is in it."""

    index: int
    reason: str
    refused: bool


@dataclass
class Piece:
    """Consecutive pictures of a source: which were kept, the digests of their pixels, and why others were not."""

    start: int
    stop: int
    kept: list[int] = field(default_factory=list)
    digests: list[int] = field(default_factory=list)
    skipped: list[Skip] = field(default_factory=list)

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Read what `to_line` wrote.

        Raises:
            ValueError: It is damaged.
        """
        check, _, text = line.partition(b" ")
        if check != _check(text):
            raise ValueError("a line of the journal is damaged")
        facts = json.loads(text)
        return cls(**{**facts, "skipped": [Skip(**skip) for skip in facts["skipped"]]})

    def to_line(self) -> bytes:
        """Write it as a line of JSON with its checksum in front."""
        text = json.dumps(asdict(self)).encode() + b"\n"
        return _check(text) + b" " + text


def _check(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=8).hexdigest().encode()


class Partial:
    """The partly prepared store in `folder`, which is made if it is not there.

    Arguments:
        folder: Where it lies; whoever uses it holds a lock.
        plan: What is prepared with what, as JSON values; work on another plan is discarded.
        shape: (height, width, channels) of each picture.
        still_skipped: Tells whether pictures that were left out would be left out again.

    Attributes:
        store: The folder that becomes the store.
        seen: How many pictures of the source are done.
        kept: How many of these are usable.
        skipped: How many are not.
    """

    def __init__(
        self,
        folder: Path,
        plan: dict[str, Any],
        shape: tuple[int, int, int],
        still_skipped: Callable[[list[Skip]], bool],
    ) -> None:
        self.store, self._journal_path, self._shape = folder / "store", folder / "journal.jsonl", shape
        self.seen = self.kept = self.skipped = 0
        self.store.mkdir(parents=True, exist_ok=True)
        (self.store / "pictures.npy").touch()
        self._journal_path.touch()
        self._pixels: BinaryIO = (self.store / "pictures.npy").open("rb+")
        self._journal: BinaryIO = self._journal_path.open("rb+")
        self._resume(plan, still_skipped)
        self._synced = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()
        self._pixels.close()

    def append(self, piece: Piece, pictures: np.ndarray) -> None:
        """Add a finished piece; `pictures` is uint8, shape (number kept, height, width, channels)."""
        self._pixels.write(np.ascontiguousarray(pictures).data)
        self._pixels.flush()
        self._journal.write(piece.to_line())
        self._journal.flush()
        self._count(piece)
        if time.monotonic() - self._synced > _SYNC_EVERY:
            os.fsync(self._pixels.fileno())
            os.fsync(self._journal.fileno())
            self._synced = time.monotonic()

    def pieces(self) -> Iterator[Piece]:
        """Read what was noted of all pieces so far."""
        with self._journal_path.open("rb") as journal:
            next(journal)
            for line in journal:
                yield Piece.from_line(line)

    def finish_pictures(self) -> None:
        """Complete pictures.npy with its header, now that the number of pictures is known."""
        self._pixels.seek(0)
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.kept, *self._shape)}
        np.lib.format.write_array_header_1_0(self._pixels, header)
        if self._pixels.tell() != _HEADER:
            raise ValueError(f"pictures of shape {header['shape']} do not fit the header that was reserved for them")
        self._pixels.flush()

    def _count(self, piece: Piece) -> None:
        self.seen = piece.stop
        self.kept += len(piece.kept)
        self.skipped += len(piece.skipped)

    def _resume(self, plan: dict[str, Any], still_skipped: Callable[[list[Skip]], bool]) -> None:
        """Go through what is there, stop at the first thing that is not right, and cut both files there."""
        heading = json.dumps(plan, sort_keys=True).encode() + b"\n"
        self._pixels.seek(_HEADER)
        end = len(heading)
        if self._journal.readline() == heading:
            for line in self._journal:
                piece = self._trusted(line, still_skipped)
                if piece is None:
                    break
                self._count(piece)
                end += len(line)
        else:
            self._journal.seek(0)
            self._journal.write(heading)
        self._journal.seek(end)
        self._journal.truncate()
        self._pixels.seek(_HEADER + self.kept * int(np.prod(self._shape)))
        self._pixels.truncate()

    def _trusted(self, line: bytes, still_skipped: Callable[[list[Skip]], bool]) -> Piece | None:
        """Return what a line says if it is true; it follows on what was counted so far."""
        try:
            piece = Piece.from_line(line)
        except ValueError:
            return None
        size = int(np.prod(self._shape))
        if piece.start != self.seen:
            return None
        for digest in piece.digests:
            pixels = self._pixels.read(size)
            if len(pixels) < size or digest_of(np.frombuffer(pixels, dtype=np.uint8)) != digest:
                return None
        return piece if still_skipped(piece.skipped) else None
