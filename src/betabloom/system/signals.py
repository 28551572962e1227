"""Signals as requests: training saves before it leaves."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from betabloom.errors import STOPPED, BetabloomError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Interrupted", "Stop", "StopRequest", "stop_requests", "when_stopped"]

SOON = 0.05  # seconds after which a request that was dropped is made again


class Interrupted(BetabloomError):  # noqa: N818  (nothing went wrong)
    """Somebody asked to stop; what was done until then is kept, and the message says how to go on."""

    exit_code = STOPPED


class Event(Protocol):
    """Something that can be set, such as `threading.Event`."""

    def is_set(self) -> bool:
        """Whether it is."""


StopRequest = Event | Callable[[], bool]
"""How a caller asks for a stop, from any thread: an event that they set, or a function that returns True."""


class Stop:
    """Whether somebody asked to stop: with a signal, or through the request that a caller gave.

    Arguments:
        request: The caller's request; None for none.

    Attributes:
        at_once: What to tell them when all is saved, so that a request need not wait; "" while it has to.
    """

    def __init__(self, request: StopRequest | None = None) -> None:
        if request is not None and not callable(request) and not hasattr(request, "is_set"):
            raise UsageError(f"'stop' must be a threading.Event or a function, not {type(request).__name__}.")
        self._request: Callable[[], bool] = request if callable(request) else getattr(request, "is_set", bool)
        self._asked = False
        self.at_once = ""

    @property
    def asked(self) -> bool:
        """Whether they did."""
        return self._asked or bool(self._request())

    @asked.setter
    def asked(self, value: bool) -> None:
        self._asked = value

    @contextlib.contextmanager
    def leaving_at_once(self, message: str) -> Iterator[None]:
        """Within it, raise `Interrupted` as soon as somebody asks, or now if that was before; not without a message."""
        self.at_once = message
        try:
            if message and self.asked:
                raise Interrupted(message)
            yield
        finally:
            self.at_once = ""


def _send(number: int) -> None:
    """Send this program's main thread a signal, also while it waits for something."""
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, number)
    else:
        signal.raise_signal(number)


@contextlib.contextmanager
def stop_requests(asked_by_caller: StopRequest | None = None) -> Iterator[Stop]:
    """Turn the first Ctrl-C, termination or hang-up into a request; the second Ctrl-C leaves at once.

    A signal that is ignored stays ignored: `nohup` and background jobs of a shell rely on it. An exception that a
    signal raises while Python lets go of an object is dropped by Python, with a traceback on the screen; then the same
    signal comes again a little later. Off the main thread, which alone gets signals, the caller's request is all.

    Arguments:
        asked_by_caller: Asks for a stop too; see `StopRequest`.
    """
    stop = Stop(asked_by_caller)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    number, later = signal.SIGINT, list[threading.Timer]()

    def request(which: int, frame: object) -> None:
        nonlocal number
        stop.asked, number = True, signal.Signals(which)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if stop.at_once:
            raise Interrupted(stop.at_once)

    def dropped(about: Any) -> None:
        if not isinstance(about.exc_value, Interrupted):
            usual(about)
            return
        signal.signal(number, request)
        later.append(threading.Timer(SOON, _send, [number]))
        later[-1].start()

    usual = sys.unraisablehook
    sys.unraisablehook = dropped
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {n: signal.signal(n, request) for n in numbers if signal.getsignal(n) is not signal.SIG_IGN}
    try:
        yield stop
    finally:
        sys.unraisablehook = usual
        for timer in later:
            timer.cancel()
        for each, handler in before.items():
            signal.signal(each, handler)


@contextlib.contextmanager
def when_stopped(say: Callable[[], str]) -> Iterator[None]:
    """Where a Ctrl-C ends the block, say what is kept and how to go on.

    Arguments:
        say: Called after the Ctrl-C; "" if there is nothing to say.

    Raises:
        Interrupted: With that message.
    """
    try:
        yield
    except KeyboardInterrupt:
        if message := say():
            raise Interrupted(message) from None
        raise
