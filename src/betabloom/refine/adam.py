"""What Adam remembers of its weights, as tensors by name: to be saved, and put back as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

__all__ = ["adam_memory", "adam_tensors", "restore_adam"]

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def adam_tensors(prefix: str, adam: torch.optim.Adam) -> dict[str, Tensor]:
    """The moments of every weight that has taken a step, the tensors themselves: `prefix`.NUMBER.NAME."""
    return {f"{prefix}.{i}.{key}": value for i, weight in _weights(adam) for key, value in adam.state[weight].items()}


def adam_memory(prefix: str, adam: torch.optim.Adam) -> dict[str, Tensor]:
    """The same of every weight, whether it has taken a step or not, without memory."""
    return {
        f"{prefix}.{i}.{key}": torch.empty(() if key == "step" else weight.shape, device="meta")
        for i, weight in _weights(adam)
        for key in MOMENTS
    }


@torch.no_grad()
def restore_adam(prefix: str, adam: torch.optim.Adam, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `adam_tensors` returned, laid out in memory as the weights are."""
    for i, weight in _weights(adam):
        found = {key: tensors.get(f"{prefix}.{i}.{key}") for key in MOMENTS}
        adam.state.pop(weight, None)
        if all(value is not None for value in found.values()):
            like = {key: torch.empty_like(weight) for key in MOMENTS} | {"step": torch.zeros(())}
            adam.state[weight] = {key: like[key].copy_(value) for key, value in found.items() if value is not None}


def _weights(adam: torch.optim.Adam) -> Iterator[tuple[int, Tensor]]:
    return enumerate(weight for group in adam.param_groups for weight in group["params"])
