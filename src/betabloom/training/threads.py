r"""Several cores at one training step: threads that each work through a part of the batch.

Threads within operators, which torch has, wait for one another hundreds of times a step, and the maps of small networks
are too small to be shared (docs/log.md). Parts of a batch meet twice instead, since the objective is one of the whole
batch (σ* of `OptimalGaussian` and total correlation compare its pictures): with f the networks of one part i,

    μ_i, log σ²_i, η_i = f(x_i, ε_i; w),      L = L(all of them),      ∂L/∂w = Σ_i (∂f_i/∂w)ᵀ ∂L/∂(μ_i, log σ²_i, η_i).

The step is that of the whole batch up to rounding, and the same every time for the same number of cores.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from betabloom.networks.build import count_parameters
from betabloom.networks.large_linear import large_layers
from betabloom.training.step import gradients

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from betabloom.training.state import Executor, Run
    from betabloom.vae.vae import VAE

__all__ = ["ThreadTeam", "side_by_side", "thread_team"]

SMALLEST_PART = 8  # pictures; with fewer, what operators cost however many there are is most of it
LARGEST = 16_000_000  # weights; gradients of more take longer to add up, and more memory, than threads save

T = TypeVar("T")
R = TypeVar("R")


class ThreadTeam:
    """Threads that work at the same time, each with an equal share of torch's threads for its operators.

    Arguments:
        size: How many work, the caller among them.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.each = max(1, torch.get_num_threads() // size)
        self._others = ThreadPoolExecutor(size - 1, "team", torch.set_num_threads, (self.each,))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """The caller has a share of the threads too, and all of them again afterwards."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.each)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def map(self, work: Callable[[T], R], parts: Sequence[T]) -> list[R]:
        """`work` of each of `size` parts, the first by the caller."""
        others = [self._others.submit(work, part) for part in parts[1:]]
        try:
            first = work(parts[0])
        finally:
            for other in others:
                other.exception()  # nobody works on when this returns or raises
        return [first, *(other.result() for other in others)]

    def share(self, work: Callable[[T], None], items: Sequence[T]) -> None:
        """`work` of each of the items; whoever is free takes the next."""
        left = iter(items)
        lock = Lock()

        def take(_: int) -> None:
            while True:
                with lock:
                    item = next(left, None)
                if item is None:
                    return
                work(item)

        self.map(take, range(self.size))


def thread_team(vae: VAE, batch: int, device: torch.device) -> ThreadTeam | None:
    """Make the team that trains a model with batches of so many pictures; None where it would not pay, or not be exact.

    That is on accelerators and on one core, for very large networks, where a layer never makes its gradient as a whole,
    and where batch normalisation or dropout make the parts of a batch differ from the whole.
    """
    size = min(torch.get_num_threads(), batch // SMALLEST_PART)
    joined = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)
    if device.type != "cpu" or size < 2 or count_parameters(vae) > LARGEST or large_layers(vae):
        return None
    return None if any(isinstance(module, joined) for module in vae.modules()) else ThreadTeam(size)


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
