"""A time budget: what to do with it on this machine, and how much of it to keep for what comes after the last step."""

from __future__ import annotations

import dataclasses
import logging
import math
import statistics
import time
from typing import TYPE_CHECKING

from betabloom.data.store.split import evenly_spaced
from betabloom.imaging import curves
from betabloom.networks.spec import FAMILIES
from betabloom.system.hardware import choose_device
from betabloom.training.finish import SAMPLER_PICTURES, fit_sampler
from betabloom.training.resume import save
from betabloom.training.setup import BATCH, usual_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from betabloom.config import Config
    from betabloom.training.state import Run

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
            "preparing took %.0f of the %.0f s: training takes %.0f more all the same", spent, budget, budget / 2
        )
    return min(spent, budget / 2) if budget else spent


def choose(config: Config, set_up: Callable[[Config], Run], step: Callable[[Run], None], seconds: float) -> Config:
    """Choose what the settings leave open, the widths and the pictures in a step, by how fast this machine is.

    Steps are timed in runs that are thrown away after, but with CUDA, which has time for the whole. Only families that
    `scale` get other widths: the networks of publications stay what they are.

    Arguments:
        config: The settings.
        set_up: Makes an untrained run.
        step: Takes one training step of a run.
        seconds: What is left of the budget.
    """
    family, asked = FAMILIES[config.model.family], config.train.batch
    device = choose_device(config.train.device)
    if device.type == "cuda":  # it takes fewer pictures or channels hardly less time
        return config.replace({"batch": asked or usual_batch(device)})
    config = config.replace({"batch": asked or BATCH})
    wide = family.scales and not config.model.widths
    if asked and not wide:
        return config
    steps, parts = _fitting(set_up(config), step, seconds)
    if 0 < config.train.steps <= steps and parts == 1:
        return config  # there is time enough for the steps that were asked for
    if wide:
        halved = steps < HALF_BELOW
        widths = tuple(max(width // 2, 1) for width in family.widths) if halved else family.widths
        log.info("about %s steps fit in the budget: widths %s", f"{steps:,.0f}", widths)
        config = config.replace({"widths": widths})
        if halved and not asked:
            steps, parts = _fitting(set_up(config), step, seconds)
    if asked:
        return config
    batch = next(batch for least, batch in reversed(BATCHES) if steps >= least)
    if parts > 1:
        batch = max(SMALLEST_BATCH, min(batch, BATCH // parts))
    log.info("about %s steps of %d pictures fit in the budget: batches of %d", f"{steps:,.0f}", BATCH, batch)
    return config.replace({"batch": batch})


def _fitting(run: Run, step: Callable[[Run], None], seconds: float) -> tuple[float, int]:
    """How many steps take so long, by some that are timed, and in how many parts they were taken for lack of memory."""
    end, times = time.monotonic() + min(MEASURED, MEASURED_PART * seconds), list[float]()
    while len(times) < 3 or time.monotonic() < end:
        begun = time.monotonic()
        step(run)
        run.sums.skipped_steps.item()  # waits for the device
        run.step += 1
        times.append(time.monotonic() - begun)
        if len(times) > 1 and sum(times) > seconds / 4:
            break
    # The first one also prepares the machine.
    return seconds / max(statistics.median(times[1:]), 1e-9), run.micro_batches


def reserve(run: Run, validation: float) -> float:
    """Seconds of the budget to keep: the last validation and checkpoint, the sampler, the model and its pictures.

    What cannot be known is rehearsed once, when the codes are nearly what they will be: the sampler is fitted to one in
    `REHEARSED_PART` of the pictures.

    Arguments:
        run: A run in which a validation just ended.
        validation: How many seconds it took.
    """
    if run.plan.t < REHEARSED_FROM:
        pictures = min(SAMPLER_PICTURES, len(run.train_rows)) / max(len(run.validation_rows), 1)
        return validation * (1 + pictures / 2)
    if run.rehearsed is None:
        run.rehearsed = _rehearse(run)
    return validation + run.rehearsed


def _rehearse(run: Run) -> float:
    """Seconds that all but the validation will take after the last step."""
    learned = min(SAMPLER_PICTURES, len(run.train_rows)) // REHEARSED_PART
    held_out = len(run.validation_rows) // REHEARSED_PART
    smaller = dataclasses.replace(
        run,
        train_rows=evenly_spaced(run.train_rows, max(learned, 2)),
        validation_rows=evenly_spaced(run.validation_rows, max(held_out, 1)),
        config=run.config.replace({"flow": math.ceil(run.config.train.flow / REHEARSED_PART)}),
    )
    seconds = REHEARSED_PART * _timed(lambda: fit_sampler(smaller, run.averaged))
    if run.out:
        seconds += 1.5 * _timed(lambda: save(run))  # a checkpoint, and a model, which has a quarter of its tensors
        curves.curves(run.records)  # the first time is spent on imports
        seconds += _timed(lambda: curves.curves(run.records))
    return seconds


def _timed(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun
