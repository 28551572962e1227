"""When the loss is not a finite number: leave the step out, go back, take smaller steps, and give up in the end.

What the run goes back to is the running average of its weights: it is finite, it lags behind by some steps, and every
checkpoint has it, so that a run that is resumed goes back to exactly what the uninterrupted one goes back to. Without
averaging (`ema` 0) the run goes back to the weights from before the step.

Validations are of the averaged weights. Where their loss is not finite, while that of the weights is, they are what is
lost: the average starts anew from the weights.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from betabloom.training.checkup import checkup
from betabloom.training.state import SMALLER, fail

if TYPE_CHECKING:
    from torch import Tensor

    from betabloom.training.state import Run
    from betabloom.vae.vae import VAE

__all__ = ["GIVE_UP", "average_anew", "buffers", "guarded_step", "recover"]

log = logging.getLogger(__name__)

GIVE_UP = 3  # rollbacks in a run; one more ends it
LOOK_EVERY = 50  # steps between looks on an accelerator, where a look waits for the device; on a CPU it is free


def buffers(run: Run) -> list[Tensor]:
    """Copy the statistics that a forward pass changes, to put them back if the pass was no good."""
    return [buffer.clone() for buffer in run.vae.buffers()]


@torch.no_grad()
def guarded_step(run: Run, before: list[Tensor], loss: Tensor, norm: Tensor) -> Tensor:
    """Take a step of the optimiser if loss and gradient norm are finite; else leave all as it was, and note it.

    The fused kernels leave the step out on the device (`found_inf`, as for gradient scaling), so that nothing waits.

    Returns:
        Whether the step was taken, a scalar on the device.
    """
    good = loss.isfinite() & norm.isfinite()
    if run.optimiser.defaults["fused"]:
        run.optimiser.found_inf = (~good).float()  # type: ignore[attr-defined]
        run.optimiser.step()
    elif good:
        run.optimiser.step()
    for buffer, old in zip(run.vae.buffers(), before, strict=True):
        buffer.copy_(torch.where(good, buffer, old))
    return good


def recover(run: Run) -> None:
    """Go back if steps were left out since the last look.

    Raises:
        BetabloomError: It has happened too often.
    """
    if run.device.type != "cpu" and run.step > 1 and run.step % LOOK_EVERY and not run.ended:
        return
    skipped_steps = int(run.sums.skipped_steps.item())
    if not skipped_steps:
        return
    run.sums.count -= skipped_steps
    run.sums.skipped_steps.zero_()
    _set_back(run, run.averaged, run.vae, "the loss was not a finite number: back to the averaged weights")


def average_anew(run: Run) -> None:
    """Start the average anew from the weights: those that were validated have a loss that is not finite.

    Raises:
        BetabloomError: It has happened too often.
    """
    _set_back(run, run.vae, run.averaged, "the loss of held-out pictures was not a finite number: averaging anew")


@torch.no_grad()
def _set_back(run: Run, good: VAE, bad: VAE, what: str) -> None:
    """Put the good weights in the place of the bad, forget the optimiser's moments, and take smaller steps."""
    if run.rollbacks >= GIVE_UP:
        fail(run)
    run.rollbacks += 1
    for mine, theirs in zip(bad.state_dict().values(), good.state_dict().values(), strict=True):
        mine.copy_(theirs)
    for moments in run.optimiser.state.values():
        for value in moments.values():
            value.zero_()
    log.warning("step %d: %s, with a step %d times smaller", run.step, what, round(SMALLER**-run.rollbacks))
    checkup(run)
