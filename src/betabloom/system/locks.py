"""One process at a time: a lock that the operating system lets go of when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from filelock import BaseFileLock

__all__ = ["locked", "unless_locked"]


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock `path`, a file that exists only while it is held or waited for.

    Arguments:
        path: The file; its folder exists.
        waiting: Called once if another process or thread holds the lock, before waiting for it.

    Raises:
        OSError: The file cannot be made, or its file system knows no locks.
    """
    lock = _lock(path)
    if not _taken_at_once(lock):
        if waiting is not None:
            waiting()
        lock.acquire()
    try:
        yield
    finally:
        _release(lock, path)


@contextlib.contextmanager
def unless_locked(path: Path) -> Iterator[bool]:
    """Hold the lock `path` if nobody else does; yields whether it is held."""
    lock = _lock(path)
    held = _taken_at_once(lock)
    try:
        yield held
    finally:
        if held:
            _release(lock, path)


def _lock(path: Path) -> BaseFileLock:
    from filelock import FileLock

    if not path.parent.is_dir():  # the library would make it
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
    # A "soft" lock is a file that stays when its holder is killed: where there are no others, an error says so.
    return FileLock(path, thread_local=False, fallback_to_soft=False)


def _taken_at_once(lock: BaseFileLock) -> bool:
    from filelock import Timeout

    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True


def _release(lock: BaseFileLock, path: Path) -> None:
    """Remove the file while it is held: who opened it meanwhile sees that it has no name, and makes a new one."""
    if os.name != "nt":
        path.unlink(missing_ok=True)
    lock.release()
    if os.name == "nt":  # where a file that is open cannot be removed
        with contextlib.suppress(OSError):
            path.unlink()
