"""Pictures that a person or a program names one by one: files, Pillow's pictures, arrays."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from PIL import Image

from betabloom.data.pictures.decode import PictureFacts, upright
from betabloom.data.pictures.reading import Reading
from betabloom.data.sources.arrays import Arrays
from betabloom.data.sources.encoded import Encoded, stamp_of
from betabloom.data.sources.source import Source
from betabloom.errors import SourceError, UsageError
from betabloom.system.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from typing_extensions import Unpack

    from betabloom.data.pictures.reading import ReadingOptions

_CHANNELS = (1, 3, 4)

__all__ = ["Files", "InMemory", "given"]


def given(pictures: Sequence[Any], **options: Unpack[ReadingOptions]) -> Source:
    """Make a source of a list of paths, or of Pillow's pictures and arrays; paths may be among the latter.

    Raises:
        SourceError: The list is empty.
        UsageError: Something else is in it.
    """
    items = list(pictures)
    if not items:
        raise SourceError("there are no pictures: the list is empty")
    if all(isinstance(item, str | os.PathLike) for item in items):
        return Files(items, **options)
    return InMemory(items, **options)


class Files(Encoded):
    """Picture files, in the order in which they are named.

    Arguments:
        paths: The files; they are only read.
        options: How pictures are read; see `Reading`. They are not too small (`min_size`) when they are asked for.

    Raises:
        UsageError: An option has no such value.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]], **options: Unpack[ReadingOptions]) -> None:
        options["min_size"] = 0
        super().__init__(**options)
        self._paths = [local_path(path) for path in paths]
        self.name = self._paths[0].name if len(self._paths) == 1 else f"{len(self._paths):,} files"
        self.names = [os.fspath(path) for path in paths]
        self.splits = {}

    def open(self, index: int) -> Path:
        """Return the path of picture `index`."""
        return self._paths[index]

    def fingerprint(self) -> str:
        """Digest paths, sizes and modification times."""
        return self._digest("files", [_stat(path) for path in self._paths])


def _stat(path: Path) -> tuple[int, ...]:
    try:
        return stamp_of(path.stat())
    except OSError:
        return -1, 0


class InMemory(Source):
    """Pictures in memory: Pillow's, or arrays of shape (H, W), (H, W, C) or (C, H, W), each of its own size.

    Arguments:
        pictures: The pictures; paths may be among them. They should not change afterwards.
        options: How pictures are read; see `Reading`.

    Raises:
        UsageError: One of them is not a picture.
    """

    def __init__(self, pictures: Sequence[Any], **options: Unpack[ReadingOptions]) -> None:
        self.reading = Reading(**options)
        self._pictures = [_picture(item, index, options) for index, item in enumerate(pictures)]
        self.name = "1 picture" if len(self._pictures) == 1 else f"{len(self._pictures):,} pictures"
        self.names = [str(index) for index in range(len(self._pictures))]
        self.splits = {}

    def read(self, index: int) -> Image.Image:
        """Return picture `index`; see `Source.read`."""
        picture = self._pictures[index]
        return picture.read(0) if isinstance(picture, Source) else upright(picture, self.reading)

    def read_transparent(self, index: int, at_least: tuple[int, int] | None = None) -> Image.Image:
        """Return picture `index` with its transparency; see `Source.read_transparent`."""
        picture = self._pictures[index]
        if isinstance(picture, Source):
            return picture.read_transparent(0, at_least)
        return upright(picture, self.reading, alpha=True)

    def facts(self, index: int) -> PictureFacts | None:
        """Return the size of picture `index`."""
        picture = self._pictures[index]
        return picture.facts(0) if isinstance(picture, Source) else PictureFacts(*picture.size)

    def fingerprint(self) -> str:
        """Digest the pixels."""
        digest = hashlib.sha256(repr(self.reading).encode())
        for picture in self._pictures:
            if isinstance(picture, Source):
                digest.update(picture.fingerprint().encode())
            else:
                digest.update(f"{picture.mode}{picture.size}{sorted(map(str, picture.info.items()))}".encode())
                digest.update(picture.tobytes())
        return digest.hexdigest()


def _picture(item: Any, index: int, options: ReadingOptions) -> Image.Image | Source:
    if isinstance(item, Image.Image):
        return item
    if isinstance(item, str | os.PathLike):
        return Files([item], **options)
    if hasattr(item, "__array__") or hasattr(item, "detach"):
        shape = tuple(item.shape)
        first = len(shape) == 3 and shape[2] not in _CHANNELS and shape[0] in _CHANNELS
        if len(shape) in (2, 3):
            return Arrays(item[None], layout="NCHW" if first else "NHWC", **options)
    what = f"an array of shape {tuple(item.shape)}" if hasattr(item, "shape") else type(item).__name__
    accepted = "a folder, or a list of paths, Pillow pictures or arrays (H, W, C)"
    raise UsageError(f"Picture {index} is {what}. Pass {accepted}.")
