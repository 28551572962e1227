r"""Mixing two pictures: children that take some of what their codes say from one, and the rest from the other.

Whitened codes (see `betabloom.latent.space`) are turned to the principal axes of the codes, so that a coordinate is one
way in which pictures differ. A child takes each coordinate from either picture at random (uniform crossover), as a
child of two parents has each gene from one of them. *Recolouring* takes one subspace of it: the directions that
colours depend on, found by ridge regression from codes to the colours of centre and surroundings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from betabloom.errors import UsageError
from betabloom.imaging import colour

if TYPE_CHECKING:
    from betabloom.latent.space import Space
    from betabloom.model.generator import Generator

__all__ = ["crossed", "recoloured"]

LEARNED_FROM = 256  # pictures that the ridge regression from codes to colours learns from


def crossed(space: Space, one: np.ndarray, other: np.ndarray, n: int, seed: int = 0, share: float = 0.5) -> np.ndarray:
    """Codes (n, l) of children of two pictures.

    Arguments:
        space: Where the model's codes lie.
        one: Code of the first picture, (l,).
        other: Code of the second, (l,).
        n: How many children, ≥ 1.
        seed: Names the series of children; child i is the same however many there are.
        share: Probability that a coordinate comes from the first.

    Returns:
        float32 (n, l).

    Raises:
        UsageError: The share is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"'share' must lie between 0 and 1, not {share}.")
    variances, axes = np.linalg.eigh(space.factor @ space.factor.T)
    a, b = (one - space.mean) @ axes, (other - space.mean) @ axes
    taken = np.stack([np.random.default_rng([seed, i]).random(len(variances)) < share for i in range(n)])
    codes: np.ndarray = (space.mean + np.where(taken, a, b) @ axes.T).astype(np.float32)
    return codes


def recoloured(model: Generator, space: Space, form: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """The code (l,) of a picture with the form of one and the colours of another.

    Arguments:
        model: The model; some hundred of its pictures teach what colours depend on.
        space: Where its codes lie.
        form: Code of the picture that gives the form, (l,).
        colours: Code of the picture that gives the colours, (l,).

    Returns:
        float32 (l,).
    """
    white = space.whiten(space.codes[:LEARNED_FROM])
    pictures = model.decode(space.codes[:LEARNED_FROM])
    both = np.stack([colour.centre(pictures), colour.surroundings(pictures)], 1)
    lab = colour.oklab(both).reshape(len(pictures), -1)
    gram = white.T @ white + white.shape[1] * np.eye(white.shape[1])
    slope = np.linalg.solve(gram, white.T @ (lab - lab.mean(0)))
    basis, _ = np.linalg.qr(slope)  # of the directions that colours depend on, (l, 6)
    a, b = space.whiten(np.stack([form, colours]))
    code: np.ndarray = space.unwhiten((a + basis @ (basis.T @ (b - a)))[None])[0]
    return code
