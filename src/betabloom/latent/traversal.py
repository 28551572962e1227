"""Traversals: one latent dimension at a time, or one direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from betabloom.errors import UsageError
from betabloom.latent.space import dimension_rates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from betabloom.latent.space import Space
    from betabloom.model.generator import Generator

__all__ = ["dimensions_by_rate", "traverse", "traverse_along"]
PICTURES = 16  # that posterior variances are measured on


def traverse(model: Generator, code: np.ndarray, dimensions: Sequence[int], offsets: Sequence[float]) -> np.ndarray:
    """What single latents do: the pictures of z = code + offset · e_i for every dimension i and offset.

    Arguments:
        model: The model.
        code: (l,), the code to start from.
        dimensions: The latents i to change, one at a time; at least one.
        offsets: What is added, in units of the latents, in which the standard prior has standard deviation 1.

    Returns:
        uint8 pictures (len(dimensions), len(offsets), H, W, C).

    Raises:
        UsageError: There is no such latent dimension.
    """
    if not len(dimensions) or min(dimensions) < 0 or max(dimensions) >= len(code):
        raise UsageError(f"This model has the latent dimensions 0 to {len(code) - 1}, not {list(dimensions)}.")
    return traverse_along(model, code, np.eye(len(code), dtype=np.float32)[list(dimensions)], offsets)


def traverse_along(model: Generator, code: np.ndarray, directions: np.ndarray, offsets: Sequence[float]) -> np.ndarray:
    """The pictures of z = code + offset · d for every direction d and offset.

    Arguments:
        model: The model.
        code: (l,), the code to start from.
        directions: (K, l).
        offsets: Multiples of the directions.

    Returns:
        uint8 pictures (K, len(offsets), H, W, C).

    Raises:
        UsageError: An offset is not finite, or too large for the model.
    """
    steps = np.asarray(offsets, np.float64)[None, :, None] * directions[:, None, :]
    pictures = model.decode((code + steps).reshape(-1, len(code)))
    return pictures.reshape((*steps.shape[:2], *pictures.shape[1:]))


def dimensions_by_rate(model: Generator, space: Space) -> tuple[np.ndarray, np.ndarray]:
    """The latent dimensions in the order of what they tell of a picture, most first, and their rates in nats.

    Spreads are those of the space, and posterior variances those of `PICTURES` pictures that the model draws, between
    which they differ little: see `betabloom.latent.space.dimension_rates`.

    Returns:
        Dimensions (l,), and the rates of each in that order, (l,).
    """
    _, log_var = model.encode(model.decode(space.codes[:PICTURES]))
    rates = dimension_rates(space.codes, log_var)
    order = np.argsort(-rates, kind="stable")
    return order, rates[order]
