"""Files and folders that appear whole or not at all, and stay after a power cut.

What is new is written beside its place under a hidden name that ends in `.part`, synced, and exchanged with what is
there in one call to the system. Where the system has no such call, what is there is called `.NAME.PID.old` between two
renames. `remove_leftovers` knows both names, and puts an `.old` back whose place is empty.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from betabloom.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "is_leftover",
    "json_text",
    "remove_leftovers",
    "replacing",
    "replacing_file",
    "sha256",
    "sync",
    "with_null",
    "write_json",
    "write_text",
]

_LEFTOVER = re.compile(r"\.((?P<name>.+)\.)?\d+(-[0-9a-f]+)?\.(part|old)", re.DOTALL)


@contextmanager
def replacing(path: Path, check: Callable[[Path], None]) -> Iterator[Path]:
    """Fill a new folder beside `path`, sync it, and put it in the place of `path` when the block ends well.

    A link is followed. Until the new folder is complete, and if anything goes wrong, what was there stays there.

    Arguments:
        path: The folder.
        check: Raises an error if what is at a path must not be replaced: the `check` of an `ownership.FolderKind`.

    Raises:
        FileError: It cannot be written.
    """
    place = _followed(path)
    _put_back(place)
    check(place)
    part = _part_of(place)
    try:
        part.mkdir()
        yield part
        for file in part.iterdir():
            sync(file)
        sync(part)
        check(place)
        _put_in_place(part, place)
        sync(place.parent)
    except OSError as error:
        raise _named(error, part, path) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def replacing_file(path: Path, synced: bool = True) -> Iterator[Path]:
    """Write a new file beside `path`, and put it in the place of `path` when the block ends well.

    A link is followed, and a file that is replaced keeps its permissions.

    Arguments:
        path: The file.
        synced: Whether it has to be on the disk then, so that it stays after a power cut.

    Raises:
        FileError: It cannot be written.
    """
    place = _followed(path)
    part = _part_of(place)
    try:
        if place.exists() and not place.is_file():
            raise OSError(errno.EINVAL, "This is not a regular file", os.fspath(path))
        yield part
        if place.exists():
            shutil.copymode(place, part)
        if synced:
            sync(part)
        part.replace(place)
        if synced:
            sync(place.parent)
    except OSError as error:
        raise _named(error, part, path) from error
    finally:
        part.unlink(missing_ok=True)


def _named(error: OSError, part: Path, path: Path) -> FileError:
    """The error with the name that a person knows, where it has that of the part, of something in it, or none."""
    inside = error.filename is None or Path(os.fsdecode(error.filename)).is_relative_to(part)
    return FileError.of(error, os.fspath(path) if inside else None)


def _followed(path: Path) -> Path:
    """Where a link leads, also one to nothing; any other path as it is, with a name of its own."""
    return Path(os.path.realpath(path)) if path.is_symlink() or path.name in ("", "..") else path


def _part_of(path: Path) -> Path:
    return path.with_name(f".{os.getpid()}-{os.urandom(4).hex()}.part")


def _put_in_place(part: Path, path: Path) -> None:
    """Give the folder `part` the name `path`; what had it before has the name `part` then, or is gone."""
    if not path.exists():
        part.rename(path)
    elif not _exchange(part, path):
        old = path.with_name(f".{path.name}.{os.getpid()}.old")
        try:
            path.rename(old)
            part.rename(path)
        finally:
            if old.exists() and not path.exists():
                old.rename(path)
        shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names at once; False, with nothing done, where the system or the file system cannot."""
    import ctypes

    if sys.platform == "win32":
        return False
    libc, exchange = ctypes.CDLL(None), 2  # the flag is called RENAME_EXCHANGE (Linux) and RENAME_SWAP (macOS)
    first, second = os.fsencode(one), os.fsencode(other)
    if hasattr(libc, "renameat2"):
        here = -100  # AT_FDCWD: relative to the working directory
        return bool(libc.renameat2(here, first, here, second, exchange) == 0)
    return hasattr(libc, "renamex_np") and bool(libc.renamex_np(first, second, exchange) == 0)


def is_leftover(path: Path) -> bool:
    """Whether a file or folder has a name that only something half written by `replacing` or `replacing_file` has."""
    return bool(_LEFTOVER.fullmatch(path.name))


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half written in a folder that nobody else writes; the only copy stays."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        found = _LEFTOVER.fullmatch(path.name)
        if found and found["name"] and path.suffix == ".old" and not (place := path.with_name(found["name"])).exists():
            path.rename(place)
        elif found and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif found:
            path.unlink(missing_ok=True)


def _put_back(path: Path) -> None:
    """Put back what was at `path` if a process was killed between the two renames."""
    if path.exists() or not path.parent.is_dir():
        return
    for old in path.parent.iterdir():
        found = _LEFTOVER.fullmatch(old.name)
        if found and found["name"] == path.name and old.suffix == ".old":
            old.rename(path)
            return


def sync(path: Path) -> None:
    """Have the system write a file or folder to the disk now. Windows cannot open folders for it."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path, from_disk: bool = False) -> str:
    """Hash a file; 64 hexadecimal digits.

    Arguments:
        path: The file.
        from_disk: Ask the system to forget what it remembers of a synced file, so that it is really read back.
    """
    with path.open("rb") as file:
        if from_disk and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_text(path: Path, text: str, synced: bool = True) -> None:
    """Write a text file, whole or not at all; parts of names that are no text are escaped. See `replacing_file`."""
    with replacing_file(path, synced) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any, synced: bool = True) -> None:
    """Write JSON for people to read, whole or not at all."""
    write_text(path, json_text(value, indent=2) + "\n", synced)


def with_null(value: Any) -> Any:
    """A value as JSON has it, which knows neither NaN nor infinity: null in their place."""
    if isinstance(value, dict):
        return {name: with_null(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [with_null(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_text(value: Any, encoding: str = "utf-8", indent: int | None = None) -> str:
    r"""JSON in which letters stand for themselves if `encoding` has all of them; else those beyond ASCII are \uXXXX."""
    plain = json.dumps(value, indent=indent, ensure_ascii=False)
    try:
        plain.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return plain
