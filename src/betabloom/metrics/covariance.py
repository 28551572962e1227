"""Covariances of few samples in many dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Matrix = TypeVar("Matrix", np.ndarray, Tensor)

__all__ = ["shrunk_covariance"]

SMALLEST = 1e-8


def shrunk_covariance(
    scatter: Matrix, count: float, target: Matrix | None = None, smallest: float = SMALLEST
) -> Matrix:
    """(S + l T) / (n + l): a covariance that is never singular, as if l more samples with covariance T had been seen.

    Arguments:
        scatter: S = Σ (x − m)(x − m)ᵀ of the samples, or n times their covariance, (l, l); NumPy's or torch's.
        count: n, how many samples there are.
        target: T, (l, l); the diagonal of S / n if None.
        smallest: Variance that this diagonal has at least.
    """
    size = len(scatter)
    shrunk = scatter / (count + size)
    if target is not None:
        return shrunk + target * (size / (count + size))
    diagonal = (scatter.diagonal() / count).clip(min=smallest)
    shrunk.reshape(-1)[:: size + 1] += diagonal * (size / (count + size))
    return shrunk
