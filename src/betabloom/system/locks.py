"""One process at a time: a lock that the operating system lets go of when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["locked", "unless_locked"]

_PAUSE = 0.05
_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK)


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock `path`, a file that exists only while it is held or waited for.

    Arguments:
        path: The file; its folder exists.
        waiting: Called once if another process or thread holds the lock, before waiting for it.

    Raises:
        OSError: The file cannot be made, or its file system knows no locks.
    """
    held = _take(path)
    if held is None and waiting is not None:
        waiting()
    while held is None:
        time.sleep(_PAUSE)
        held = _take(path)
    try:
        yield
    finally:
        _let_go(path, held)


@contextlib.contextmanager
def unless_locked(path: Path) -> Iterator[bool]:
    """Hold the lock `path` if nobody else does; yields whether it is held."""
    held = _take(path)
    try:
        yield held is not None
    finally:
        if held is not None:
            _let_go(path, held)


def _take(path: Path) -> int | None:
    """Return an open file that is locked, or None if it is taken."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(file)
        if os.path.samestat(os.fstat(file), path.stat()):
            return file
    except FileNotFoundError:  # its holder let go and removed it meanwhile: what was locked is no longer the lock
        pass
    except OSError as error:
        if error.errno not in _TAKEN:
            os.close(file)
            raise
    except BaseException:
        os.close(file)
        raise
    os.close(file)
    return None


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

    def _let_go(path: Path, file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)
        os.close(file)
        with contextlib.suppress(OSError):  # another has it open
            path.unlink()

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _let_go(path: Path, file: int) -> None:
        path.unlink(missing_ok=True)
        fcntl.flock(file, fcntl.LOCK_UN)  # also for a process that was forked meanwhile
        os.close(file)
