r"""Are generated pictures new? The nearest training picture of each, and whether it is too near.

Pictures are compared as rows (N, F): colours at 16×16 pixels (`pixel_rows`), or features. A picture and its mirror
image count as the same. What "too near" means is learned from real pictures that were held out: a generated picture is
a **near copy** if both

    d(x) = distance to its nearest training picture,
    r(x) = d(x) / mean distance to its 50 next nearest ones

are as low as they are for the lowest 1 % of held-out pictures, and x has at least half the contrast of that picture: a
flat square is a copy of flat pictures only. d alone would call smooth pictures copies, which are
near everything; r tells a picture that is near *one* training picture from one that is near many (Carlini et al. 2023,
https://arxiv.org/abs/2301.13188, section 4.2). Of new real pictures about 1 % or fewer are called copies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from betabloom.errors import UsageError
from betabloom.metrics.extractors import shrink
from betabloom.metrics.measure import Measure, of_share
from betabloom.metrics.neighbours import distance_blocks

if TYPE_CHECKING:
    from betabloom.system.console import Progress

__all__ = ["Limits", "Nearest", "near_copies", "nearest", "pixel_rows"]

SIDE = 16
NEXT = 50
FADED = 0.5  # contrast relative to the nearest known picture's; below, a picture is too flat to be its copy
QUANTILE = 0.01
BLOCK = 512  # pictures at once


@dataclass(frozen=True)
class Nearest:
    """The nearest of M known rows, for each of N.

    Attributes:
        index: Which one, (N,).
        distance: Root of the mean squared difference over the F numbers of a row, (N,).
        ratio: The distance over the mean distance to the 50 next nearest, (N,); 1 where there are no others.
        mirrored: Whether it is the mirror image that is nearest, (N,).
        faded: Whether the row has less than half the standard deviation of its nearest known row, (N,).
    """

    index: np.ndarray
    distance: np.ndarray
    ratio: np.ndarray
    mirrored: np.ndarray
    faded: np.ndarray


@dataclass(frozen=True)
class Limits:
    """What is too near, learned from held-out pictures.

    Attributes:
        distance: The quantile of their distances to the nearest training picture.
        ratio: The quantile of the ratios of these to the distances to the 50 next nearest.
        n: How many held-out pictures there were.
        quantile: Which quantile, in (0, 1).
    """

    distance: float
    ratio: float
    n: int
    quantile: float = QUANTILE

    @classmethod
    def learned(cls, held_out: Nearest, quantile: float = QUANTILE) -> Limits:
        """The low quantiles of the distances and ratios of held-out pictures to training pictures."""
        distance, ratio = (float(np.quantile(values, quantile)) for values in (held_out.distance, held_out.ratio))
        return cls(distance, ratio, len(held_out.index), quantile)

    def is_near_copy(self, found: Nearest) -> np.ndarray:
        """Which pictures are near copies, (N,) of bool."""
        copies: np.ndarray = (found.distance <= self.distance) & (found.ratio <= self.ratio) & ~found.faded
        return copies


def near_copies(found: Nearest, limits: Limits) -> Measure:
    """The share of near copies among generated pictures."""
    few = (
        f"the limits of near copies were learned from only {limits.n} held-out pictures"
        if limits.n < 1 / limits.quantile
        else ""
    )
    return of_share("near_copies", limits.is_near_copy(found), few)


def pixel_rows(pictures: np.ndarray) -> np.ndarray:
    """Grey levels 0 … 255 at `SIDE` × `SIDE` pixels, float32 (N, SIDE · SIDE · C), of uint8 pictures (N, H, W, C)."""
    parts = [
        shrink(np.asarray(pictures[first : first + BLOCK]).astype(np.float32), SIDE)
        for first in range(0, len(pictures), BLOCK)
    ]
    return np.concatenate(parts).reshape(len(pictures), -1)


def nearest(
    rows: np.ndarray,
    known: np.ndarray,
    mirrored: np.ndarray | None = None,
    progress: Progress | None = None,
) -> Nearest:
    """Find the nearest known row of each row.

    Arguments:
        rows: (N, F).
        known: (M, F), M ≥ 1.
        mirrored: (N, F), the rows of the mirrored pictures; None to leave them out.
        progress: Called as progress(done, total, text).

    Returns:
        Index of and distance to the nearest known row, for each row.

    Raises:
        UsageError: The rows have different numbers of features.
    """
    if rows.ndim != 2 or known.ndim != 2 or rows.shape[1] != known.shape[1] or not len(known):
        raise UsageError(f"Rows of shapes {rows.shape} and {known.shape} cannot be compared.")
    index, distance, ratio = _nearest(rows, known, progress)
    flipped = np.zeros(len(rows), bool)
    if mirrored is not None:
        mirror = _nearest(mirrored, known, None)
        flipped = mirror[1] < distance
        plain = (index, distance, ratio)
        index, distance, ratio = (np.where(flipped, b, a) for a, b in zip(plain, mirror, strict=True))
    faded = rows.std(1) < FADED * known[index].std(1)
    return Nearest(index, distance, ratio, flipped, faded)


def _nearest(rows: np.ndarray, known: np.ndarray, progress: Progress | None) -> list[np.ndarray]:
    """Index, distance and ratio of the nearest known row of each row, each (N,)."""
    parts, count = [], min(NEXT + 1, len(known))
    for part, squared in distance_blocks(rows, known):
        index = squared.argmin(1)
        near = np.sqrt(np.partition(squared, count - 1, 1)[:, :count] / rows.shape[1])
        distance = np.sqrt(np.square(rows[part] - known[index]).mean(1))  # without the rounding of the product
        others = (near.sum(1) - near.min(1)) / max(count - 1, 1)
        ratio = np.divide(distance, others, out=np.ones_like(distance), where=others > 0)
        parts.append((index, distance, ratio))
        if progress:
            progress(part.stop, len(rows), "")
    return [np.concatenate(part) for part in zip(*parts, strict=True)]
