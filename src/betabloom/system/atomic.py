"""Files and folders that appear whole or not at all, and stay after a power cut."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["is_leftover", "replacing", "replacing_file", "sha256", "sync", "write_json", "write_text"]

_LEFTOVER = re.compile(r"\..*\.(part|old)")


class replacing:  # noqa: N801  (reads as a verb: `with replacing(path) as part`)
    """Fill a new folder beside `path`, sync it, and put it in the place of `path` when the block ends well."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = path.with_name(f".{path.name}.{os.getpid()}.part")

    def __enter__(self) -> Path:
        shutil.rmtree(self.part, ignore_errors=True)
        self.part.mkdir()
        return self.part

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None:
                self._commit()
        finally:
            shutil.rmtree(self.part, ignore_errors=True)

    def _commit(self) -> None:
        for file in self.part.iterdir():
            sync(file)
        sync(self.part)
        if self.path.exists():
            old = self.path.with_name(f".{self.path.name}.{os.getpid()}.old")
            self.path.replace(old)
            self.part.replace(self.path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            self.part.replace(self.path)
        sync(self.path.parent)


@contextmanager
def replacing_file(path: Path, synced: bool = True) -> Iterator[Path]:
    """Write a new file beside `path`, and put it in the place of `path` when the block ends well.

    Arguments:
        path: The file.
        synced: Whether it has to be on the disk then, so that it stays after a power cut.

    Raises:
        OSError: It cannot be written; the error names `path`.
    """
    part = path.with_name(f".{os.getpid()}-{threading.get_ident()}.part")
    try:
        yield part
        if synced:
            sync(part)
        part.replace(path)
        if synced:
            sync(path.parent)
    except OSError as error:
        if error.filename in (None, part, os.fspath(part)):
            error.filename, error.filename2 = os.fspath(path), None
        raise
    finally:
        part.unlink(missing_ok=True)


def is_leftover(path: Path) -> bool:
    """Whether a file or folder is what a killed process left of the two above."""
    return bool(_LEFTOVER.fullmatch(path.name))


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


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON for people to read."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
