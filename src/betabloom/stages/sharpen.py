"""The third stage: the decoder goes on with a teacher, with the brakes on (`betabloom.refine.brakes`)."""

from __future__ import annotations

import dataclasses
import math
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING

from betabloom.metrics.quality import FEWEST
from betabloom.refine.brakes import Brakes, patience_with
from betabloom.refine.head import HEAD_WIDTH, with_head
from betabloom.refine.sharpen import (
    LARGE,
    NARROW,
    NETWORK,
    best_teacher,
    check_teachable,
    decoder_trainer,
    narrowest,
    sharpened,
    snapshot_judge,
    with_decoder,
)
from betabloom.refine.widen import widened
from betabloom.stages.course import EXTRA, JUDGING, has_judge
from betabloom.stages.record import Entry
from betabloom.stages.teaching import has_begun, quality_line, stopped, teach
from betabloom.system.hardware import choose_device

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from betabloom.metrics.quality import Quality
    from betabloom.model.model import Model
    from betabloom.stages.course import Course

__all__ = ["check_teacher", "name_of_stage", "no_teacher", "sharpen", "snapshots"]

NAME = "sharpen"
# Runs from before there were other teachers go on against the critic that they began with.
OLD_NAME = "critic"
SMALLEST = 16  # pixels of a side
SNAPSHOT_EVERY = 180.0  # seconds, about
SNAPSHOTS = (6, 24)  # fewest and most
HOW = {
    "moments": "of matching the moments of features",
    "eye": "against a critic on feature maps and pixels",
    "patches": "against a critic on patches",
}


def name_of_stage(course: Course) -> str:
    """The name of this stage in a run."""
    return OLD_NAME if course.record.entry(OLD_NAME) or has_begun(course, OLD_NAME) else NAME


def no_teacher(course: Course) -> str:
    """Why these pictures get no teacher; "" if they do."""
    config = course.config
    if not has_judge():
        return f"no teacher: what it does cannot be judged, since {EXTRA}"
    if min(config.shape[1:]) < SMALLEST:
        return f"no teacher: pictures of less than {SMALLEST} pixels are too small"
    if len(course.rows[1]) < FEWEST:
        return f"no teacher: what it does cannot be judged by {len(course.rows[1])} held-out pictures, only by {FEWEST}"
    return ""


def sharpen(course: Course, source: str, steps: int, seconds: float) -> None:
    """Teach the decoder of the model of a stage.

    Arguments:
        course: The run.
        source: The stage.
        steps: How many steps, or
        seconds: for how long.
    """
    before, t = course.model_of(source), course.config.train
    name, teacher, begun = name_of_stage(course), _teacher(course), time.monotonic()
    pictures = course.learned()
    model = with_head(_wide(before, t.seed), HEAD_WIDTH, t.seed)
    rate, report = t.critic_rate or None, course.reporting(name)
    trainer = decoder_trainer(model, pictures, t.seed, None, teacher, t.critic_pixels, rate, report, course.stop)
    if course.stop.asked:  # perhaps before it had looked at all pictures, so that nothing of it may be saved
        raise stopped(course, name, trainer)
    assert course.judge is not None  # noqa: S101  (for the type checker; `no_teacher` was asked)
    measure = snapshot_judge(model, trainer, course.judge, t.seed)

    def taken(weights: Mapping[str, Tensor], quality: Quality) -> None:
        best = course.best_quality()
        if best is None or quality.is_better_than(best):
            course.publish(with_decoder(model, weights, before.training))

    looking = time.monotonic()
    first = measure()
    looked = time.monotonic() - looking
    seconds -= time.monotonic() - begun  # what the teacher and the judge took to look at pictures
    count = snapshots(seconds, 0.0 if steps else looked)
    brakes = Brakes(trainer, measure, first, count, taken, quality_line(course, name, trainer), patience_with(teacher))
    teach(course, name, trainer, brakes, steps, seconds)
    after = sharpened(before, model, trainer, brakes, teacher)
    best = course.best_quality()
    better = brakes.weights is not None and (best is None or brakes.best.is_better_than(best))
    why = f"{trainer.taken:,} steps {HOW[teacher]}: distance {brakes.first.distance:.1f} before, "
    why += f"{brakes.best.distance:.1f} at step {brakes.kept:,}" if brakes.weights else "no snapshot was better"
    course.done(Entry(name, kept=better, why=why), dataclasses.replace(after, fingerprint=""), brakes.best)


def snapshots(seconds: float, looking: float) -> int:
    """How many snapshots are judged in so many seconds, where one takes `looking`: a fifth of the time at most."""
    count = min(max(math.ceil(seconds / SNAPSHOT_EVERY), SNAPSHOTS[0]), SNAPSHOTS[1])
    return max(1, min(count, int(JUDGING * seconds / looking))) if looking else count


def _teacher(course: Course) -> str:
    """The teacher that was asked for, or the best one of these pictures."""
    t = course.config.train
    if t.teacher != "auto":
        return t.teacher
    if name_of_stage(course) == OLD_NAME:
        return "eye" if _sees(course) else "patches"
    return best_teacher(_shape(course), choose_device(t.device))


def check_teacher(course: Course) -> None:
    """Raise an error where the teacher that was asked for cannot use these pictures."""
    if course.config.train.teacher != "auto":
        check_teachable(_shape(course), course.config.train.teacher)


def _shape(course: Course) -> tuple[int, ...]:
    return (len(course.rows[0]), *course.store.pictures.shape[1:])


def _sees(course: Course) -> bool:
    """Whether the critic was the one on feature maps: of coloured pictures that were not too large for it."""
    return bool(find_spec(NETWORK)) and course.config.data.channels >= 3 and min(course.config.shape[1:]) < LARGE


def _wide(model: Model, seed: int) -> Model:
    """The model with channels enough to follow a teacher, where its family can be made wider."""
    m = model.config.model
    if m.family != "residual" or m.enlargers:
        return model
    return widened(model, max(1, math.ceil(NARROW / narrowest(model))), seed)
