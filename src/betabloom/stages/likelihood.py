"""The second stage: the β-VAE is trained by likelihood, as `--pure` does for the whole time."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from betabloom.data.store.split import evenly_spaced
from betabloom.stages.course import JUDGING, QUICKLY
from betabloom.stages.record import Entry
from betabloom.training.checkpoints import checkpoints_in
from betabloom.training.finish import interim_model
from betabloom.training.loop import train_part
from betabloom.training.setup import make_task
from betabloom.training.warm_start import with_initial_model
from betabloom.vae import inference

if TYPE_CHECKING:
    from betabloom.metrics.quality import Quality
    from betabloom.stages.course import Course
    from betabloom.training.state import Run

__all__ = ["NAME", "likelihood"]

NAME = "likelihood"
FEWEST = 2  # held-out pictures whose codes a Gaussian is fitted to
JUDGED_EACH = 2  # of so many validations one is followed by a judgement


def likelihood(course: Course, share: float) -> None:
    """Train for a share of the time; the model is kept if there is none, or if it draws better.

    In the middle of it, `model/` gets what there is as soon as there is something, and then what is better.
    """
    start = course.record.entry("start")
    given: dict[str, Any] = {
        name: start.facts[name] for name in ("init_from", "keep_decoder") if start and name in start.facts
    }
    config = with_initial_model(course.config.replace(given)) if given else course.config
    place = course.record.place(NAME)
    place.mkdir(parents=True, exist_ok=True)
    task = replace(make_task(course.store, config, course.out), share=share, result=place)
    resume = bool(checkpoints_in(course.out / "checkpoints"))
    t = course.config.train
    interim = _Interim(course, math.inf if t.steps else JUDGING * (share * t.budget - course.spent))
    spent = course.spent - course.record.seconds if resume else course.spent  # a checkpoint knows what came before it
    model = train_part(task, spent, resume, course.stop, course.reporting(NAME), interim)
    course.has_spent(model.training["seconds"])
    quality, before = course.quality(model), course.best_quality()
    better = quality is None or before is None or quality.is_better_than(before)
    steps = f"{model.training['steps']:,} steps"
    why = f"{steps} by likelihood" if better else f"{steps} by likelihood; the model before draws better pictures"
    course.done(Entry(NAME, kept=better, why=why), model, quality)
    if not better and interim.best is not None:
        course.publish(course.best_model())


class _Interim:
    """Called after each validation: puts the model of the moment into `model/` where there is none that is better.

    Arguments:
        course: The run.
        seconds: When judgements have taken as long in all, no more are made, but of the first model that there is.
    """

    def __init__(self, course: Course, seconds: float) -> None:
        self.course, self.seconds, self.validations = course, seconds, 0
        self.best: Quality | None = None

    def __call__(self, run: Run) -> None:
        course, rows = self.course, self.course.rows[1]
        self.validations += 1
        empty = not (course.out / "model" / "config.json").is_file()
        due = self.validations % JUDGED_EACH and self.seconds > 0
        if len(rows) < FEWEST or run.state.ended or not (empty or due):
            return
        begun = time.monotonic()
        pictures = course.store.pictures[evenly_spaced(rows, QUICKLY)]
        mean, log_var = inference.encode(run.state.averaged, pictures)
        noise = np.random.default_rng(run.state.step).standard_normal(mean.shape, np.float32)
        model = interim_model(run, torch.from_numpy(mean + np.exp(0.5 * log_var) * noise))
        quality = course.quality(model, QUICKLY)
        if empty or quality is None or self._is_best(quality):
            self.best = quality
            course.publish(model)
        self.seconds -= time.monotonic() - begun

    def _is_best(self, quality: Quality) -> bool:
        if self.best is None and self.course.record.best:
            self.best = self.course.quality(self.course.best_model(), QUICKLY)
        return self.best is None or quality.is_better_than(self.best)
