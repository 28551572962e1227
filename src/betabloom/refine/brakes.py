"""Brakes for a student and its teacher: snapshots are judged on the way, and the best of them is kept.

Left alone, a critic on features goes on to reward what a person no longer likes: distances fall while speckles and
grids grow. So at some instants what the averaged weights draw is measured (`betabloom.metrics.quality`). A snapshot is
taken where it is nearer to real pictures than all before, the untaught student among them, and keeps within the limits.
When speckles have been beyond their limit twice in a row, a critic's training ends; moments may begin with speckles,
which go away.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from betabloom.metrics.quality import Quality

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from betabloom.refine.student import StudentTrainer

__all__ = ["Brakes", "patience_with"]

log = logging.getLogger(__name__)

SPECKLED = "speckled"
PATIENCE = 2


def patience_with(teacher: str) -> int:
    """After how many speckled snapshots in a row a training with a teacher ends; 0 for none."""
    return 0 if teacher == "moments" else PATIENCE


class Brakes:
    """Called as brakes(t) after each step, as `train_student` does; True ends the training.

    Arguments:
        trainer: Whose averaged student is judged.
        judge: What its pictures are like now.
        first: The same of the student before it was taught.
        snapshots: How many are judged, evenly over the training.
        taken: Called with the new best weights and their quality each time that there are some.
        measured: Called with the quality of each snapshot, and whether it was taken.
        patience: Snapshots in a row that are speckled beyond the limit, and end the training; 0 for no end.

    Attributes:
        best: The quality of the best snapshot, or of the untaught student.
        weights: The weights of that snapshot, by name; None for the untaught student.
        kept: The step that they are of; 0 for the untaught student.
    """

    def __init__(
        self,
        trainer: StudentTrainer,
        judge: Callable[[], Quality],
        first: Quality,
        snapshots: int,
        taken: Callable[[Mapping[str, Tensor], Quality], None] = lambda weights, quality: None,
        measured: Callable[[Quality, bool], None] = lambda quality, better: None,
        patience: int = PATIENCE,
    ) -> None:
        self.trainer, self.judge, self.first, self.snapshots = trainer, judge, first, snapshots
        self.taken, self.measured, self.patience = taken, measured, patience
        self.best, self.kept, self.looked, self.rising = first, 0, 0, 0
        self.weights: dict[str, Tensor] | None = None
        log.info("before the teacher: %s", first.summary())

    def __call__(self, t: float) -> bool:
        """Look whether a snapshot is due at the progress t, and judge it."""
        if int(self.snapshots * t) <= self.looked:
            return False
        self.looked = int(self.snapshots * t)
        quality = self.judge()
        better = quality.distance < self.best.distance and quality.keeps_within(self.first)
        log.info("step %d: %s%s", self.trainer.taken, quality.summary(), "; the best so far" if better else "")
        if better:
            self.best, self.kept = quality, self.trainer.taken
            self.weights = {name: value.clone() for name, value in self.trainer.averaged.state_dict().items()}
            self.taken(self.weights, quality)
        self.measured(quality, better)
        harmed = quality.beyond[SPECKLED] > self.first.beyond[SPECKLED]
        self.rising = self.rising + 1 if harmed else 0
        if self.ended:
            log.info("step %d: more and more pictures are speckled; the training ends here", self.trainer.taken)
        return self.ended

    @property
    def ended(self) -> bool:
        """Whether speckles have ended the training."""
        return bool(self.patience) and self.rising >= self.patience

    def tensors(self) -> dict[str, Tensor]:
        """The weights of the best snapshot; those of the averaged student stand for none."""
        weights = self.weights or {name: value.clone() for name, value in self.trainer.averaged.state_dict().items()}
        return {f"best.{name}": value for name, value in weights.items()}

    def numbers(self) -> dict[str, Any]:
        """All that is not a tensor, as values for JSON."""
        counts = {"kept": self.kept, "looked": self.looked, "rising": self.rising}
        return {**counts, "best": self.best.numbers(), "first": self.first.numbers()}

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Put back what `tensors` and `numbers` returned."""
        self.kept, self.looked, self.rising = (int(numbers[name]) for name in ("kept", "looked", "rising"))
        self.best, self.first = (Quality.from_numbers(numbers[name]) for name in ("best", "first"))
        names = self.trainer.averaged.state_dict()
        self.weights = {name: tensors[f"best.{name}"].clone() for name in names} if self.kept else None
