"""Folders that appear whole or not at all, and stay after a power cut."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["replacing", "sha256", "write_json"]


class replacing:  # noqa: N801  (reads as a verb: `with replacing(path) as part`)
    """Fill a new folder beside `path`, sync it, and put it in the place of `path` when the block ends well."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = path.with_name(f".{path.name}.{os.getpid()}.part")

    def __enter__(self) -> Path:
        shutil.rmtree(self.part, ignore_errors=True)
        self.part.mkdir(parents=True)
        return self.part

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None:
                self._commit()
        finally:
            shutil.rmtree(self.part, ignore_errors=True)

    def _commit(self) -> None:
        for file in self.part.iterdir():
            _sync(file)
        _sync(self.part)
        if self.path.exists():
            old = self.path.with_name(f".{self.path.name}.{os.getpid()}.old")
            self.path.replace(old)
            self.part.replace(self.path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            self.part.replace(self.path)
        _sync(self.path.parent)


def _sync(path: Path) -> None:
    """Have the system write a file or folder to the disk now. Windows cannot open folders for it."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """Hash a file; 64 hexadecimal digits."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON for people to read."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
