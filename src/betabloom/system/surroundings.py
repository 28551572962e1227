"""What a program finds around it: closed streams, little memory; and what it says when something goes wrong."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

from betabloom.errors import STOPPED, BetabloomError, FileError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_memory", "failure", "open_closed_streams"]

NEEDED = 256 << 20  # bytes of address space without which NumPy's linear algebra ends the program, or never returns
ROOM = 2 << 30  # bytes below which each thread of it is one too many
DEBUG = "BETABLOOM_DEBUG"
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def open_closed_streams() -> None:
    """Give the program the standard streams that it was started without, and let names that are no text be printed.

    Without that the next file that is opened would be the one that messages of C libraries go into.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, io.open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, UP020
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def check_memory() -> None:
    """Refuse to begin where the address space is so limited that libraries would abort; be thrifty where it is tight.

    To be called before NumPy is imported.

    Raises:
        UsageError: There is too little.
    """
    limit = _address_space()
    if limit is not None and limit < NEEDED:
        raise UsageError(
            f"This program may use only {limit >> 20} MB of address space (ulimit -v), and betabloom needs "
            f"{NEEDED >> 20} MB to draw pictures and about 1 GB to train. Raise the limit."
        )
    if limit is not None and limit < ROOM:
        for name, value in _ONE_THREAD.items():
            os.environ.setdefault(name, value)


def _address_space() -> int | None:
    """Bytes of address space that this program may use; None where there is no limit."""
    if sys.platform == "win32":
        return None
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def failure(error: BaseException, environment: Mapping[str, str] = os.environ) -> tuple[str, int]:
    """What to tell a person about an error, in a sentence, and the exit code: 2 for wrong use, 130 if stopped, else 1.

    Arguments:
        error: Whatever reached the end of the program.
        environment: Where BETABLOOM_DEBUG is looked up: with it, an error that nobody foresaw is raised again.
    """
    if isinstance(error, BetabloomError):
        return str(error), error.exit_code
    if _follows_a_stop(error):
        return "stopped.", STOPPED
    if _is_out_of_memory(error):
        return "this does not fit in memory. Ask for fewer or smaller pictures, or raise the limit (ulimit -v).", 1
    if isinstance(error, BrokenPipeError):
        return "", 1  # who read the output has read enough
    if isinstance(error, OSError):
        return str(FileError.of(error)), 1
    if environment.get(DEBUG):
        raise error
    what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return f"something unexpected went wrong ({what}). Please report it, with what is printed when {DEBUG}=1 is set.", 1


def _follows_a_stop(error: BaseException) -> bool:
    """Whether it is a Ctrl-C, or what came of one: an import that is cut short fails in ways of its own."""
    seen: BaseException | None = error
    while seen and not isinstance(seen, KeyboardInterrupt):
        seen = seen.__cause__ or seen.__context__
    return seen is not None


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    signs = ("failed to map segment", "cannot allocate memory", "can't allocate memory", "can't start new thread")
    known = isinstance(error, ImportError | RuntimeError | OSError)
    return isinstance(error, MemoryError) or (known and any(sign in text for sign in signs))
