"""What a person sees while long work runs: a bar with ETA in a terminal, plain lines elsewhere; all on stderr."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

__all__ = ["progress", "show_log"]

LINE_EVERY = 10.0  # seconds between plain lines


@contextlib.contextmanager
def progress(label: str, unit: str = "steps") -> Iterator[Callable[..., None]]:
    """Show the progress of a piece of work: yields report(done, total, text=""); total 0 means not yet known."""
    if sys.stderr.isatty():
        with _bar(label) as report:
            yield report
    else:
        yield _Lines(label, unit)


@contextlib.contextmanager
def _bar(label: str) -> Iterator[Callable[..., None]]:
    from rich import progress as rich_progress

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(bar_width=24),
        rich_progress.TaskProgressColumn(),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TextColumn("ETA"),
        rich_progress.TimeRemainingColumn(),
        rich_progress.TextColumn("{task.fields[text]}"),
    )
    with rich_progress.Progress(*columns, console=_console(), transient=True) as display:
        task = display.add_task(label, total=None, text="")

        def report(done: int, total: int, text: str = "") -> None:
            display.update(task, completed=done, total=total or None, text=text)

        yield report


class _Lines:
    """Prints a line now and then: "training  1200/5000 steps  24%  ETA 3m20s  distortion …"."""

    def __init__(self, label: str, unit: str) -> None:
        self.label, self.unit = label, unit
        self.begun = self.shown = time.monotonic()
        self.first: int | None = None

    def __call__(self, done: int, total: int, text: str = "") -> None:
        self.first = done if self.first is None else self.first
        now = time.monotonic()
        if now - self.shown < LINE_EVERY:
            return
        self.shown = now
        parts = [self.label, f"{done:,}/{total:,} {self.unit}" if total else f"{done:,} {self.unit}"]
        if total and done > self.first:
            left = (now - self.begun) / (done - self.first) * (total - done)
            parts += [f"{100 * done / total:.0f}%", f"ETA {duration(left)}"]
        with contextlib.suppress(OSError):  # the terminal is gone: training goes on
            print("  ".join(part for part in (*parts, text) if part), file=sys.stderr, flush=True)  # noqa: T201


def duration(seconds: float) -> str:
    """Write seconds as "45s", "3m20s" or "2h05m"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def show_log() -> None:
    """Show what betabloom logs on stderr, above a progress bar if there is one."""
    logger = logging.getLogger("betabloom")
    logger.setLevel(logging.INFO)
    logger.handlers = [_Handler()]
    logger.propagate = False


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if record.levelno >= logging.WARNING:
            text = f"warning: {text}"
        with contextlib.suppress(OSError):  # the terminal is gone: training goes on
            if sys.stderr.isatty():
                _console().print(text, markup=False, highlight=False)
            else:
                print(text, file=sys.stderr, flush=True)  # noqa: T201


_shared: list[Console] = []


def _console() -> Console:
    """One console for bars and log, so that they do not write over one another."""
    from rich.console import Console

    if not _shared:
        _shared.append(Console(stderr=True))
    return _shared[0]
