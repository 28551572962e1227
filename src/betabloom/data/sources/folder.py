"""A folder of pictures, however nested, named and mixed."""

from __future__ import annotations

import collections
import os
from typing import TYPE_CHECKING

from betabloom.data.sources.beside import METADATA, ignored_as, refuse_sheet
from betabloom.data.sources.encoded import Encoded, natural, stamp_of
from betabloom.data.sources.labels import labels_of
from betabloom.errors import SourceError
from betabloom.system.ownership import is_result
from betabloom.system.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typing_extensions import Unpack

    from betabloom.data.pictures.reading import Reading, ReadingOptions

__all__ = ["Folder"]

Found = tuple[str, tuple[int, ...]]


class Folder(Encoded):
    """All pictures in a folder and its subfolders, found by their endings, in the order in which people sort.

    Hidden files and folders are left out, those that systems keep for thumbnails and deleted files, and runs and models
    that betabloom wrote there; links are followed, each folder at most once. A `metadata.jsonl`, `metadata.csv` or
    `dataset.json` gives the classes; else, where all pictures lie in subfolders, the first level of these does. Files
    that turn out not to be pictures are reported when they are read. Nothing is ever written there.

    Arguments:
        path: The folder.
        options: How pictures are read and which are left out; see `Reading`.

    Raises:
        SourceError: There is no such folder, or no pictures are in it.
        UsageError: An option has no such value.
    """

    takes_sheets = False

    def __init__(self, path: str | os.PathLike[str], **options: Unpack[ReadingOptions]) -> None:
        super().__init__(**options)
        self.path = local_path(path)
        if not self.path.is_dir():
            raise SourceError(f"'{self.path}' is not a folder: give the folder that your pictures are in")
        self.name = self.path.resolve().name or "folder"
        self.splits = {}
        self.left_alone = collections.Counter[str]()
        about: list[str] = []
        found = dict(_walk(self.path, self.reading, self.left_alone, about))
        if not found:
            raise SourceError(_nothing_in(self.path, self.left_alone))
        self.names = sorted(found, key=natural)
        self._stats = [found[name] for name in self.names]
        self.label_names, self.labels, self.notes = labels_of(self.names, about, self._read_beside)

    def place(self, index: int) -> Path:
        """Return the path of picture `index`."""
        return self.path / self.names[index]

    def open(self, index: int) -> Path:
        """Return the path of picture `index`; a sheet that betabloom made is refused."""
        path = self.place(index)
        refuse_sheet(path)
        return path

    def fingerprint(self) -> str:
        """Digest names, labels and what told the files apart when the folder was listed."""
        classes = "" if self.labels is None else f":{self.label_names}{self.labels.tolist()}"
        return self._digest(f"folder{classes}", self._stats)

    def _read_beside(self, name: str, most: int) -> bytes:
        with (self.path / name).open("rb") as file:
            return file.read(most)


def _walk(root: Path, reading: Reading, left_alone: collections.Counter[str], about: list[str]) -> Iterator[Found]:
    """Yield (relative name, (size, modification time)) of what looks like a picture; count what does not by its ending.

    Names of files that tell of the pictures beside them are added to `about`.

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
            is_folder = _is_folder(entry)
            if why := ignored_as(entry.name + "/" * is_folder, reading) or _excluded(name + entry.name, reading):
                left_alone[why] += 1
                if entry.name in METADATA and not is_folder:
                    about.append(name + entry.name)
            elif is_folder:
                (links if entry.is_symlink() else waiting).append(f"{name}{entry.name}/")
            else:
                yield from _file(entry, name, left_alone)


def _excluded(name: str, reading: Reading) -> str:
    return "excluded" if reading.excludes(name) else ""


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False


def _file(entry: os.DirEntry[str], folder: str, left_alone: collections.Counter[str]) -> Iterator[Found]:
    """Yield a regular file or a broken link, which is reported when it is read; count pipes and devices."""
    try:
        status = entry.stat()
    except OSError:
        yield folder + entry.name, (0, 0)
        return
    if entry.is_file():
        yield folder + entry.name, stamp_of(status)
    else:
        left_alone["pipe or device"] += 1


def _nothing_in(path: Path, left_alone: collections.Counter[str]) -> str:
    others = left_alone.total() - left_alone["hidden"]
    found = f"there are no pictures among the {others} files in it" if others else "it is empty"
    if left_alone["made by betabloom"]:
        found += f" (of which {left_alone['made by betabloom']} are made by betabloom)"
    if left_alone["hidden"]:
        found += f", but for {left_alone['hidden']} hidden files or folders, which are not read"
    return f"no pictures in '{path}': {found}. Pictures end in .jpg, .png, .webp, .gif, .tif, .bmp or the like"
