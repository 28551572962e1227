"""Schedules: values that change while a model trains.

A schedule is a function of the progress t ∈ [0, 1], the fraction of the training that is done, so that a preset means
the same for a two-minute run and for a two-day run. The same schedules serve β(t) and the capacity C(t); the learning
rate has its own: `betabloom.training.learning_rate`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from betabloom.errors import UsageError

__all__ = ["SCHEDULES", "Constant", "Cosine", "Cyclical", "LinearSchedule", "Schedule", "make_schedule"]

Schedule = Callable[[float], float]


@dataclass(frozen=True)
class Constant:
    """`value`, always."""

    value: float

    def __call__(self, t: float) -> float:
        return self.value


@dataclass(frozen=True)
class LinearSchedule:
    """Straight line from `start` at t = 0 to `end` at t = `until`, then `end` (warm-up, Bowman et al. 2015)."""

    start: float
    end: float
    until: float = 1.0

    def __call__(self, t: float) -> float:
        return self.start + (self.end - self.start) * _fraction(t, self.until)


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from `start` at t = 0 to `end` at t = `until`, then `end`: flat at both ends."""

    start: float
    end: float
    until: float = 1.0

    def __call__(self, t: float) -> float:
        return self.end + (self.start - self.end) * 0.5 * (1 + math.cos(math.pi * _fraction(t, self.until)))


@dataclass(frozen=True)
class Cyclical:
    """`cycles` times: straight up from 0 to `value` during the first `ramp` of a cycle, then constant.

    Fu et al. 2019, https://arxiv.org/abs/1903.10145. At t = 1 the value is `value`.
    """

    value: float
    cycles: int = 4
    ramp: float = 0.5

    def __call__(self, t: float) -> float:
        if t >= 1:
            return self.value
        return self.value * _fraction(t * self.cycles % 1.0, self.ramp)


def _fraction(t: float, until: float) -> float:
    return 1.0 if until <= 0 else min(max(t / until, 0.0), 1.0)


SCHEDULES: dict[str, Callable[[float, float], Schedule]] = {
    "constant": lambda value, warmup: Constant(value),
    "linear": lambda value, warmup: LinearSchedule(0.0, value, warmup),
    "cosine": lambda value, warmup: Cosine(0.0, value, warmup),
    "cyclical": lambda value, warmup: Cyclical(value, ramp=warmup),
}
"""The schedules of β by name: each is made from its last value and the part of the training during which it rises."""


def make_schedule(kind: str, value: float, warmup: float) -> Schedule:
    """Make a schedule by its name.

    Arguments:
        kind: One of `SCHEDULES`.
        value: What it ends at.
        warmup: Part of the training, in [0, 1], during which it rises from 0; for "cyclical", the part of each of four
            cycles. "constant" does not rise.

    Returns:
        A function of the progress t ∈ [0, 1].

    Raises:
        UsageError: The name is unknown.
    """
    if kind not in SCHEDULES:
        raise UsageError(f"Unknown schedule {kind!r}. Choose one of: {', '.join(SCHEDULES)}.")
    return SCHEDULES[kind](value, warmup)
