"""Names of results: two programs that run at the same time are not given the same one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["release_names", "reserve_name"]

_opened: list[int] = []  # the file whose bytes are locked, once it is open: closing it would let go of all of them


def reserve_name(path: Path) -> bool:
    """Reserve the name of a result until `release_names`; False if another program on this machine has done so.

    A name is one byte of a file of this person's in the folder for temporary files, which the system lets go of when
    the program ends, however it ends. Where there is no such lock, as on Windows, every name is free.
    """
    if sys.platform == "win32":
        return True
    import fcntl

    digest = hashlib.sha256(os.fsencode(os.path.realpath(path))).digest()
    with contextlib.suppress(OSError):  # no such folder, no locks: better unguarded than no result
        if not _opened:
            name = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"betabloom-{os.getuid()}.lock")  # noqa: PTH118, S108
            _opened.append(os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        try:
            fcntl.lockf(_opened[0], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, int.from_bytes(digest[:7], "big"))
        except (BlockingIOError, PermissionError):
            return False
    return True


def release_names() -> None:
    """Let other programs have the names that this one reserved: its results are written."""
    while _opened:
        os.close(_opened.pop())
