"""The last stage: the model learns to draw at twice its size, where the pictures have that size."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from betabloom.data.store.split import evenly_spaced
from betabloom.errors import SourceError
from betabloom.metrics.quality import FEWEST
from betabloom.refine.enlarge import enlarging, with_learned
from betabloom.stages.course import JUDGED, judge_of
from betabloom.stages.record import Entry
from betabloom.stages.teaching import teach

if TYPE_CHECKING:
    from betabloom.config import Config
    from betabloom.stages.course import Course

__all__ = ["larger", "larger_settings", "name_of"]

MOST = 20_000  # photos that are learned from


def name_of(number: int) -> str:
    """The name of the stage of the first doubling, the second and so on."""
    return f"larger-{number}"


def larger_settings(config: Config, times: int) -> Config:
    """Those of the same pictures at so many times the size, without pictures that are smaller than that."""
    d = config.data
    size = {"height": times * d.height, "width": times * d.width}
    return config.replace({**size, "min_size": max(d.min_size, times * min(d.height, d.width))})


def larger(course: Course, number: int, steps: int, seconds: float) -> None:
    """Teach the best model to draw at twice its size; kept if that is better than pixels drawn four times.

    Arguments:
        course: The run.
        number: 1 for the first doubling.
        steps: How many steps, or
        seconds: for how long.
    """
    stage, before = name_of(number), course.best_model()
    try:
        store = course.larger(2**number)
    except SourceError as error:
        course.done(Entry(stage, kept=False, why=f"not enlarged: {str(error).rstrip('.')}"))
        return
    if len(store) < FEWEST:
        course.done(Entry(stage, kept=False, why=f"not enlarged: only {len(store)} pictures are that large"))
        return
    store = store.held_out_as(course.store)
    d = course.config.data
    learned, held_out = store.split(d.split, d.holdout)
    untaught, trainer = enlarging(
        before, np.asarray(store.pictures[evenly_spaced(learned, MOST)]), course.config.train.seed
    )
    teach(course, stage, trainer, None, steps, seconds)
    after = with_learned(untaught, trainer, min(len(learned), MOST))
    size = f"{store.pictures.shape[2]}x{store.pictures.shape[1]}"
    judge = judge_of(store, learned, held_out)
    if judge is None:
        why = f"draws {size} pixels after {trainer.taken:,} steps; nothing could judge it"
        course.done(Entry(stage, kept=True, why=why), dataclasses.replace(after, fingerprint=""))
        return
    one, two = (judge(model.generate(JUDGED // 2, course.config.train.seed)) for model in (untaught, after))
    why = f"draws {size} pixels after {trainer.taken:,} steps: distance {two.distance:.1f}, "
    why += f"with pixels drawn four times {one.distance:.1f}"
    better = two.distance < one.distance
    course.done(Entry(stage, kept=better, why=why), dataclasses.replace(after, fingerprint=""), two)
