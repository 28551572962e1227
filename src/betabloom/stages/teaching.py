"""A student and its teacher as a stage of a run: with checkpoints, lines in the log, and the brakes on."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from betabloom.errors import FormatError
from betabloom.refine.student import train_student
from betabloom.system.signals import Interrupted
from betabloom.training.checkpoints import checkpoints_in, latest_checkpoint, resume_command, save_checkpoint
from betabloom.training.loop import CHECKPOINT_EVERY
from betabloom.training.run_folder import read_records, rewind_metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from betabloom.metrics.quality import Quality
    from betabloom.refine.brakes import Brakes
    from betabloom.refine.student import StudentTrainer
    from betabloom.stages.course import Course

__all__ = ["has_begun", "quality_line", "stopped", "teach"]

log = logging.getLogger(__name__)


def has_begun(course: Course, stage: str) -> bool:
    """Whether a stage left a checkpoint."""
    return bool(checkpoints_in(course.record.place(stage) / "checkpoints"))


def teach(
    course: Course,
    stage: str,
    trainer: StudentTrainer,
    brakes: Brakes | None,
    steps: int,
    seconds: float,
) -> None:
    """Train with a teacher, from the newest checkpoint of the stage if there is one.

    Arguments:
        course: The run.
        stage: Its name, which checkpoints and lines of metrics.jsonl go by.
        trainer: What learns.
        brakes: What judges snapshots of it; None for nothing.
        steps: How many steps in all; 0 if `seconds` says for how long.
        seconds: For how long in all, where the stage has not begun; a stage that has keeps what it was given.

    Raises:
        Interrupted: It was asked to stop; the stage is saved.
    """
    saved = _Checkpoints(course, stage, trainer, brakes)
    if has_begun(course, stage):
        saved.restore()
    seconds = 0.0 if steps else course.record.planned.setdefault(stage, max(seconds, 1.0))
    course.record.write()
    if brakes and brakes.ended:
        return
    train_student(trainer, steps, seconds, course.reporting(stage), course.stop, saved)
    saved.save()
    course.has_spent(course.record.seconds + trainer.seconds)
    if course.stop.asked and not saved.ended:
        raise stopped(course, stage, trainer)


def stopped(course: Course, stage: str, trainer: StudentTrainer) -> Interrupted:
    """What is raised where a stage was asked to stop; all that it did is saved."""
    return Interrupted(
        f"Stopped at step {trainer.taken} of the stage {stage} and saved. To go on, type: {resume_command(course.out)}"
    )


class _Checkpoints:
    """Called after each step: looks at the brakes, and saves now and then."""

    def __init__(self, course: Course, stage: str, trainer: StudentTrainer, brakes: Brakes | None) -> None:
        self.course, self.stage, self.trainer, self.brakes = course, stage, trainer, brakes
        self.folder = course.record.place(stage) / "checkpoints"
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.saved, self.ended = time.monotonic(), False

    def __call__(self, t: float) -> bool:
        looked = self.brakes.looked if self.brakes else 0
        ended = bool(self.brakes and self.brakes(t))
        self.ended = ended or t >= 1
        judged = bool(self.brakes and self.brakes.looked > looked)
        if judged or self.course.stop.asked or time.monotonic() - self.saved > CHECKPOINT_EVERY:
            self.save()
        return ended

    def save(self) -> None:
        tensors = self.trainer.tensors() | (self.brakes.tensors() if self.brakes else {})
        numbers: dict[str, Any] = {"trainer": self.trainer.numbers(), "records": len(read_records(self.course.out))}
        if self.brakes:
            numbers["brakes"] = self.brakes.numbers()
        save_checkpoint(self.folder, self.trainer.taken, tensors, numbers)
        self.saved = time.monotonic()

    def restore(self) -> None:
        expected = self.trainer.tensors() | self.trainer.memory() | (self.brakes.tensors() if self.brakes else {})
        found = latest_checkpoint(self.folder, expected, self.trainer.memory())
        assert found is not None  # noqa: S101  (for the type checker: there are checkpoints)
        tensors, numbers, complaints = found
        for complaint in complaints:
            log.warning(complaint)
        try:
            self.trainer.restore(tensors, numbers["trainer"])
            if self.brakes:
                self.brakes.restore(tensors, numbers["brakes"])
            rewind_metrics(self.course.out / "metrics.jsonl", int(numbers["records"]))
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"The checkpoint in {self.folder} does not fit its run: {error}") from error


def quality_line(course: Course, stage: str, trainer: StudentTrainer) -> Callable[[Quality, bool], None]:
    """Make a function that writes what was measured of a snapshot to metrics.jsonl."""

    def write(quality: Quality, better: bool) -> None:
        values: Mapping[str, Any] = quality.to_dict()
        status = {name: round(value, 4) for name, value in trainer.teacher.status().items()}
        course.line(stage, trainer.taken, {**values, **status, "kept": better})

    return write
