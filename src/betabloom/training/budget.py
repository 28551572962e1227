"""A time budget: what to do with it on this machine, and how much of it to keep for what comes after the last step."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from betabloom.imaging import curves
from betabloom.networks.spec import FAMILIES
from betabloom.training.finish import SAMPLER_PICTURES, finish
from betabloom.training.resume import save
from betabloom.training.setup import BATCH, set_up, usual_batch
from betabloom.training.step import train_step

if TYPE_CHECKING:
    from collections.abc import Callable

    from betabloom.training.state import Run, Task

__all__ = ["choose", "counted", "reserve"]

log = logging.getLogger(__name__)

# Pictures in a step, by the steps of `BATCH` pictures that fit in the budget: a short training is short of steps, not
# of pictures (docs/log.md).
BATCHES = ((0, 16), (300, BATCH))
SMALLEST_BATCH = 8  # where memory does not hold the one above
# Steps of a network of its own widths below which half of them learn more; measured up to there (docs/log.md).
HALF_BELOW = 25_000
MEASURED = 3.0  # seconds, at most
MEASURED_PART = 0.03  # of the budget, at most
REHEARSED_FROM = 0.35  # progress from which on codes are distributed much as in the end
REHEARSED_PART = 4  # one of so many pictures


def counted(budget: float, spent: float) -> float:
    """Seconds of the budget that count as gone when the pictures are prepared: half of it at most, and then it says so.

    Pictures are prepared once: what is left after that should make a model, not none.
    """
    if budget and spent > budget / 2:
        log.warning(
            "Preparing used %.0f s of the %.0f s budget. Training still gets %.0f s.", spent, budget, budget / 2
        )
    return min(spent, budget / 2) if budget else spent


def choose(task: Task, seconds: float) -> Task:
    """Choose what the settings leave open, the widths and the pictures in a step, by how fast this machine is.

    Steps are timed in runs that are thrown away after, but with CUDA, which has time for the whole. Only families that
    `scale` get other widths: the networks of publications stay what they are.

    Arguments:
        task: What is to be learned. Of several processes the first measures, and counts on their sharing the work.
        seconds: What is left of the budget.
    """
    if not (group := task.group):
        return _chosen(task, seconds)

    def work() -> dict[str, Any]:
        found = _chosen(dataclasses.replace(task, group=None), seconds * group.world).config
        batch = -(-found.train.batch // group.world) * group.world
        return {"widths": list(found.model.widths), "batch": batch}

    return task.changed(group.decide(work))


def _chosen(task: Task, seconds: float) -> Task:
    config = task.config
    family, asked = FAMILIES[config.model.family], config.train.batch
    if task.device.type == "cuda":  # it takes fewer pictures or channels hardly less time
        return task.changed({"batch": asked or usual_batch(task.device)})
    task = task.changed({"batch": asked or BATCH})
    wide = family.scales and not config.model.widths
    if asked and not wide:
        return task
    steps, parts = _fitting(task, seconds)
    if 0 < config.train.steps <= steps and parts == 1:
        return task  # there is time enough for the steps that were asked for
    if wide:
        halved = steps < HALF_BELOW
        widths = tuple(max(width // 2, 1) for width in family.widths) if halved else family.widths
        log.info("about %s steps fit in the budget: widths %s", f"{steps:,.0f}", widths)
        task = task.changed({"widths": widths})
        if halved and not asked:
            steps, parts = _fitting(task, seconds)
    if asked:
        return task
    batch = next(batch for least, batch in reversed(BATCHES) if steps >= least)
    if parts > 1:
        batch = max(SMALLEST_BATCH, min(batch, BATCH // parts))
    log.info("about %s steps of %d pictures fit in the budget: batches of %d", f"{steps:,.0f}", BATCH, batch)
    return task.changed({"batch": batch})


def _fitting(task: Task, seconds: float) -> tuple[float, int]:
    """How many steps take so long, by some that are timed, and in how many parts they were taken for lack of memory."""
    state = (run := set_up(task)).state
    end, times = time.monotonic() + min(MEASURED, MEASURED_PART * seconds), list[float]()
    while len(times) < 3 or time.monotonic() < end:
        begun = time.monotonic()
        train_step(run)
        state.sums.skipped_steps.item()  # waits for the device
        state.step += 1
        times.append(time.monotonic() - begun)
        if len(times) > 1 and sum(times) > seconds / 4:
            break
    # The first one also prepares the machine.
    return max(seconds, 0.0) / max(statistics.median(times[1:]), 1e-9), state.micro_batches


def reserve(run: Run, validation: float) -> float:
    """Seconds of the budget to keep: the last validation and checkpoint, the sampler, the model and its pictures.

    What cannot be known is rehearsed once, when the codes are nearly what they will be: a model is finished with a
    sampler that is fitted to one in `REHEARSED_PART` of the pictures, and thrown away.

    Arguments:
        run: A run in which a validation just ended.
        validation: How many seconds it took.
    """
    if run.state.plan.t < REHEARSED_FROM:
        pictures = min(SAMPLER_PICTURES, len(run.task.train_rows)) / max(len(run.task.validation_rows), 1)
        return validation * (1 + pictures / 2)
    if run.tools.rehearsed is None:
        run.tools.rehearsed = _rehearse(run)
    return validation + run.tools.rehearsed


def _rehearse(run: Run) -> float:
    """Seconds that all but the validation will take after the last step."""
    seconds = 0.0
    with contextlib.ExitStack() as stack:
        folder = None
        if run.task.out:
            curves.curves(run.state.records)  # the first time is spent on imports
            seconds = _timed(lambda: save(run))
            folder = Path(stack.enter_context(TemporaryDirectory(".part", ".rehearsal-", run.task.out)))
        begun = time.monotonic()
        model = finish(run, run.state.averaged, folder, 1 / REHEARSED_PART)
        fitting: float = model.training["sampler_seconds"]
        return seconds + time.monotonic() - begun + (REHEARSED_PART - 1) * fitting


def _timed(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun
