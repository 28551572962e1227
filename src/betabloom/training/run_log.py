"""What a run says about itself: on the screen, in its log.txt, and where its settings say."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from betabloom.system.atomic import write_text
from betabloom.system.console import printable
from betabloom.system.hardware import precision_name
from betabloom.training.trackers import open_trackers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from betabloom.training.state import Run, Task

__all__ = ["describe", "log_file", "tracked"]

log = logging.getLogger(__name__)

SHOWN = 20  # pictures left out that are named on the screen


def describe(task: Task) -> None:
    """Say what is going to happen, and which pictures were left out."""
    skipped = task.store.skipped
    if skipped and task.out:
        lines = (f"{printable(entry['name'], 1000)}\t{entry['reason']}\n" for entry in skipped)
        write_text(task.out / "skipped.txt", "".join(lines), synced=False)
    for entry in skipped[:SHOWN]:
        log.warning("left out: %s (%s)", printable(entry["name"]), entry["reason"])
    if len(skipped) > SHOWN:
        log.warning("left out: %s more; all are named in skipped.txt", f"{len(skipped) - SHOWN:,}")
    log.info(
        "%s: %s pictures to learn from, %d held out; %s network, %d latents; %s, %s",
        task.store.source_name,
        "a stream of" if task.stream else f"{len(task.train_rows):,}",
        len(task.validation_rows),
        task.config.model.family,
        task.config.model.latents,
        task.device,
        precision_name(task.dtype),
    )


@contextmanager
def tracked(run: Run) -> Iterator[None]:
    """Log the run also to where the settings say."""
    task = run.task
    if task.out:
        settings = {name: value for section in task.config.to_dict().values() for name, value in section.items()}
        run.tools.trackers = open_trackers(task.config.train.log, task.out, settings, run.state.records)
    try:
        yield
    finally:
        run.tools.trackers.close()


@contextmanager
def log_file(out: Path) -> Iterator[None]:
    """Copy what is logged to log.txt, which is made when there is something to write."""
    handler = _LogFile(out / "log.txt", encoding="utf-8", delay=True, errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("betabloom")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


class _LogFile(logging.FileHandler):
    """A log that cannot be written ends the run as every other file does, not with a traceback beside the progress."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        raise
