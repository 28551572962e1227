"""Threads that work at one training step: what each does is in `betabloom.training.side_by_side`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from betabloom.networks.build import count_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from betabloom.vae.vae import VAE

__all__ = ["ThreadTeam", "thread_team"]

SMALLEST_PART = 8  # pictures; with fewer, what operators cost however many there are is most of it
# Weights; gradients of more take longer to add up, and more memory, than threads save. A layer that leaves its gradient
# as factors (`betabloom.networks.large_linear`) has more by itself, so that no team meets one (tests/test_crew.py).
LARGEST = 16_000_000

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
    if device.type != "cpu" or size < 2 or count_parameters(vae) > LARGEST:
        return None
    return None if any(isinstance(module, joined) for module in vae.modules()) else ThreadTeam(size)
