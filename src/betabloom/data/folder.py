"""A folder of pictures, however nested, named and mixed."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import ImageColor

from betabloom.data.picture import decode, readable_suffixes
from betabloom.data.source import Source
from betabloom.errors import SourceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from PIL import Image

__all__ = ["Folder", "fingerprint_of_files"]


class Folder(Source):
    """All pictures in a folder and its subfolders, found by their endings, in the order in which people sort.

    Hidden files and folders are left out; links are followed, each folder at most once. Where all pictures lie in
    subfolders, the first level of these gives the classes. Files that turn out not to be pictures are reported when
    they are read. Nothing is ever written there.

    Arguments:
        path: The folder.
        background: The colour seen through transparent pixels: a name, or "#rrggbb".

    Raises:
        SourceError: There is no such folder, or no pictures are in it.
        UsageError: There is no such colour.
    """

    def __init__(self, path: str | os.PathLike[str], *, background: str = "white") -> None:
        self.path = Path(path).expanduser()
        if not self.path.is_dir():
            raise SourceError(f"'{self.path}' is not a folder: give the folder that your pictures are in")
        self._background, self._background_name = _colour(background), background
        self.name = self.path.resolve().name or "folder"
        self.splits = {}
        found = dict(_walk(self.path))
        if not found:
            raise SourceError(_nothing_in(self.path))
        self.names = sorted(found, key=_natural)
        self._stats = [found[name] for name in self.names]
        self.label_names, self.labels = _classes(self.names)

    def read(self, index: int) -> Image.Image:
        """Decode picture `index`; see `Source.read`."""
        return decode(self.path / self.names[index], background=self._background)

    def read_reduced(self, index: int, at_least: tuple[int, int]) -> Image.Image:
        """Decode picture `index`, a JPEG at reduced scale where that suffices; see `Source.read_reduced`."""
        return decode(self.path / self.names[index], at_least=at_least, background=self._background)

    def fingerprint(self) -> str:
        """Digest names, sizes and modification times as they were when the folder was listed."""
        return fingerprint_of_files("folder:" + self._background_name, self.names, self._stats)


def fingerprint_of_files(kind: str, names: Sequence[str], stats: list[tuple[int, int]]) -> str:
    """Digest files told apart by name, size in bytes and modification time in nanoseconds."""
    digest = hashlib.sha256(kind.encode())
    for name, (size, modified) in zip(names, stats, strict=True):
        digest.update(f"\0{name}\0{size}\0{modified}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _colour(name: str) -> tuple[int, int, int]:
    try:
        red, green, blue = ImageColor.getrgb(name)[:3]
    except ValueError:
        raise UsageError(f"'background' should be a colour such as white, black or #ffeedd, not {name!r}") from None
    return red, green, blue


def _walk(root: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield (relative name, (size, modification time)) of what looks like a picture.

    Real folders come before links to folders, so that what a link shows twice is found under its own name. A folder
    that may not be listed is yielded as "name/" and reported like an unreadable picture.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [""]
    links: list[str] = []
    while waiting or links:
        name = waiting.pop() if waiting else links.pop(0)
        try:
            status = (root / name).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted((e for e in os.scandir(root / name) if not e.name.startswith(".")), key=lambda e: e.name)
        except OSError:
            yield name, (0, 0)
            continue
        for entry in entries:
            if _is_folder(entry):
                (links if entry.is_symlink() else waiting).append(f"{name}{entry.name}/")
            elif Path(entry.name).suffix.lower() in readable_suffixes():
                yield from _file(entry, name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False


def _file(entry: os.DirEntry[str], folder: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield a regular file or a broken link, which is reported when it is read; skip pipes and devices."""
    try:
        status = entry.stat()
    except OSError:
        yield folder + entry.name, (0, 0)
        return
    if entry.is_file():
        yield folder + entry.name, (status.st_size, status.st_mtime_ns)


def _natural(name: str) -> tuple[list[list[str | int]], str]:
    """Sort "2.jpg" before "10.jpg" and folders together, the same on every machine."""
    return [_numbers_apart(part) for part in name.split("/")], name


def _numbers_apart(text: str) -> list[str | int]:
    return [int(part) if i % 2 else part.casefold() for i, part in enumerate(re.split(r"(\d+)", text))]


def _classes(names: list[str]) -> tuple[list[str] | None, np.ndarray | None]:
    """Return the class names in natural order and an int64 index (N,), or None twice where there are no classes."""
    if not all("/" in name for name in names):
        return None, None
    of_each = [name.split("/", 1)[0] for name in names]
    classes = sorted(set(of_each), key=_natural)
    index = {name: i for i, name in enumerate(classes)}
    return classes, np.array([index[name] for name in of_each], dtype=np.int64)


def _nothing_in(path: Path) -> str:
    others = sum(1 for entry in os.scandir(path) if not entry.name.startswith("."))
    found = f"there are no pictures among the {others} things in it" if others else "it is empty"
    return f"no pictures in '{path}': {found}. Pictures end in .jpg, .png, .webp, .gif, .tif, .bmp or the like"
