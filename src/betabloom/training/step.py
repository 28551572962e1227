"""One step of training."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch

from betabloom.training.accumulate import accumulate
from betabloom.training.batches import batch
from betabloom.training.cuda_graph import GraphedStep
from betabloom.training.recovery import buffers, guarded_step
from betabloom.training.state import Run, learning_rate

if TYPE_CHECKING:
    from torch import Tensor

    from betabloom.vae.vae import VAE

__all__ = []


def train_step(run: Run) -> None:
    """One step of gradient descent on the objective, and one of the running average of the weights."""
    with run.team.at_work() if run.team else nullcontext():
        _step(run)


def _step(run: Run) -> None:
    config = run.config.train
    for group in run.optimiser.param_groups:
        group["lr"] = learning_rate(run)
    run.vae.train()
    if run.graphed_step is None and run.device.type == "cuda":
        run.graphed_step = GraphedStep(run, _learn)
    x, noise = batch(run)
    outputs = run.graphed_step(x, noise) if run.graphed_step else _learn(run, x, noise)
    if config.ema:
        _average(run.averaged, run.vae, min(config.ema, (1 + run.step) / (10 + run.step)))
    run.sums.add(*outputs)


def _learn(run: Run, x: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
    """Change the weights once; whether the step was good, loss, distortion, rate, gradient norm and floor (if any)."""
    before = buffers(run)
    loss, distortion, rate, *floor = accumulate(run, x, noise)
    norm = _clipped(run)
    good = guarded_step(run, before, loss, norm)
    run.optimiser.zero_grad(set_to_none=True)
    return good, loss, distortion, rate, norm, *floor


def _clipped(run: Run) -> Tensor:
    """The norm of the gradient, a scalar; the gradient is shortened if that is longer than the settings allow."""
    weights = [weight for weight in run.vae.parameters() if weight.grad is not None]
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    large = [layer for layer in run.optimiser.large if layer.factors]
    norms = [*torch._foreach_norm(gradients), *(layer.gradient_norm() for layer in large)]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    if run.config.train.clip:
        limit = run.config.train.clip * math.prod(run.config.shape)
        torch.nn.utils.clip_grads_with_norm_(weights, limit, norm)
        for layer in large:
            layer.scale_gradient((limit / (norm + 1e-6)).clamp(max=1))
    return norm


@torch.no_grad()
def _average(averaged: VAE, vae: VAE, decay: float) -> None:
    """averaged ← decay · averaged + (1 − decay) · vae, for weights and statistics."""
    mine = [*averaged.parameters(), *averaged.buffers()]
    theirs = [*vae.parameters(), *vae.buffers()]
    pairs = [(a, b) for a, b in zip(mine, theirs, strict=True) if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in pairs], [b for _, b in pairs], 1 - decay)
