r"""Several cores at one training step: threads that each work through a part of the batch.

Threads within operators, which torch has, wait for one another hundreds of times a step, and the maps of small networks
are too small to be shared (docs/log.md). Parts of a batch meet twice instead, since the objective is one of the whole
batch (σ* of `OptimalGaussian` and total correlation compare its pictures): with f the networks of one part i,

    μ_i, log σ²_i, η_i = f(x_i, ε_i; w),      L = L(all of them),      ∂L/∂w = Σ_i (∂f_i/∂w)ᵀ ∂L/∂(μ_i, log σ²_i, η_i).

The step is that of the whole batch up to rounding, and the same every time for the same number of cores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from betabloom.training.step import gradients

if TYPE_CHECKING:
    from torch import Tensor

    from betabloom.training.state import Executor, Run
    from betabloom.training.threads import ThreadTeam

__all__ = ["side_by_side"]


def side_by_side(team: ThreadTeam) -> Executor:
    """An executor that has every member of a team work through an equal part of the batch."""

    def work(run: Run, x: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        size = -(-len(x) // team.size)
        vae, dtype = run.state.vae, run.task.dtype
        weights = [weight for weight in vae.parameters() if weight.requires_grad]

        def forward(part: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                return vae.networks(*part)

        def backward(part: tuple[list[Tensor], list[Tensor]]) -> tuple[Tensor | None, ...]:
            outputs, slopes = part
            return torch.autograd.grad(outputs, weights, slopes, allow_unused=True)

        made = team.map(forward, list(zip(torch.split(x, size), torch.split(noise, size), strict=True)))
        whole = [torch.cat(parts).detach().requires_grad_() for parts in zip(*made, strict=True)]
        values = gradients(run, x, noise, outputs=whole)
        reached = [i for i, each in enumerate(whole) if each.grad is not None]  # all, but for the variance of a point
        slopes = zip(*(torch.split(_gradient(whole[i]), size) for i in reached), strict=True)
        parts = [([part[i] for i in reached], list(own)) for part, own in zip(made, slopes, strict=True)]
        for weight, *found in zip(weights, *team.map(backward, parts), strict=True):
            for gradient in found:
                if gradient is not None:
                    _add(weight, gradient)
        return values

    return work


def _gradient(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None  # noqa: S101  (for the type checker)
    return tensor.grad


def _add(weight: Tensor, gradient: Tensor) -> None:
    """Add to a weight's gradient, laid out in memory as the weight is: fused kernels rely on it."""
    if weight.grad is None:
        alike = gradient.stride() == weight.stride()
        weight.grad = gradient if alike else torch.empty_like(weight).copy_(gradient)
    else:
        weight.grad += gradient
