"""When the loss is not a finite number: leave the step out, go back, take smaller steps, and give up in the end.

What the run goes back to is the running average of its weights: it is finite, it lags behind by some steps, and every
checkpoint has it, so that a run that is resumed goes back to exactly what the uninterrupted one goes back to. Without
averaging (`ema` 0) the run goes back to the weights from before the step.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from betabloom.run import SMALLER, fail

if TYPE_CHECKING:
    from torch import Tensor

    from betabloom.run import Run

__all__ = ["GIVE_UP", "buffers", "guarded_step", "recover"]

log = logging.getLogger(__name__)

GIVE_UP = 3  # setbacks in a run; one more ends it
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
    left_out = int(run.sums.left_out.item())
    if not left_out:
        return
    if run.setbacks >= GIVE_UP:
        fail(run)
    run.setbacks += 1
    run.sums.count -= left_out
    run.sums.left_out.zero_()
    _go_back(run)
    log.warning(
        "step %d: the loss was not a finite number: back to the averaged weights, with a step %d times smaller",
        run.step,
        round(SMALLER**-run.setbacks),
    )


@torch.no_grad()
def _go_back(run: Run) -> None:
    """Put the averaged weights in the place of the weights, and forget Adam's moments."""
    for mine, average in zip(run.vae.state_dict().values(), run.averaged.state_dict().values(), strict=True):
        mine.copy_(average)
    for moments in run.optimiser.state.values():
        for value in moments.values():
            value.zero_()
