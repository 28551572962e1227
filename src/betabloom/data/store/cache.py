"""The cache folder: prepared stores, what they are, and how they go.

    stores/KEY        a store, whole
    stores/KEY.part   one that is being prepared, or was until something ended it
    stores/KEY.lock   held by whoever prepares or removes it
    stores/KEY.trash  one that is being removed
    features/KEY.npy  features of pictures, for `evaluate`

KEY is 32 hexadecimal digits. Nothing of another name is ever touched, and links are not followed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from betabloom.system.locks import unless_locked
from betabloom.system.paths import local_path, user_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Entry", "cache_folder", "clear", "entries", "lock_of", "part_of", "remove", "sweep"]

_OURS = re.compile(r"([0-9a-f]{32})(\.part|\.trash)?")
_LEFT_FOR = 7 * 86400  # seconds for which an interrupted preparation is kept to be continued


@dataclass(frozen=True)
class Entry:
    """One store in the cache.

    Attributes:
        path: Its folder.
        complete: Whether it is whole; otherwise its preparation is under way or was interrupted.
        source: What a person calls its source, or "" if it is not complete or of another version.
        pipeline: The name of its pipeline, or "".
        shape: (N, H, W, C), or () if unknown.
        bytes: What it takes on the disk.
        used: When it was prepared or last continued, in seconds since 1970.
    """

    path: Path
    complete: bool
    source: str
    pipeline: str
    shape: tuple[int, ...]
    bytes: int
    used: float

    @property
    def key(self) -> str:
        """The 32 hexadecimal digits that name it."""
        return self.path.name[:32]


def cache_folder() -> Path:
    """Return $BETABLOOM_CACHE, or the user's cache folder for betabloom."""
    chosen = os.environ.get("BETABLOOM_CACHE")
    return local_path(chosen) if chosen else user_folder("cache", "BETABLOOM_CACHE")


def lock_of(store: Path) -> Path:
    """Return the lock of a store."""
    return store.with_name(store.name[:32] + ".lock")


def part_of(store: Path) -> Path:
    """Return the folder that a store is prepared in."""
    return store.with_name(store.name[:32] + ".part")


def entries(cache: Path | None = None) -> list[Entry]:
    """List the stores in the cache, the largest first.

    Arguments:
        cache: The cache folder; that of `cache_folder` if left out.
    """
    found = [_entry(path) for path in _folders((cache or cache_folder()) / "stores") if path.suffix != ".trash"]
    return sorted(found, key=lambda entry: (-entry.bytes, entry.path.name))


def clear(cache: Path | None = None, source: str | None = None, older_than: float = 0.0) -> tuple[list[Entry], int]:
    """Remove stores, and what interrupted preparations left.

    Arguments:
        cache: The cache folder; that of `cache_folder` if left out.
        source: Only stores of a source of that name, or whose key begins so, with 8 digits at least.
        older_than: Only what was prepared more than so many days ago.

    Returns:
        What was removed, and how many were left because they are just being prepared.
    """
    removed, busy = [], 0
    for entry in entries(cache):
        if source is not None and not _is_meant(entry, source):
            continue
        if older_than and time.time() - entry.used < older_than * 86400:
            continue
        with unless_locked(lock_of(entry.path)) as free:
            if free:
                remove(entry.path)
                removed.append(entry)
            else:
                busy += 1
    sweep((cache or cache_folder()) / "stores")
    if source is None:
        _clear_features((cache or cache_folder()) / "features", older_than)
    return removed, busy


def _clear_features(folder: Path, older_than: float) -> None:
    """Remove features of pictures that `evaluate` keeps: they are made again when they are wanted."""
    for file in folder.glob("*.npy"):
        if _OURS.fullmatch(file.stem) and time.time() - file.stat().st_mtime >= older_than * 86400:
            file.unlink(missing_ok=True)


def _is_meant(entry: Entry, source: str) -> bool:
    return entry.source == source or (len(source) >= 8 and entry.key.startswith(source))


def remove(folder: Path) -> None:
    """Remove a folder of the cache at once, under its lock: one that is half removed never looks like a store."""
    trash = folder.with_name(folder.name[:32] + ".trash")
    if trash.exists():
        shutil.rmtree(trash)
    if folder.exists():
        folder.rename(trash)
        shutil.rmtree(trash)


def sweep(stores: Path, keep: Path | None = None) -> None:
    """Remove what killed processes left: half removed stores, old preparations that nobody continued, locks."""
    for path in _folders(stores):
        if path == keep or not path.suffix:
            continue
        final, old = path.with_suffix(""), time.time() - _newest(path) > _LEFT_FOR
        if path.suffix == ".trash" or old or final.exists():
            with contextlib.suppress(OSError), unless_locked(lock_of(path)) as free:
                if free:
                    remove(path)
    for lock in stores.glob("*.lock"):
        if _OURS.fullmatch(lock.stem):
            with contextlib.suppress(OSError), unless_locked(lock):
                pass  # which removes one that nobody holds


def _folders(stores: Path) -> Iterator[Path]:
    """Yield the folders that are ours."""
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(stores.iterdir()):
            if _OURS.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                yield path


def _entry(path: Path) -> Entry:
    source, pipeline, shape = "", "", ()
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        facts = json.loads((path / "store.json").read_text(encoding="utf-8"))
        source, pipeline, shape = str(facts["source_name"]), str(facts["pipeline"]["name"]), tuple(facts["shape"])
    size = sum(status.st_size for status in _inside(path) if stat.S_ISREG(status.st_mode))
    return Entry(path, not path.suffix, source, pipeline, shape, size, _newest(path))


def _newest(path: Path) -> float:
    return max((status.st_mtime for status in _inside(path)), default=0.0)


def _inside(path: Path) -> Iterator[os.stat_result]:
    """Yield what the system knows of a folder and everything in it, except what goes away meanwhile."""
    with contextlib.suppress(OSError):
        yield path.lstat()
    for file in path.rglob("*"):
        with contextlib.suppress(OSError):
            yield file.lstat()
