"""How long a run is, in steps or in seconds, and how far along it is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Plan"]


@dataclass
class Plan:
    """The progress t ∈ [0, 1] that schedules follow: the part of the steps that is done, or of the time that is spent.

    With a time budget the schedules begin with the first step, whatever came before it, and are complete when the time
    is over, however the machine's pace changes. With both steps and a budget, what is over first ends the run, and
    progress is that of whichever is further.

    Attributes:
        steps: Number of steps; 0 if only a time budget decides.
        budget: Seconds that the whole training may take; 0 if only the steps decide.
        reserve: Seconds of the budget that are kept for what comes after the last step.
        t: The progress; it never falls.
        seconds: How many are spent.
        first: Step and seconds at the first note of progress: what came before it is not the pace of steps.
        begun: Seconds of the budget that were gone before the first step.
    """

    steps: int = 0
    budget: float = 0.0
    reserve: float = 0.0
    t: float = 0.0
    seconds: float = 0.0
    first: tuple[int, float] = (0, 0.0)
    begun: float = 0.0

    def progress(self, step: int, seconds: float) -> float:
        """The progress when `step` steps are done, `seconds` after the start."""
        done = step / self.steps if self.steps else 0.0
        whole = self.budget - self.reserve - self.begun
        spent = (seconds - self.begun) / max(whole, 1e-9) if self.budget else 0.0
        return max(self.t, min(1.0, max(done, spent)))

    def advance(self, step: int, seconds: float) -> None:
        """Note that `step` steps are done, `seconds` after the start."""
        self.t = self.progress(step, seconds)
        self.seconds = seconds
        self.first = self.first if self.first[0] else (step, seconds)

    def expected_steps(self, step: int) -> int:
        """Number of steps of the whole run as it looks now; 0 while nothing is known."""
        taken, took = step - self.first[0], self.seconds - self.first[1]
        if not self.budget:
            return self.steps
        if taken > 0 and took > 0:
            whole = step + round(max(self.budget - self.reserve - self.seconds, 0.0) * taken / took)
        else:
            whole = round(step / self.t) if self.t > 0.01 else 0
        return min((steps for steps in (whole, self.steps) if steps), default=0)
