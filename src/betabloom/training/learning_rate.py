"""The learning rate: how large a step of training is, over the training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from betabloom.config import TrainConfig

__all__ = ["SMALLER", "scheduled"]

SMALLER = 1 / 3  # factor for every time that the loss was not a finite number


def scheduled(settings: TrainConfig, t: float, step: int, rollbacks: int = 0) -> float:
    """Linear warm-up, then constant, then half a cosine to 0; a third of that after every rollback.

    Arguments:
        settings: `learning_rate`, `warmup_steps` and `decay_from` of the training.
        t: Progress, from 0 to 1.
        step: Steps taken so far.
        rollbacks: How often the run went back because the loss was not finite.
    """
    peak = settings.learning_rate * SMALLER**rollbacks
    rise = min(1.0, max((step + 1) / settings.warmup_steps, 10 * t)) if settings.warmup_steps else 1.0
    if settings.decay_from >= 1 or t <= settings.decay_from:
        return peak * rise
    fall = (t - settings.decay_from) / (1 - settings.decay_from)
    return peak * rise * 0.5 * (1 + math.cos(math.pi * fall))
