r"""How a batch is worked through, from pictures to gradients: at once, side by side on several cores, or in parts.

**Side by side**, since the objective is one of the whole batch (σ* of `OptimalGaussian` and total correlation compare
its pictures): with f the networks of one part i,

    μ_i, log σ²_i, η_i = f(x_i, ε_i; w),      L = L(all of them),      ∂L/∂w = Σ_i (∂f_i/∂w)ᵀ ∂L/∂(μ_i, log σ²_i, η_i).

The step is that of the whole batch up to rounding, and the same every time for the same number of cores.

**In parts**, one after the other, where the batch does not fit in memory: their gradients are added up.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from betabloom.errors import BetabloomError

if TYPE_CHECKING:
    from torch import Tensor

    from betabloom.training.state import Run
    from betabloom.training.threads import ThreadTeam

__all__ = ["accumulate", "is_out_of_memory"]

log = logging.getLogger(__name__)


def accumulate(run: Run, x: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
    """Add the gradient of the objective to the weights' gradients, in as many parts as memory needs.

    The mean over a batch of B pictures is the sum over its parts of B_part / B times theirs, so parts change a step
    by no more than rounding, but for terms that compare the pictures of a batch with one another.

    Arguments:
        run: Its `parts` is doubled for as long as memory is too small, and stays so.
        x: Pictures (B, C, H, W) in [0, 1].
        noise: Standard normal (B, l).

    Returns:
        Loss, distortion and rate, and the distortion's floor where the likelihood has one: means over the batch.

    Raises:
        BetabloomError: Not even one picture at a time fits.
    """
    while True:
        try:
            if run.team and run.micro_batches == 1:
                return _side_by_side(run, run.team, x, noise)
            return _in_parts(run, x, noise)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        _halve(run, len(x))


def _in_parts(run: Run, x: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
    sums: list[Tensor] = []
    size = -(-len(x) // run.micro_batches)
    for part, part_noise in zip(torch.split(x, size), torch.split(noise, size), strict=True):
        with torch.autocast(run.device.type, run.dtype, enabled=run.dtype != torch.float32):
            terms = run.vae(part, part_noise)
        loss = run.objective(terms, run.plan.t)
        share = len(part) / len(x)
        (loss if share == 1 else share * loss).backward()  # type: ignore[no-untyped-call]
        floor = () if terms.floor is None else (terms.floor.mean(),)
        values = [v.detach() * share for v in (loss, terms.distortion.mean(), terms.rate.mean(), *floor)]
        sums = [a + b for a, b in zip(sums, values, strict=True)] if sums else values
    return tuple(sums)


def _side_by_side(run: Run, team: ThreadTeam, x: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
    """The same as `_in_parts` with one part."""
    size = -(-len(x) // team.size)
    weights = [weight for weight in run.vae.parameters() if weight.requires_grad]

    def forward(part: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        with torch.autocast("cpu", run.dtype, enabled=run.dtype != torch.float32):
            return run.vae.networks(*part)

    def backward(part: tuple[list[Tensor], list[Tensor]]) -> tuple[Tensor | None, ...]:
        outputs, slopes = part
        return torch.autograd.grad(outputs, weights, slopes, allow_unused=True)

    made = team.map(forward, list(zip(torch.split(x, size), torch.split(noise, size), strict=True)))
    whole = [torch.cat(parts).detach().requires_grad_() for parts in zip(*made, strict=True)]
    with torch.autocast("cpu", run.dtype, enabled=run.dtype != torch.float32):
        terms = run.vae.terms(x, noise, *whole)
    loss = run.objective(terms, run.plan.t)
    loss.backward()  # type: ignore[no-untyped-call]
    told = [i for i, each in enumerate(whole) if each.grad is not None]  # all, but for the variance of a point
    slopes = zip(*(torch.split(_gradient(whole[i]), size) for i in told), strict=True)
    found = team.map(backward, [([part[i] for i in told], list(own)) for part, own in zip(made, slopes, strict=True)])
    for weight, *parts in zip(weights, *found, strict=True):
        for part in parts:
            if part is not None:
                _add(weight, part)
    floor = () if terms.floor is None else (terms.floor.mean(),)
    return loss.detach(), terms.distortion.mean().detach(), terms.rate.mean().detach(), *floor


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


def _halve(run: Run, images: int) -> None:
    """Start the step again with parts of half the size."""
    run.optimiser.zero_grad(set_to_none=True)
    if run.device.type == "cuda":
        torch.cuda.empty_cache()
    if run.micro_batches >= images:
        raise BetabloomError(
            "This network does not fit in memory, not even with one picture at a time. Train a smaller one: "
            "--size 64, or --set widths=16,32,64,128"
        )
    run.micro_batches = min(2 * run.micro_batches, images)
    log.warning("a batch of %d does not fit in memory: it is worked through in %d parts", images, run.micro_batches)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or Python says that memory is used up."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("can't allocate memory", "not enough memory", "out of memory")
    )
