"""Steps that do not fit in memory: the batch is worked through in parts, and their gradients are added up."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from betabloom.crew import side_by_side
from betabloom.errors import BetabloomError

if TYPE_CHECKING:
    from torch import Tensor

    from betabloom.run import Run

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
            if run.crew and run.parts == 1:
                return side_by_side(run, run.crew, x, noise)
            return _in_parts(run, x, noise)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        _halve(run, len(x))


def _in_parts(run: Run, x: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
    sums: list[Tensor] = []
    size = -(-len(x) // run.parts)
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


def _halve(run: Run, images: int) -> None:
    """Start the step again with parts of half the size."""
    run.optimiser.zero_grad(set_to_none=True)
    if run.device.type == "cuda":
        torch.cuda.empty_cache()
    if run.parts >= images:
        raise BetabloomError(
            "This network does not fit in memory, not even with one picture at a time. Train a smaller one: "
            "--size 64, or --set widths=16,32,64,128"
        )
    run.parts = min(2 * run.parts, images)
    log.warning("a batch of %d does not fit in memory: it is worked through in %d parts", images, run.parts)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or Python says that memory is used up."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("can't allocate memory", "not enough memory", "out of memory")
    )
