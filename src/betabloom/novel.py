"""Generate pictures that are no near copies of training pictures.

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
    from collections.abc import Callable, Sequence

    from betabloom.data import Store

__all__ = ["Novelty", "by_numbers", "generate_novel", "numbers_text", "parse_numbers"]

AT_ONCE = 64
PATIENCE = 50  # pictures that are tried for each that is wanted
MOST = 1_000_000


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
                f"'{store.source_name}' has one picture only: what a near copy is cannot be learned from it."
            )
        known = pixel_rows(store.pictures[train])
        return cls(known, Limits.learned(_nearest(np.asarray(store.pictures[held_out]), known)))

    def copies(self, pictures: np.ndarray) -> np.ndarray:
        """Which of the pictures (N, H, W, C) are near copies, bool (N,)."""
        return self.limits.exceeded_by(_nearest(pictures, self.known))


def _nearest(pictures: np.ndarray, known: np.ndarray) -> Nearest:
    return nearest(pixel_rows(pictures), known, pixel_rows(pictures[:, :, ::-1]))


def generate_novel(
    draw: Callable[[int, int], np.ndarray], novelty: Novelty, n: int, start: int = 0
) -> tuple[np.ndarray, list[int]]:
    """The first n pictures from number `start` on that are no near copies, and their numbers.

    Arguments:
        draw: draw(first, count) → the pictures of these numbers, uint8 (count, H, W, C).
        novelty: What to compare with.
        n: How many are wanted.
        start: Number of the first picture that is tried.

    Raises:
        BetabloomError: So many of them are copies that the wanted number cannot be had.
    """
    parts: list[np.ndarray] = []
    numbers: list[int] = []
    first = start
    while len(numbers) < n:
        if first - start >= PATIENCE * n + AT_ONCE:
            raise BetabloomError(
                f"Only {len(numbers)} of {first - start:,} generated pictures are no near copies of training pictures: "
                "the model has learned them by heart. Train it on more pictures, or for fewer steps."
            )
        pictures = draw(first, AT_ONCE)
        new = np.flatnonzero(~novelty.copies(pictures))[: n - len(numbers)]
        parts.append(pictures[new])
        numbers += [first + int(i) for i in new]
        first += AT_ONCE
    return np.concatenate(parts), numbers


def by_numbers(draw: Callable[[int, int], np.ndarray], numbers: Sequence[int]) -> np.ndarray:
    """The pictures of these numbers."""
    return np.concatenate([draw(first, last - first + 1) for first, last in _stretches(numbers)])


def numbers_text(numbers: Sequence[int]) -> str:
    """Write numbers as "0-5,8"."""
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in _stretches(numbers))


def parse_numbers(text: str) -> list[int]:
    """Read numbers as "0-5,8"."""
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()) or (last and int(last) < int(first)):
            raise UsageError(f"Numbers of pictures are written as 0-5,8, not {text!r}.")
        if len(numbers) + int(last or first) - int(first) >= MOST:
            raise UsageError(f"{text!r} are more than {MOST:,} pictures.")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def _stretches(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Numbers that follow one another, as (first, last)."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found
