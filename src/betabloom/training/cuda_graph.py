"""The steps of a training on a GPU, recorded once and then replayed: a CUDA graph.

A step of a small network is a thousand kernels of some microseconds each, and starting them one by one from Python
takes longer than running them. Recorded as one graph they are started at once
(https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs/). What differs from step to step (pictures, noise,
learning rate, the values of schedules) lies in memory that is filled before a replay; the arithmetic is that of the
step itself. If recording fails, the log says so, and steps are taken one operator after the other.
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

    Update = Callable[[Run, Tensor, Tensor], tuple[Tensor, ...]]

__all__ = ["GraphedStep", "from_memory"]

log = logging.getLogger(__name__)

WARM_UP = 3  # steps before one is recorded: kernels are chosen in them, and what optimisers remember is made


class GraphedStep:
    """Takes the steps of a run on a GPU.

    Arguments:
        run: The run.
        update: (run, x, noise) → scalars of the step, on the device: all of a step that is to be recorded. It changes
            weights in place and looks at no number on the host.
    """

    def __init__(self, run: Run, update: Update) -> None:
        self.run, self.update = run, update
        self.taken = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: tuple[Tensor, ...] = ()
        self.outputs: tuple[Tensor, ...] = ()
        self.refresh: Callable[[], None] = lambda: None
        self.stream = torch.cuda.Stream(run.task.device)  # type: ignore[no-untyped-call]

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
            return self.update(self.run, x, noise)
        self.stream.wait_stream(torch.cuda.current_stream(self.run.task.device))
        with torch.cuda.stream(self.stream):
            outputs = self.update(self.run, x, noise)
        torch.cuda.current_stream(self.run.task.device).wait_stream(self.stream)
        return outputs

    def _record(self, x: Tensor, noise: Tensor) -> None:
        self.inputs = tuple(each.clone(memory_format=torch.preserve_format) for each in (x, noise))
        graph, micro_batches, why = torch.cuda.CUDAGraph(), self.run.state.micro_batches, "memory is too small"
        try:
            here = torch.cuda.stream(torch.cuda.current_stream(self.run.task.device))  # to be back on, whatever happens
            with here, from_memory(self.run) as (run, self.refresh), torch.cuda.graph(graph, stream=self.stream):
                self.outputs = self.update(run, *self.inputs)
            if self.run.state.micro_batches == micro_batches:
                self.graph = graph
                return
        except RuntimeError as error:
            why = str(error).splitlines()[0]
        log.warning("CUDA graph capture failed; continuing step by step, which is slower: %s", why)
        self.run.state.micro_batches = micro_batches
        self.run.state.optimiser.zero_grad(set_to_none=True)


@contextlib.contextmanager
def from_memory(run: Run) -> Iterator[tuple[Run, Callable[[], None]]]:
    """Within, a step finds the learning rate and the values of schedules in scalars on its device.

    Yields:
        The run whose steps do so, which shares its state with `run`, and a function that writes into the scalars what
        holds for the step that comes.
    """
    objective, groups = run.task.objective, run.state.optimiser.param_groups
    scalars: list[tuple[Tensor, Callable[[], float]]] = []

    def scalar(value: Callable[[], float]) -> Any:
        scalars.append((torch.zeros((), device=run.task.device), value))
        return scalars[-1][0]

    def kept(schedule: Schedule) -> Schedule:
        now = scalar(lambda: schedule(run.state.plan.t))
        return lambda _t: now

    def refresh() -> None:
        for memory, value in scalars:
            memory.fill_(value())

    regulariser = objective.regulariser
    if isinstance(regulariser, Capacity):
        regulariser = Capacity(kept(regulariser.capacity))
    objective = dataclasses.replace(objective, beta=kept(objective.beta), regulariser=regulariser)
    rates, rate_now = [group["lr"] for group in groups], scalar(lambda: learning_rate(run))
    for group in groups:
        group["lr"] = rate_now
    try:
        yield dataclasses.replace(run, task=dataclasses.replace(run.task, objective=objective)), refresh
    finally:
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
