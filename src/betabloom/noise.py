"""The noise that pictures are made from: picture i of seed s is the same however many are made together."""

from __future__ import annotations

import math

import numpy as np

from betabloom.errors import UsageError

__all__ = ["base_noise", "check", "check_count"]


def base_noise(seed: int, n: int, latents: int, start: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal noise (n, l), float32, and uniform choices (n,) for the pictures start … start + n − 1 of a seed.

    That of picture i comes from `numpy.random.default_rng([seed, i])` alone.
    """
    noise, choice = np.empty((n, latents), np.float32), np.empty(n)
    for row in range(n):
        rng = np.random.Generator(np.random.PCG64([seed, start + row]))  # the same, and made more quickly
        choice[row] = rng.random()
        noise[row] = rng.standard_normal(latents)
    return noise, choice


def check(n: int, temperature: float) -> None:
    """Refuse a number of pictures or a temperature that cannot be meant."""
    check_count(n)
    if not 0 < temperature < math.inf:
        raise UsageError(f"'temperature' must be a positive number, not {temperature}.")


def check_count(n: int) -> None:
    """Refuse a number of pictures that cannot be meant."""
    if n < 1:
        raise UsageError(f"'n', the number of pictures, must be at least 1, not {n}.")
