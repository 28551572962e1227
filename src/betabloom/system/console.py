"""What a person sees while long work runs: a bar with ETA in a terminal, plain lines elsewhere; all on stderr."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console

__all__ = [
    "Pace",
    "Progress",
    "duration",
    "in_notebook",
    "listed",
    "note",
    "printable",
    "progress",
    "show_log",
    "times",
]

Progress = Callable[[int, int, str], None]
"""How all long work reports: progress(done, total, text); total is 0 while it is not known, and text may be empty."""

LINE_EVERY = 10.0  # seconds between plain lines
CELL_EVERY = 0.5  # seconds between changes of a notebook's bar
PACE_WINDOW = 60.0  # seconds that the pace is taken over at least


@contextlib.contextmanager
def progress(label: str, unit: str = "steps") -> Iterator[Callable[..., None]]:
    """Show the progress of a piece of work: yields report(done, total, text=""); total 0 means not yet known."""
    if in_notebook():
        lines = _Lines(label, unit, _cell(), CELL_EVERY)
        yield lines
        lines.flush()
    elif _is_terminal():
        with _bar(label) as report:
            yield report
    else:
        yield _Lines(label, unit, _print, LINE_EVERY)


def in_notebook() -> bool:
    """Whether this runs in a Jupyter notebook, which shows what IPython displays."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


class Pace:
    """How fast work goes, and so how long the rest takes.

    The pace is that of the newer half of the time since the first report, and of at least a minute: it forgets a slow
    start and follows a machine that becomes busy, and a pause for a validation does not make it jump.

    Arguments:
        clock: Gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.seen: deque[tuple[float, int]] = deque()
        self.begun = 0.0

    def left(self, done: int, total: int) -> float | None:
        """Seconds that the rest will take, now that `done` of `total` are done; None while it is unknown."""
        now = self.clock()
        if not self.seen:
            self.begun = now
        if not self.seen or now - self.seen[-1][0] >= 1:
            self.seen.append((now, done))
        window = max(PACE_WINDOW, (now - self.begun) / 2)
        while len(self.seen) > 1 and self.seen[1][0] <= now - window:
            self.seen.popleft()
        then, before = self.seen[0]
        if not total or done <= before or now <= then:
            return None
        return (now - then) / (done - before) * (total - done)


@contextlib.contextmanager
def _bar(label: str) -> Iterator[Callable[..., None]]:
    from rich import progress as rich_progress

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(bar_width=24),
        rich_progress.TaskProgressColumn(),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TextColumn("{task.fields[eta]}  {task.fields[text]}"),
    )
    pace = Pace()
    with rich_progress.Progress(*columns, console=_console(), transient=True) as display:
        task = display.add_task(label, total=None, text="", eta="")

        def report(done: int, total: int, text: str = "") -> None:
            eta = _eta(pace.left(done, total))
            display.update(task, completed=done, total=total or None, text=text, eta=eta)

        yield report


class _Lines:
    """Shows a line now and then: "training  1200/5000 steps  24%  ETA 3m20s  distortion …".

    Arguments:
        label: What is done.
        unit: What is counted.
        show: Called as show(done, total, line).
        every: Seconds between lines.
    """

    def __init__(self, label: str, unit: str, show: Callable[[int, int, str], None], every: float) -> None:
        self.label, self.unit, self.show, self.every = label, unit, show, every
        self.pace, self.shown = Pace(), time.monotonic()
        self.newest: tuple[int, int, str] | None = None  # what was reported and not shown

    def __call__(self, done: int, total: int, text: str = "") -> None:
        left = self.pace.left(done, total)
        parts = [self.label, f"{done:,}/{total:,} {self.unit}" if total else f"{done:,} {self.unit}"]
        if total and left is not None:
            parts += [f"{100 * done / total:.0f}%", _eta(left)]
        self.newest = done, total, "  ".join(part for part in (*parts, text) if part)
        if time.monotonic() - self.shown >= self.every:
            self.flush()

    def flush(self) -> None:
        """Show what was reported last."""
        if self.newest:
            self.show(*self.newest)
            self.shown, self.newest = time.monotonic(), None


def _print(done: int, total: int, line: str) -> None:
    note(line)


def note(line: str) -> None:
    """Print a line on stderr if there is one: programs without a console have none, and a terminal can go away."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(line, file=sys.stderr, flush=True)  # noqa: T201


def _is_terminal() -> bool:
    """Whether somebody looks at stderr, which may be missing or closed."""
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:
        return False


def _cell() -> Callable[[int, int, str], None]:
    """A bar in the output of a notebook's cell, drawn by the browser; needs nothing but IPython."""
    from html import escape

    from IPython.display import HTML, display

    handles: list[Any] = []

    def show(done: int, total: int, line: str) -> None:
        value = f' value="{done}" max="{total}"' if total else ""
        html = HTML(f'<progress{value} style="width:16em;vertical-align:middle"></progress> {escape(line)}')
        if handles:
            handles[0].update(html)
        else:
            handles.append(display(html, display_id=True))

    return show


def _eta(left: float | None) -> str:
    return "" if left is None else f"ETA {duration(left)}"


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
        if not _is_terminal():
            note(text)
        else:
            with contextlib.suppress(OSError):  # the terminal is gone: training goes on
                _console().print(text, markup=False, highlight=False)


_shared: list[Console] = []


def _console() -> Console:
    """One console for bars and log, so that they do not write over one another."""
    from rich.console import Console

    if not _shared:
        _shared.append(Console(stderr=True))
    return _shared[0]


def times(count: int) -> str:
    """Write how often."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


_NAMES = 3  # names given as examples in the text; the JSON has all


def printable(name: str, width: int = 60) -> str:
    """Make a name safe to print: control characters and broken text escaped, the middle of a long one left out."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name)
    return safe if len(safe) <= width else f"{safe[: width // 2]}…{safe[-(width // 2 - 1) :]}"


def listed(items: Iterable[str], at_most: int = _NAMES, separator: str = ", ") -> str:
    """Join the first few items and say how many more there are."""
    everything = list(items)
    more = f" and {len(everything) - at_most:,} more" if len(everything) > at_most else ""
    return separator.join(everything[:at_most]) + more
