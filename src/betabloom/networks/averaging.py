"""The average of weights over the steps of a training, which is what is kept of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

__all__ = ["move_average"]


@torch.no_grad()
def move_average(averaged: Iterable[Tensor], latest: Iterable[Tensor], decay: float, step: int | None = None) -> None:
    """averaged ← d · averaged + (1 − d) · latest, in place, with d = min(decay, (1 + step) / (10 + step)).

    At first steps d is small, so that the weights with which a training began are soon forgotten. Without a step, d is
    `decay`.

    Arguments:
        averaged: Weights and statistics; whole numbers among them are left as they are.
        latest: The same after a step, in the same order.
        decay: In [0, 1).
        step: Steps taken before this one, ≥ 0; None if it does not matter how many.
    """
    pairs = [(mine, other) for mine, other in zip(averaged, latest, strict=True) if mine.is_floating_point()]
    weight = 1 - (decay if step is None else min(decay, (1 + step) / (10 + step)))
    torch._foreach_lerp_([mine for mine, _ in pairs], [other for _, other in pairs], weight)
