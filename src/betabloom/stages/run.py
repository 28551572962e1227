"""The one command: from pictures and a time to the best model that this machine makes of them in it.

| stage | what it does | kept if |
|---|---|---|
| `start` | rehearses a start from the bundled model and one from nothing | held-out pictures have a lower loss |
| `likelihood` | trains the β-VAE | there is no model, or its pictures are better |
| `sharpen` | teaches the decoder by features of pictures, and keeps the best snapshot | that is better |
| `samplers` | fits where codes come from again | pictures are better |
| `larger-1` … | teaches the model to draw at twice its size, if asked for | it is better than larger pixels |

"Better" is a lower distance to held-out pictures, with speckles, combs and near copies within their limits
(`betabloom.metrics.quality`). All is in one run directory, where every stage that was stopped goes on, and `model/` is
the best model at every moment.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from betabloom.errors import UsageError
from betabloom.imaging import curves, png
from betabloom.model.model import load
from betabloom.stages import begin, larger, likelihood, samplers, sharpen
from betabloom.stages.course import Course
from betabloom.stages.record import Entry, read_record
from betabloom.system.atomic import write_text
from betabloom.system.hardware import choose_device
from betabloom.system.paths import shell_quoted
from betabloom.system.signals import stop_requests
from betabloom.training.budget import counted
from betabloom.training.run_folder import claimed, read_records, run_config, why_stopped
from betabloom.training.run_log import log_file
from betabloom.training.setup import with_picture_size

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from betabloom.config import Config
    from betabloom.data import Store
    from betabloom.model.model import Model
    from betabloom.stages.record import Record
    from betabloom.system.console import Progress
    from betabloom.system.signals import StopRequest

__all__ = ["SHORTEST", "train_in_stages"]

log = logging.getLogger(__name__)

SHORTEST = 600.0  # seconds of a budget from which on stages are worth it
LONGEST_START = 0.8  # of the budget that counts as gone when a start is chosen
LARGER = 0.2  # of the budget, for each doubling
SAMPLERS = 0.06  # of what is left, for the last measurements and samplers


@dataclass(frozen=True)
class Shares:
    """Which parts of the budget stages may take, each counted from the beginning: of what the first stage leaves.

    Attributes:
        likelihood: Until when the model is trained by likelihood.
        sharpen: Until when the teacher teaches.
        larger: What each doubling takes, in the end.
    """

    likelihood: float
    sharpen: float
    larger: float

    def after(self, begun: float) -> Shares:
        """The same parts of what is left when a part of the budget is gone."""
        left = 1.0 - begun
        return Shares(begun + left * self.likelihood, begun + left * self.sharpen, left * self.larger)


def shares(doublings: int, keeps_decoder: bool, starts: bool, has_teacher: bool) -> Shares:
    """How the time is parted.

    Arguments:
        doublings: How often the model is enlarged.
        keeps_decoder: Whether likelihood trains the encoder alone, which takes less.
        starts: Whether it starts from a model.
        has_teacher: Whether a teacher comes after.
    """
    whole = 1.0 - doublings * LARGER
    if not has_teacher:
        return Shares(whole, whole, LARGER)
    part = 0.25 if keeps_decoder else 0.6 if starts else 0.5
    return Shares(part * whole, (1 - SAMPLERS) * whole, LARGER)


def train_in_stages(
    store: Store,
    config: Config,
    out: Path,
    larger_store: Callable[[int], Store],
    resume: bool = False,
    progress: Progress | None = None,
    spent: float = 0.0,
    stop: StopRequest | None = None,
) -> Model:
    """Train a model in stages; see the module.

    Arguments:
        store: The pictures, at the size at which the model learns.
        config: The settings, with `steps` or `budget`; `doublings` says how often the model is enlarged.
        out: The run directory.
        larger_store: Makes the pictures so many times as large; raises `SourceError` where they are too small.
        resume: Go on with the run in `out`.
        progress: Called as progress(step, steps, text).
        spent: Seconds of the budget that are gone already.
        stop: A `threading.Event`, or a function that returns True: asks for a stop.

    Returns:
        The best model, which is also in `out`/model.

    Raises:
        UsageError: There is neither a budget nor a number of steps, or the run is done.
        Interrupted: It was asked to stop; the run is saved.
    """
    if not config.train.budget and not config.train.steps:
        raise UsageError("Stages need to know how long they may take: --budget 2h, or --steps 20000")
    try:
        with claimed(out, resume), stop_requests(stop) as asked, log_file(out):
            record = read_record(out)
            config = _same_length(record, config) if resume else with_picture_size(store, config)
            began = time.monotonic() - counted(config.train.budget, spent) - record.seconds
            course = Course(config, store, larger_store, record, asked, progress, began)
            if not record.finished:
                text = yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True)
                write_text(out / "config.yaml", text)
            if not record.finished:
                _run(course)
                record.finished = True
                record.write()
            log.info("%s is finished", out)
            return load(out / "model", str(choose_device(config.train.device)))
    except OSError as error:
        raise why_stopped(out, 0, error) from error


def _same_length(record: Record, config: Config) -> Config:
    """The settings of a run that goes on; a finished one does not get longer."""
    t, before = config.train, run_config(record.folder).train
    if record.finished and (t.steps, t.budget) != (before.steps, before.budget):
        raise UsageError(
            f"All stages of the run in {record.folder} are done. To sharpen it further: "
            f"betabloom sharpen {shell_quoted(record.folder)}"
        )
    return config


def _run(course: Course) -> None:
    """Go through the stages, but for those that are done."""
    t = course.config.train
    hinder, name = sharpen.no_teacher(course), sharpen.name_of_stage(course)
    if not hinder:
        sharpen.check_teacher(course)
    if not course.record.entry("start"):
        begin.begin(course)
    start = course.record.entry("start")
    keeps = bool(start and start.facts.get("keep_decoder")) or t.keep_decoder
    parts = shares(t.doublings, keeps, bool(start and start.kept) or bool(t.init_from), not hinder)
    if start and t.budget:
        parts = parts.after(min(start.seconds / t.budget, LONGEST_START))
    if not course.record.entry(likelihood.NAME):
        likelihood.likelihood(course, parts.likelihood)
    if not course.record.entry(name):
        if hinder:
            course.done(Entry(name, kept=False, why=hinder))
        else:
            steps, seconds = _length(course, parts.sharpen - parts.likelihood, parts.sharpen)
            sharpen.sharpen(course, course.record.best, steps, seconds)
    taught = course.record.entry(name)
    if taught and taught.kept and not course.record.entry(samplers.NAME):
        samplers.samplers(course)
    for number in range(1, t.doublings + 1):
        if not course.record.entry(larger.name_of(number)):
            steps, seconds = _length(course, parts.larger, 1 - (t.doublings - number) * parts.larger)
            larger.larger(course, number, steps, seconds)
    png.save_png(curves.curves(read_records(course.out)), course.out / "curves.png", {"verb": "curves"})


def _length(course: Course, part: float, end: float) -> tuple[int, float]:
    """Steps of a stage that takes a part of them all, or the seconds until `end`, a part of the budget."""
    t = course.config.train
    return (max(1, round(part * t.steps)), 0.0) if t.steps else (0, max(end * t.budget - course.spent, 1.0))
