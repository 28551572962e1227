"""Distances between all rows of two arrays, a block of rows at a time, so that memory does not grow with the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["distance_blocks"]

BLOCK = 512  # rows at once


def distance_blocks(rows: Array, points: Array) -> Iterator[tuple[slice, Array]]:
    """Squared Euclidean distances ‖a − b‖² = ‖a‖² − 2 a·b + ‖b‖² of rows a to points b.

    Arguments:
        rows: (N, F).
        points: (M, F), M ≥ 1.

    Returns:
        For each block, which rows it has, and their distances, float32 (B, M), at least 0. All are moved by the mean of
        the points first, around which rounding is least.
    """
    centre = points.mean(0, dtype=np.float64).astype(np.float32)
    points = np.asarray(points - centre, np.float32)
    norms = np.square(points).sum(1)
    for first in range(0, len(rows), BLOCK):
        part = slice(first, min(first + BLOCK, len(rows)))
        a = np.asarray(rows[part] - centre, np.float32)
        distances: Array = a @ points.T
        distances *= -2
        distances += np.square(a).sum(1)[:, None]
        distances += norms
        yield part, np.maximum(distances, 0, out=distances)
