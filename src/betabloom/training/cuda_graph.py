"""The steps of a training on a GPU, recorded once and then replayed: a CUDA graph.

A step of a small network is a thousand kernels of some microseconds each, and starting them one by one from Python
takes longer than running them. Recorded as one graph they are started at once
(https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs/). What differs from step to step (pictures, noise,
learning rate, the values of schedules) lies in memory that is filled before a replay; the arithmetic is that of the
step itself. If recording fails, the log says so, and steps are taken as ever.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import torch

from betabloom.training.state import learning_rate
from betabloom.vae.objective import Capacity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from betabloom.training.state import Run
    from betabloom.vae.schedule import Schedule

    Learn = Callable[[Run, Tensor, Tensor], tuple[Tensor, ...]]

__all__ = ["GraphedStep", "from_memory"]

log = logging.getLogger(__name__)

WARM_UP = 3  # steps before one is recorded: kernels are chosen in them, and what optimisers remember is made


class GraphedStep:
    """What takes the steps of a run on a GPU.

    Arguments:
        run: The run.
        learn: (run, x, noise) → scalars of the step, on the device: all of a step that is to be recorded. It changes
            weights in place and looks at no number on the host.
    """

    def __init__(self, run: Run, learn: Learn) -> None:
        self.run, self.learn = run, learn
        self.taken = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: tuple[Tensor, ...] = ()
        self.outputs: tuple[Tensor, ...] = ()
        self.refresh: Callable[[], None] = lambda: None
        self.stream = torch.cuda.Stream(run.device)  # type: ignore[no-untyped-call]

    def __call__(self, x: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        """Take one step; what it returns is good until the next."""
        if self.taken == WARM_UP:
            self._record(x, noise)
        self.taken += 1
        if self.graph is None:
            return self._plainly(x, noise)
        for target, source in zip(self.inputs, (x, noise), strict=True):
            target.copy_(source)
        self.refresh()
        self.graph.replay()
        return self.outputs

    def _plainly(self, x: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        """A step that is not replayed; those before the recording on the stream that it will take place on."""
        if self.taken > WARM_UP:  # it failed
            return self.learn(self.run, x, noise)
        self.stream.wait_stream(torch.cuda.current_stream(self.run.device))
        with torch.cuda.stream(self.stream):
            outputs = self.learn(self.run, x, noise)
        torch.cuda.current_stream(self.run.device).wait_stream(self.stream)
        return outputs

    def _record(self, x: Tensor, noise: Tensor) -> None:
        self.inputs = tuple(each.clone(memory_format=torch.preserve_format) for each in (x, noise))
        graph, parts, why = torch.cuda.CUDAGraph(), self.run.micro_batches, "memory is too small"
        try:
            here = torch.cuda.stream(torch.cuda.current_stream(self.run.device))  # to be back on, whatever happens
            with here, from_memory(self.run) as self.refresh, torch.cuda.graph(graph, stream=self.stream):
                self.outputs = self.learn(self.run, *self.inputs)
            if self.run.micro_batches == parts:
                self.graph = graph
                return
        except RuntimeError as error:
            why = str(error).splitlines()[0]
        log.warning("steps are taken slowly, since they could not be recorded: %s", why)
        self.run.micro_batches = parts
        self.run.optimiser.zero_grad(set_to_none=True)


@contextlib.contextmanager
def from_memory(run: Run) -> Iterator[Callable[[], None]]:
    """Within, a step of the run finds the learning rate and the values of schedules in scalars on its device.

    Yields:
        A function that writes into them what holds for the step that comes.
    """
    objective, groups = run.objective, run.optimiser.param_groups
    scalars: list[tuple[Tensor, Callable[[], float]]] = []

    def scalar(value: Callable[[], float]) -> Any:
        scalars.append((torch.zeros((), device=run.device), value))
        return scalars[-1][0]

    def kept(schedule: Schedule) -> Schedule:
        now = scalar(lambda: schedule(run.plan.t))
        return lambda _t: now

    regulariser = objective.regulariser
    if isinstance(regulariser, Capacity):
        regulariser = Capacity(kept(regulariser.capacity))
    rates, rate_now = [group["lr"] for group in groups], scalar(lambda: learning_rate(run))
    for group in groups:
        group["lr"] = rate_now
    run.objective = dataclasses.replace(objective, beta=kept(objective.beta), regulariser=regulariser)

    def refresh() -> None:
        for memory, value in scalars:
            memory.fill_(value())

    try:
        yield refresh
    finally:
        run.objective = objective
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
