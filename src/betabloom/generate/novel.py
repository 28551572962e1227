"""Generate pictures that are not near copies of training pictures.

Picture i of seed s is named by (s, i) as ever. Near copies are left out and the next numbers take their place; the
record of a sheet lists the numbers, so that it can be made again without the training pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from betabloom.errors import BetabloomError, UsageError
from betabloom.metrics.novelty import Limits, Nearest, nearest, pixel_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from betabloom.data import Store
    from betabloom.seeds import Draw, Piece

__all__ = ["Novelty", "novel_pieces"]

AT_ONCE = 64
PATIENCE = 50  # pictures that are tried for each that is wanted


@dataclass(frozen=True)
class Novelty:
    """Tells near copies of training pictures: see `betabloom.metrics.novelty`.

    Attributes:
        known: Training pictures as rows, (M, F).
        limits: What is too near, learned from held-out pictures.
    """

    known: np.ndarray
    limits: Limits

    @classmethod
    def of(cls, store: Store, split: str, holdout: float) -> Novelty:
        """Learn from prepared pictures, split as for training."""
        train, held_out = store.split(split, holdout)
        if not len(held_out):
            raise UsageError(
                f"'{store.source_name}' has only one picture. To recognise near copies, at least two are needed."
            )
        return cls.learned(store.pictures[train], np.asarray(store.pictures[held_out]))

    @classmethod
    def learned(cls, pictures: np.ndarray, held_out: np.ndarray) -> Novelty:
        """Learn from training pictures (M, H, W, C) and others that were held out, (K, H, W, C), K ≥ 1."""
        known = pixel_rows(pictures)
        return cls(known, Limits.learned(_nearest(held_out, known)))

    def nearest(self, pictures: np.ndarray) -> Nearest:
        """The nearest training picture of each picture (N, H, W, C), mirrored or not."""
        return _nearest(pictures, self.known)

    def copies(self, pictures: np.ndarray) -> np.ndarray:
        """Which of the pictures (N, H, W, C) are near copies, bool (N,)."""
        return self.limits.is_near_copy(self.nearest(pictures))


def _nearest(pictures: np.ndarray, known: np.ndarray) -> Nearest:
    return nearest(pixel_rows(pictures), known, pixel_rows(pictures[:, :, ::-1]))


def novel_pieces(draw: Draw, novelty: Novelty, n: int, start: int = 0) -> Iterator[Piece]:
    """The first n pictures from number `start` on that are not near copies, some at a time, with their numbers.

    Arguments:
        draw: draw(first, count) → the pictures of these numbers, uint8 (count, H, W, C).
        novelty: What to compare with.
        n: How many are wanted.
        start: Number of the first picture that is tried.

    Raises:
        BetabloomError: So many of them are copies that the wanted number cannot be had.
    """
    found, first = 0, start
    while found < n:
        if first - start >= PATIENCE * n + AT_ONCE:
            raise BetabloomError(
                f"Only {found} of {first - start:,} generated pictures differ enough from the training "
                "pictures: the model has memorised those. Train it on more pictures, or for fewer steps."
            )
        pictures = draw(first, AT_ONCE)
        new = np.flatnonzero(~novelty.copies(pictures))[: n - found]
        if len(new):
            yield pictures[new], [first + int(i) for i in new]
        found += len(new)
        first += AT_ONCE
