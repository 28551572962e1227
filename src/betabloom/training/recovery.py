"""When the loss is not a finite number: skip the step, go back, take smaller steps, and finally give up.

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
from betabloom.training.learning_rate import SMALLER
from betabloom.training.state import fail

if TYPE_CHECKING:
    from betabloom.training.state import Run
    from betabloom.vae.vae import VAE

__all__ = ["GIVE_UP", "average_anew", "recover"]

log = logging.getLogger(__name__)

GIVE_UP = 3  # rollbacks in a run; one more ends it
LOOK_EVERY = 50  # steps between looks on an accelerator, where a look waits for the device; on a CPU it is free


def recover(run: Run) -> None:
    """Go back if steps were left out since the last look.

    Raises:
        BetabloomError: It has happened too often.
    """
    if run.task.device.type != "cpu" and run.state.step > 1 and run.state.step % LOOK_EVERY and not run.state.ended:
        return
    skipped_steps = int(run.state.sums.skipped_steps.item())
    if not skipped_steps:
        return
    run.state.sums.count -= skipped_steps
    run.state.sums.skipped_steps.zero_()
    _set_back(
        run, run.state.averaged, run.state.vae, "the loss was not a finite number: going back to the averaged weights"
    )


def average_anew(run: Run) -> None:
    """Start the average anew from the weights: those that were validated have a loss that is not finite.

    Raises:
        BetabloomError: It has happened too often.
    """
    _set_back(
        run,
        run.state.vae,
        run.state.averaged,
        "the loss of held-out pictures was not a finite number: restarting the average",
    )


@torch.no_grad()
def _set_back(run: Run, good: VAE, bad: VAE, what: str) -> None:
    """Put the good weights in the place of the bad, forget the optimiser's moments, and take smaller steps."""
    if run.state.rollbacks >= GIVE_UP:
        fail(run)
    run.state.rollbacks += 1
    for mine, theirs in zip(bad.state_dict().values(), good.state_dict().values(), strict=True):
        mine.copy_(theirs)
    for moments in run.state.optimiser.state.values():
        for value in moments.values():
            value.zero_()
    log.warning("step %d: %s, with a step %d times smaller", run.state.step, what, round(SMALLER**-run.state.rollbacks))
    checkup(run)
