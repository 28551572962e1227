"""One step of training: batch → loss → gradient → clip → guarded optimiser step → running average.

`gradients` goes from a batch to the gradients of the weights. Executors carry it out for a whole batch; they wrap it
and have the same arguments: threads (`betabloom.training.side_by_side`) and parts of a batch one after the other
(`betabloom.training.accumulate`). On a GPU `update`, which has all that changes weights, is recorded once and replayed
(`betabloom.training.cuda_graph`).
"""

from __future__ import annotations

import functools
import math
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch

from betabloom.networks.averaging import move_average
from betabloom.training.batches import batch
from betabloom.training.state import learning_rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from betabloom.config import Config
    from betabloom.training.state import Run
    from betabloom.vae.vae import VAE

__all__ = ["gradients", "train_step", "update"]


def train_step(run: Run) -> None:
    """One step of gradient descent on the objective, and one of the running average of the weights."""
    state, tools, decay = run.state, run.tools, run.task.config.train.ema
    with tools.team.at_work() if tools.team else nullcontext():
        for group in state.optimiser.param_groups:
            group["lr"] = learning_rate(run)
        state.vae.train()
        outcome = (tools.graphed_step or functools.partial(update, run))(*batch(run))
        if decay:
            move_average(_numbers(state.averaged), _numbers(state.vae), decay, state.step)
        state.sums.add(*outcome)


def update(run: Run, x: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
    """Change the weights once.

    Arguments:
        run: The run.
        x: Pictures (B, C, H, W) in [0, 1].
        noise: Standard normal (B, l).

    Returns:
        Whether the step was taken, loss, distortion, rate, gradient norm, and the distortion's floor if there is one:
        scalars on the device.
    """
    before = [buffer.clone() for buffer in run.state.vae.buffers()]
    loss, distortion, rate, *floor = run.tools.gradients(run, x, noise)
    norm = run.state.optimiser.clip(run.state.vae.parameters(), _longest(run.task.config))
    taken = _guarded_step(run, before, loss, norm)
    run.state.optimiser.zero_grad(set_to_none=True)
    return taken, loss, distortion, rate, norm, *floor


def gradients(
    run: Run, x: Tensor, noise: Tensor, share: float = 1.0, outputs: Sequence[Tensor] | None = None
) -> tuple[Tensor, ...]:
    """Add the gradients of the objective to those of the weights.

    Arguments:
        run: The run.
        x: Pictures (B, C, H, W) in [0, 1].
        noise: Standard normal (B, l).
        share: What part of a batch these pictures are; loss and gradients are multiplied by it.
        outputs: What `VAE.networks` made of the pictures, if that is done; gradients then end there.

    Returns:
        Loss, distortion and rate, and the distortion's floor if the likelihood has one: `share` times the means over
        the pictures, scalars on the device.
    """
    task, vae = run.task, run.state.vae
    with torch.autocast(task.device.type, task.dtype, enabled=task.dtype != torch.float32):
        terms = vae(x, noise) if outputs is None else vae.terms(x, noise, *outputs)
    loss = task.objective(terms, run.state.plan.t)
    (loss if share == 1 else share * loss).backward()  # type: ignore[no-untyped-call]
    floor = () if terms.floor is None else (terms.floor.mean(),)
    return tuple(value.detach() * share for value in (loss, terms.distortion.mean(), terms.rate.mean(), *floor))


def _longest(config: Config) -> float:
    """The longest gradient that the settings allow, for losses that are sums over numbers; 0 for any."""
    return config.train.clip * math.prod(config.shape)


@torch.no_grad()
def _guarded_step(run: Run, before: Sequence[Tensor], loss: Tensor, norm: Tensor) -> Tensor:
    """Take a step of the optimiser if loss and gradient norm are finite; else leave weights and buffers as they were.

    The fused kernels skip the step on the device (`found_inf`, as for gradient scaling), so that nothing waits.
    """
    optimiser = run.state.optimiser
    good = loss.isfinite() & norm.isfinite()
    if optimiser.defaults["fused"]:
        optimiser.found_inf = (~good).float()  # type: ignore[attr-defined]
        optimiser.step()
    elif good:
        optimiser.step()
    for buffer, old in zip(run.state.vae.buffers(), before, strict=True):
        buffer.copy_(torch.where(good, buffer, old))
    return good


def _numbers(vae: VAE) -> list[Tensor]:
    """Weights and statistics."""
    return [*vae.parameters(), *vae.buffers()]
