"""Signals as requests: training saves before it leaves."""

from __future__ import annotations

import contextlib
import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from betabloom.errors import BetabloomError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Interrupted", "Stop", "stop_requests"]


class Interrupted(BetabloomError):  # noqa: N818  (nothing went wrong)
    """Training was asked to stop and has saved its state."""


@dataclass
class Stop:
    """Whether somebody asked to stop.

    Attributes:
        asked: They did.
        at_once: What to tell them when all is saved, so that a request need not wait; "" while it has to.
    """

    asked: bool = False
    at_once: str = ""

    def leave_at_once(self, message: str) -> None:
        """From now on raise `Interrupted` when asked, or now if that was before."""
        self.at_once = message
        if self.asked:
            raise Interrupted(message)


@contextlib.contextmanager
def stop_requests() -> Iterator[Stop]:
    """Turn the first Ctrl-C, termination or hang-up into a request; the second Ctrl-C leaves at once.

    A signal that is ignored stays ignored: `nohup` and background jobs of a shell rely on it.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(number: int, frame: object) -> None:
        stop.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if stop.at_once:
            raise Interrupted(stop.at_once)

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {n: signal.signal(n, request) for n in numbers if signal.getsignal(n) is not signal.SIG_IGN}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
