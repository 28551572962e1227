"""A batch that does not fit in memory, in parts one after the other, whose gradients are added up."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from betabloom.errors import BetabloomError
from betabloom.training.step import gradients

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from betabloom.training.state import Executor, Run

    Part = Callable[[Run, Tensor, Tensor, float], tuple[Tensor, ...]]

__all__ = ["in_parts", "is_out_of_memory", "micro_batched"]

log = logging.getLogger(__name__)


def micro_batched(whole: Executor) -> Executor:
    """Wrap an executor of whole batches: where memory is too small for it, it gets smaller and smaller parts.

    The mean over a batch of B pictures is the sum over its parts of B_part / B times theirs, so parts change a step
    by no more than rounding, but for terms that compare the pictures of a batch with one another.

    Arguments:
        whole: Works through a batch at once.

    Returns:
        An executor that doubles the run's `micro_batches` for as long as memory is too small. It raises
        `BetabloomError` when not even one picture at a time fits.
    """

    def work(run: Run, x: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        while True:
            try:
                return whole(run, x, noise) if run.state.micro_batches == 1 else in_parts(run, x, noise, gradients)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            _halve(run, len(x))

    return work


def in_parts(run: Run, x: Tensor, noise: Tensor, work: Part) -> tuple[Tensor, ...]:
    """Add up the gradients and the values of the run's micro-batches, of which `work` takes one after the other."""
    sums: tuple[Tensor, ...] = ()
    size = -(-len(x) // run.state.micro_batches)
    for part, part_noise in zip(torch.split(x, size), torch.split(noise, size), strict=True):
        values = work(run, part, part_noise, len(part) / len(x))
        sums = tuple(a + b for a, b in zip(sums, values, strict=True)) if sums else values
    return sums


def _halve(run: Run, images: int) -> None:
    """Start the step again with parts of half the size."""
    run.state.optimiser.zero_grad(set_to_none=True)
    if run.task.device.type == "cuda":
        torch.cuda.empty_cache()
    if run.state.micro_batches >= images:
        raise BetabloomError(
            "This network does not fit in memory, not even with one picture at a time. Train a smaller one: "
            "--size 64, or --set widths=16,32,64,128"
        )
    run.state.micro_batches = min(2 * run.state.micro_batches, images)
    log.warning("A batch of %d does not fit in memory. It is split into %d parts.", images, run.state.micro_batches)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or Python says that memory is used up."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("can't allocate memory", "not enough memory", "out of memory")
    )
