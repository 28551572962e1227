"""A folder of pictures, however nested, named and mixed."""

from __future__ import annotations

import collections
import os
from pathlib import Path
from typing import TYPE_CHECKING

from betabloom.data.pictures.decode import readable_suffixes
from betabloom.data.sources.encoded import Encoded, classes_of, natural, stamp_of
from betabloom.errors import PictureError, SourceError
from betabloom.system.ownership import is_result, is_sheet, record_in
from betabloom.system.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Folder"]

Found = tuple[str, tuple[int, ...]]


class Folder(Encoded):
    """All pictures in a folder and its subfolders, found by their endings, in the order in which people sort.

    Hidden files and folders are left out, and so are runs and models that betabloom wrote there; links are followed,
    each folder at most once. Where all pictures lie in subfolders, the first level of these gives the classes. Files
    that turn out not to be pictures are reported when they are read. Nothing is ever written there.

    Arguments:
        path: The folder.
        background: The colour seen through transparent pixels: a name, or "#rrggbb".
        min_size: Leave out pictures with a side of fewer pixels.

    Raises:
        SourceError: There is no such folder, or no pictures are in it.
        UsageError: There is no such colour or size.
    """

    def __init__(self, path: str | os.PathLike[str], *, background: str = "white", min_size: int = 0) -> None:
        super().__init__(background=background, min_size=min_size)
        self.path = local_path(path)
        if not self.path.is_dir():
            raise SourceError(f"'{self.path}' is not a folder: give the folder that your pictures are in")
        self.name = self.path.resolve().name or "folder"
        self.splits = {}
        self.left_alone = collections.Counter[str]()
        found = dict(_walk(self.path, self.left_alone))
        if not found:
            raise SourceError(_nothing_in(self.path, self.left_alone))
        self.names = sorted(found, key=natural)
        self._stats = [found[name] for name in self.names]
        self.label_names, self.labels = classes_of(self.names)

    def open(self, index: int) -> Path:
        """Return the path of picture `index`; a sheet that betabloom made is none."""
        path = self.path / self.names[index]
        if path.suffix.lower() == ".png" and is_sheet(record_in(path)):
            raise PictureError("a sheet of pictures that betabloom made")
        return path

    def fingerprint(self) -> str:
        """Digest names and what told the files apart when the folder was listed."""
        return self._digest("folder", self._stats)


def _walk(root: Path, left_alone: collections.Counter[str]) -> Iterator[Found]:
    """Yield (relative name, (size, modification time)) of what looks like a picture; count what does not by its ending.

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
            entries = sorted(os.scandir(root / name), key=lambda entry: entry.name)
            if name and is_result({entry.name for entry in entries}):
                left_alone["made by betabloom"] += len(entries)
                continue
        except OSError:
            yield name, (0, 0)
            continue
        for entry in entries:
            if entry.name.startswith("."):
                left_alone["hidden"] += 1
            elif _is_folder(entry):
                (links if entry.is_symlink() else waiting).append(f"{name}{entry.name}/")
            elif Path(entry.name).suffix.lower() in readable_suffixes():
                yield from _file(entry, name)
            else:
                left_alone[Path(entry.name).suffix.lower() or "no ending"] += 1


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False


def _file(entry: os.DirEntry[str], folder: str) -> Iterator[Found]:
    """Yield a regular file or a broken link, which is reported when it is read; skip pipes and devices."""
    try:
        status = entry.stat()
    except OSError:
        yield folder + entry.name, (0, 0)
        return
    if entry.is_file():
        yield folder + entry.name, stamp_of(status)


def _nothing_in(path: Path, left_alone: collections.Counter[str]) -> str:
    others = left_alone.total() - left_alone["hidden"]
    found = f"there are no pictures among the {others} files in it" if others else "it is empty"
    if left_alone["made by betabloom"]:
        found += f" (of which {left_alone['made by betabloom']} are made by betabloom)"
    if left_alone["hidden"]:
        found += f", but for {left_alone['hidden']} hidden files or folders, which are not read"
    return f"no pictures in '{path}': {found}. Pictures end in .jpg, .png, .webp, .gif, .tif, .bmp or the like"
