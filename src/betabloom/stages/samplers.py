"""The stage after sharpening: samplers are fitted and compared again, since their codes stand for other pictures."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from betabloom.data.store.split import evenly_spaced
from betabloom.metrics import best_extractor
from betabloom.samplers.choose import samplers_of
from betabloom.stages.record import Entry
from betabloom.training.finish import SAMPLER_PICTURES

if TYPE_CHECKING:
    from betabloom.stages.course import Course

__all__ = ["NAME", "samplers"]

NAME = "samplers"
FEWEST = 2  # held-out pictures


def samplers(course: Course) -> None:
    """Fit the samplers of the best model again; they are kept if what they draw is better."""
    model, (learned, held_out) = course.best_model(), course.rows
    if len(held_out) < FEWEST:
        course.done(Entry(NAME, kept=False, why="samplers stay as they are: nothing is held out to compare them by"))
        return
    known, others = (evenly_spaced(rows, SAMPLER_PICTURES) for rows in (learned, held_out))
    known, others = (np.asarray(course.store.pictures[rows]) for rows in (known, others))
    seed = course.config.train.seed
    noise = np.random.default_rng([seed, 3]).standard_normal((len(others), model.vae.latents), np.float32)
    fitted, best, measured = samplers_of(model.vae, known, others, noise, best_extractor(), seed)
    training = {**model.training, "samplers": measured}
    after = dataclasses.replace(model, samplers=fitted, sampler=best, training=training, fingerprint="")
    quality, before = course.quality(after), course.best_quality()
    better = quality is None or before is None or quality.is_better_than(before)
    why = (
        f"codes are drawn from {best}"
        if better
        else f"samplers stay as they are: drawn from {best}, pictures are no better"
    )
    course.done(Entry(NAME, kept=better, why=why), after, quality)
