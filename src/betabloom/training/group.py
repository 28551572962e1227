"""Processes that train one model together: who they are, and how they agree.

Pictures, noise and decisions of a step are functions of the seed, the step and the place in the global batch, so a run
does not depend on how many processes take part. What a clock, a signal or one disk decides is decided by process 0.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from betabloom.errors import BetabloomError
from betabloom.system.hardware import choose_device

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from betabloom.system.ranks import Rank

__all__ = ["Group", "LostProcess", "joined", "present_group"]


class LostProcess(BetabloomError):  # noqa: N818  (said of another process)
    """Another process of the training is gone."""


@dataclass(frozen=True)
class Group:
    """The processes of a training, as one of them sees it.

    Attributes:
        rank: Its number, from 0.
        world: How many there are.
        local: Its number on its machine.
        control: What small numbers on the CPU travel through, where gradients travel by NCCL; else None.
        parent: The process that started this one.
    """

    rank: int
    world: int
    local: int
    control: dist.ProcessGroup | None = None
    parent: int = field(default_factory=os.getppid)

    @property
    def is_orphan(self) -> bool:
        """Whether the process that started this one is gone, so that nobody would ever end it."""
        return os.getppid() != self.parent

    def device(self, name: str) -> torch.device:
        """The device of this process, for the setting of that name: each takes a GPU of its own."""
        device = choose_device(name)
        if name in ("auto", "cuda") and device.type == "cuda":
            return torch.device("cuda", self.local % torch.cuda.device_count())
        return device

    def decide(self, work: Callable[[], Any]) -> Any:
        """What `work` returns in process 0 (as for JSON); the other processes wait for it."""
        text = json.dumps(work()).encode() if self.rank == 0 else b""
        size = torch.tensor([len(text)])
        self._broadcast(size)
        data = torch.frombuffer(bytearray(text or bytes(int(size))), dtype=torch.uint8)
        self._broadcast(data)
        return json.loads(data.numpy().tobytes())

    def collect(self, value: Any) -> list[Any]:
        """The values of every process (as for JSON), in the order of the processes; all of them get the list."""
        text = json.dumps(value).encode()
        sizes = self.summed([float(len(text)) if i == self.rank else 0.0 for i in range(self.world)])
        place, whole = int(sum(sizes[: self.rank])), torch.zeros(int(sum(sizes)), dtype=torch.uint8)
        whole[place : place + len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        with _lost():
            dist.all_reduce(whole, group=self.control)
        ends = [int(sum(sizes[: i + 1])) for i in range(self.world)]
        parts = zip([0, *ends], ends, strict=False)
        return [json.loads(whole[begin:end].numpy().tobytes()) for begin, end in parts]

    def summed(self, numbers: list[float]) -> list[float]:
        """The sums of numbers over all processes."""
        values = torch.tensor(numbers, dtype=torch.float64)
        with _lost():
            dist.all_reduce(values, group=self.control)
        return values.tolist()

    def gathered(self, tensor: Tensor) -> Tensor:
        """The rows of all processes, (B, …) → (world · B, …)."""
        own = self._carried(tensor).contiguous()
        whole = own.new_empty((self.world * len(own), *own.shape[1:]))
        with _lost():
            dist.all_gather(list(whole.chunk(self.world)), own)
        return whole.to(tensor.device)

    def add_up(self, tensor: Tensor) -> None:
        """Replace a tensor with its sum over all processes."""
        carried = self._carried(tensor)
        with _lost():
            dist.all_reduce(carried)
        if carried is not tensor:
            tensor.copy_(carried)

    def share(self, tensor: Tensor) -> None:
        """Replace a tensor with that of process 0."""
        dense = self._carried(tensor.detach().clone(memory_format=torch.contiguous_format))
        with _lost():
            dist.broadcast(dense, 0)
        tensor.detach().copy_(dense)

    def _carried(self, tensor: Tensor) -> Tensor:
        """The tensor where it can travel from: by way of the CPU where processes share a GPU, which NCCL refuses."""
        return tensor.cpu() if self.control is None else tensor

    def _broadcast(self, tensor: Tensor) -> None:
        with _lost():
            dist.broadcast(tensor, 0, group=self.control)


_present: list[Group] = []


def present_group() -> Group | None:
    """The group that this process has joined, if any."""
    return _present[-1] if _present else None


@contextlib.contextmanager
def joined(rank: Rank | None, device: str = "auto") -> Iterator[Group | None]:
    """Join the processes of a training while the block runs; yields None if there is only one.

    Arguments:
        rank: Who this is; see `betabloom.system.ranks`.
        device: The setting of that name: gradients of GPUs travel by NCCL, of others by gloo.
    """
    if rank is None or rank.world == 1:
        yield None
        return
    chosen = choose_device(device)
    own_gpus = chosen.type == "cuda" and rank.local_world <= torch.cuda.device_count()
    if chosen.type == "cuda":
        torch.cuda.set_device(rank.local % torch.cuda.device_count())
    with _lost():
        dist.init_process_group("nccl" if own_gpus else "gloo", rank=rank.rank, world_size=rank.world)
        control = dist.new_group(backend="gloo") if own_gpus else None
    _present.append(Group(rank.rank, rank.world, rank.local, control))
    try:
        yield _present[-1]
    finally:
        _present.pop()
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()


@contextlib.contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise LostProcess(
            f"Another process of this training ended, or cannot be reached any more ({reason}). What the last "
            "checkpoint holds is safe, and any number of processes can go on from there: betabloom train --resume RUN"
        ) from error
