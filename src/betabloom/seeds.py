"""The pictures of a seed: the noise that each is made from, and their numbers.

Picture i of seed s is made from the same noise however many are made together. What it is decoded to can differ by one
grey level, since processors add up numbers in an order that depends on how many pictures they work on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from betabloom.arguments import number, whole_number
from betabloom.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy as np

    Draw = Callable[[int, int], np.ndarray]
    Piece = tuple[np.ndarray, list[int]]

__all__ = [
    "BATCH", "MOST", "base_noise", "check", "check_count", "new_seed", "numbers_text", "parse_numbers", "pieces_of",
]  # fmt: skip

BATCH = 64  # pictures that are decoded together: the same ones together are the same to the bit


def new_seed() -> int:
    """A random seed from 0 to 999,999,999: short enough to be written down."""
    import secrets  # here, since most requests name a seed

    return secrets.randbelow(10**9)


def base_noise(seed: int, n: int, latents: int, start: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal noise (n, l), float32, and uniform choices (n,) for the pictures start … start + n − 1 of a seed.

    That of picture i comes from `numpy.random.default_rng([seed, i])` alone.
    """
    import numpy as np  # here, since the command line reads numbers without it

    seed, start = whole_number(seed, "'seed'"), whole_number(start, "'start'")
    noise, choice = np.empty((n, latents), np.float32), np.empty(n)
    for row in range(n):
        rng = np.random.Generator(np.random.PCG64([seed, start + row]))  # the same, and made more quickly
        choice[row] = rng.random()
        noise[row] = rng.standard_normal(latents)
    return noise, choice


def check(n: int, temperature: float) -> None:
    """Refuse a number of pictures or a temperature that is not valid."""
    check_count(n)
    number(temperature, "'temperature'", above=True)


def check_count(n: int) -> None:
    """Refuse a number of pictures that is not valid."""
    whole_number(n, "'n', the number of pictures,", 1, MOST_DRAWN)


MOST = 1_000_000  # pictures whose numbers are named
MOST_DRAWN = 1_000_000_000


def pieces_of(draw: Draw, numbers: Sequence[int], at_once: int) -> Iterator[Piece]:
    """The pictures of these numbers, at most `at_once` at a time."""
    for first, last in _stretches(numbers):
        for begin in range(first, last + 1, at_once):
            end = min(begin + at_once, last + 1)
            yield draw(begin, end - begin), list(range(begin, end))


def numbers_text(numbers: Sequence[int]) -> str:
    """Write numbers as "0-5,8"."""
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in _stretches(numbers))


def parse_numbers(text: str) -> list[int]:
    """Read numbers as "0-5,8"."""
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        decimal = all(re.fullmatch("[0-9]{1,18}", each) for each in (first, last or first))
        if not decimal or (last and int(last) < int(first)):
            raise UsageError(f"Numbers of pictures are written as 0-5,8, not {text!r}.")
        if len(numbers) + int(last or first) - int(first) >= MOST:
            raise UsageError(f"{text!r} names more than {MOST:,} pictures.")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def _stretches(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Numbers that follow one another, as (first, last)."""
    if isinstance(numbers, range) and numbers.step == 1 and numbers:
        yield numbers[0], numbers[-1]  # however many
        return
    first = last = None
    for each in numbers:
        if first is None or last is None or each != last + 1:
            if first is not None and last is not None:
                yield first, last
            first = each
        last = each
    if first is not None and last is not None:
        yield first, last
