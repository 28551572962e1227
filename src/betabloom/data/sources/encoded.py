"""What sources of encoded pictures (files, members of archives, cells of tables) have in common."""

from __future__ import annotations

import abc
import contextlib
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from betabloom.data.pictures.decode import VERSION, decode, peek
from betabloom.data.pictures.jpeg import scales
from betabloom.data.pictures.reading import Reading
from betabloom.data.sources.beside import refuse_sheet
from betabloom.data.sources.source import Source
from betabloom.errors import PictureError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from typing import BinaryIO

    from PIL import Image
    from typing_extensions import Unpack

    from betabloom.data.pictures.decode import PictureFacts
    from betabloom.data.pictures.reading import ReadingOptions

__all__ = ["Encoded", "classes_of", "natural", "stamp_of"]

_SAMPLES = 16  # pictures of which the beginning is part of the fingerprint
_SAMPLE = 1 << 16  # bytes


class Encoded(Source):
    """A source whose pictures are decoded when they are read.

    Arguments:
        options: How pictures are read; see `Reading`. Pictures smaller than `min_size` count as unusable.

    Raises:
        UsageError: An option has no such value.
    """

    takes_sheets = True
    """Whether a picture that betabloom made of several is read like any other."""

    def __init__(self, **options: Unpack[ReadingOptions]) -> None:
        self.reading = Reading(**options)

    @abc.abstractmethod
    def open(self, index: int) -> Path | BinaryIO:
        """Return the file of picture `index`, or its bytes as a file.

        Raises:
            PictureError: It cannot be had; the message is the reason.
        """

    def place(self, index: int) -> Path | BinaryIO:
        """Return what `open` does, without a look at what is in the file: enough to ask for its size and date."""
        return self.open(index)

    def read(self, index: int) -> Image.Image:
        """Decode picture `index`; see `Source.read`."""
        return self._decoded(index)

    def read_reduced(self, index: int, at_least: tuple[int, int]) -> Image.Image:
        """Decode picture `index`, a JPEG at reduced scale where that suffices; see `Source.read_reduced`."""
        return self._decoded(index, at_least)

    def read_transparent(self, index: int, at_least: tuple[int, int] | None = None) -> Image.Image:
        """Decode picture `index` with its transparency; see `Source.read_transparent`."""
        return self._decoded(index, at_least, alpha=True)

    def _decoded(self, index: int, at_least: tuple[int, int] | None = None, alpha: bool = False) -> Image.Image:
        """Decode picture `index`; whether it is a sheet is asked only where a file has metadata that could say so."""
        if self.takes_sheets:
            return decode(self.open(index), self.reading, at_least=at_least, alpha=alpha)
        return decode(self.place(index), self.reading, at_least=at_least, alpha=alpha, refuse=refuse_sheet)

    def facts(self, index: int) -> PictureFacts:
        """Read the header of picture `index`; see `Source.facts`."""
        return peek(self.open(index), self.reading)

    def _digest(self, kind: str, stamps: Sequence[tuple[int, ...]]) -> str:
        """Digest options, names, what tells files apart (see `stamp_of`), and how some of the pictures begin."""
        digest = hashlib.sha256(f"{kind}:{self._how()}".encode())
        for name, stamp in zip(self.names, stamps, strict=True):
            digest.update(f"\0{name}\0{stamp}".encode("utf-8", "surrogatepass"))
        digest.update(self._beginnings())
        return digest.hexdigest()

    def _beginnings(self) -> bytes:
        """Digest how a few pictures begin: not every file system tells files apart that have the same size and date."""
        digest = hashlib.sha256()
        for place in range(min(_SAMPLES, len(self))):
            with contextlib.suppress(OSError, ValueError, PictureError):
                file = self.place(place * len(self) // min(_SAMPLES, len(self)))
                with file.open("rb") if isinstance(file, Path) else file as opened:
                    digest.update(opened.read(_SAMPLE))
            digest.update(b"\0")
        return digest.digest()

    def _how(self) -> str:
        """Say what, beside the files, the pixels depend on."""
        return f"{VERSION}:{scales()}:{self.reading}"


def stamp_of(status: os.stat_result) -> tuple[int, ...]:
    """What tells a file from others without reading it: size, two times in nanoseconds, number on its disk.

    The time of modification is often set to a fixed value when an archive is unpacked, and is kept when a file is
    copied over another; the time of the last change of any kind (`ctime`; on Windows the time of creation) is not.
    """
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def natural(name: str) -> tuple[list[list[str | int]], str]:
    """Sort key: "2.jpg" before "10.jpg" and folders together, the same on every machine."""
    return [_numbers_apart(part) for part in name.split("/")], name


def _numbers_apart(text: str) -> list[str | int]:
    return [int(part) if i % 2 else part.casefold() for i, part in enumerate(re.split(r"(\d+)", text))]


def classes_of(names: Sequence[str]) -> tuple[list[str] | None, np.ndarray | None]:
    """Return the class names in natural order and an int64 index (N,), or None twice where there are no classes.

    Where all pictures lie in folders, the first level gives the classes; one folder that holds all of these is no
    class.
    """
    rest = list(names)
    while all("/" in name for name in rest):
        of_each = [name.split("/", 1)[0] for name in rest]
        classes = sorted(set(of_each), key=natural)
        inner = [name.split("/", 1)[1] for name in rest]
        if len(classes) == 1 and all("/" in name for name in inner):
            rest = inner
            continue
        index = {name: i for i, name in enumerate(classes)}
        return classes, np.array([index[name] for name in of_each], dtype=np.int64)
    return None, None
