"""How long a run is: a number of steps, or a time budget that becomes one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Clock", "Plan"]


@dataclass
class Plan:
    """How many steps there are, and how far along step s is: t(s) ∈ [0, 1].

    A run with a time budget knows its number of steps only after it has measured some, and corrects it when the machine
    gets slower or faster; t stays continuous, and a checkpoint remembers the plan.

    Attributes:
        total: Step at which training ends; 0 while it is not known.
        since: Step of the last correction.
        done: t at that step.
    """

    total: int = 0
    since: int = 0
    done: float = 0.0

    def progress(self, step: int) -> float:
        """t at a step; stays where it was while the total is not known."""
        if not self.total or step < self.since:
            return self.done
        if step >= self.total:
            return 1.0
        return self.done + (1 - self.done) * (step - self.since) / (self.total - self.since)

    def correct(self, step: int, total: int) -> None:
        """From `step` on, end at `total`."""
        self.done, self.since, self.total = self.progress(step), step, max(total, step + 1)


class Clock:
    """Plans the number of steps for a time budget, from what a step takes and what validating and saving take.

    Arguments:
        budget: Seconds that the whole training may take.
        step: Step at which the clock starts.
    """

    measure = 3.0  # seconds of training before the first plan, or a twentieth of a shorter budget
    # `last` is kept for what comes after the last step: fitting the sampler and writing the model
    tolerance = 0.01  # part of the budget by which the end may be missed before the plan is corrected

    def __init__(self, budget: float, step: int) -> None:
        self.budget = budget
        self.first_step, self.first_time = step, time.monotonic()
        self.longest_pause = 0.0
        self.last = min(0.06 * budget, 40.0)

    def pause(self, work: Callable[[], None]) -> None:
        """Do work that is not a training step."""
        begun = time.monotonic()
        work()
        self.longest_pause = max(self.longest_pause, time.monotonic() - begun)

    def plan(self, plan: Plan, step: int, seconds: float) -> None:
        """Set or correct the number of steps, `seconds` into the training, if its end would miss the budget."""
        steps, spent = step - self.first_step, time.monotonic() - self.first_time
        if steps < 3 or spent < min(self.measure, 0.05 * self.budget) or (plan.total and step % 10):
            return
        a_step = spent / steps  # pauses included: more of them are to come
        left = self.budget - seconds - 2 * self.longest_pause - self.last
        total = step + max(int(left / a_step), 1)
        if not plan.total or abs(total - plan.total) * a_step > self.tolerance * self.budget:
            plan.correct(step, total)
