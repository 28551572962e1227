"""A page of a TIFF as a file of its own, so that opening page n does not mean walking through all pages before it.

A TIFF begins with the place of its first directory; each directory tells the place of the next. A file that begins
with the place of the directory of page n is a TIFF that begins with page n.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any, BinaryIO

__all__ = ["first_directory", "from_page"]


def first_directory(header: bytes) -> int:
    """The place of the first directory that the first 16 bytes of a TIFF tell."""
    where, order = _field(header)
    return int.from_bytes(header[where], order)  # type: ignore[arg-type]


def from_page(file: Path | BinaryIO, directory: int) -> BinaryIO:
    """A file that begins with another page.

    Arguments:
        file: A TIFF: its path, or its bytes as a file in memory.
        directory: Where the directory of the page stands, in bytes from the beginning.
    """
    if isinstance(file, os.PathLike):
        return io.BufferedReader(_Redirected(file, directory))
    file.seek(0)
    content = bytearray(file.read())
    where, order = _field(bytes(content[:16]))
    content[where] = directory.to_bytes(where.stop - where.start, order)  # type: ignore[arg-type]
    return io.BytesIO(content)


def _field(header: bytes) -> tuple[slice, str]:
    """Which bytes tell the place of the first directory, and their order; a BigTIFF (number 43) has eight."""
    order = "big" if header[:2] == b"MM" else "little"
    large = 43 in (header[2], header[3])
    return slice(8, 16) if large else slice(4, 8), order


class _Redirected(io.FileIO):
    """A TIFF on the disk of which the field for the first directory reads as another place."""

    def __init__(self, path: os.PathLike[str], directory: int) -> None:
        super().__init__(path)
        where, order = _field(super().read(16) or b"")
        self._start, self._field = where.start, directory.to_bytes(where.stop - where.start, order)  # type: ignore[arg-type]
        self.seek(0)

    def readinto(self, buffer: Any) -> int:
        place = self.tell()
        count = super().readinto(buffer) or 0
        first, last = max(place, self._start), min(place + count, self._start + len(self._field))
        if first < last:
            memoryview(buffer)[first - place : last - place] = self._field[first - self._start : last - self._start]
        return count
