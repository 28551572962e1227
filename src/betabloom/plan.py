"""How long a run is, in steps or in seconds, and how far along it is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Plan"]


@dataclass
class Plan:
    """The progress t ∈ [0, 1] that schedules follow: the part of the steps that is done, or of the time that is spent.

    With a time budget the schedules are complete when the time is over, however the machine's pace changes.

    Attributes:
        steps: Number of steps; 0 if a time budget decides.
        budget: Seconds that the whole training may take; 0 if the steps decide.
        reserve: Seconds of the budget that are kept for what comes after the last step.
        t: The progress; it never falls.
    """

    steps: int = 0
    budget: float = 0.0
    reserve: float = 0.0
    t: float = 0.0

    def advance(self, step: int, seconds: float) -> None:
        """Note that `step` steps are done, `seconds` after the start."""
        if self.steps:
            self.t = min(1.0, step / self.steps)
        else:
            self.t = max(self.t, min(1.0, seconds / max(self.budget - self.reserve, 1e-9)))

    def expected_steps(self, step: int) -> int:
        """Number of steps of the whole run as it looks now; 0 while nothing is known."""
        return self.steps or (round(step / self.t) if self.t > 0.01 else 0)
