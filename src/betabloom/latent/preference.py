r"""More pictures like those that a person likes: a direction in closed form.

Ridge regression from the codes Z of good pictures (y = 1), bad ones (y = −1) and others that the model draws (y = 0),
less their mean and in units of their spread, gives the direction along which pictures become more as wished,

    d ∝ (Zᵀ W Z + λI)⁻¹ Zᵀ W y,      λ = tr Zᵀ W Z,

with weights W by which each of the three groups counts as much as the others.

With few pictures it is nearly the difference between their means. (In whitened codes it would be Fisher's direction,
which moves what hardly varies as far as what varies most, and changes little that can be seen.) New pictures are drawn
freely, and their coordinate along d is set to that of the good ones, but at most to `MOST` of their distance from the
mean; the rest of each code is shortened, so that it stays as far from the mean as it was: as plausible as before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from betabloom.errors import UsageError

if TYPE_CHECKING:
    from betabloom.latent.space import Space

__all__ = ["moved_along", "preferred_direction"]

OTHERS = 512  # drawn codes that the regression sees as neither good nor bad
MOST = 0.75  # cosine between a new code and the direction, at most


def preferred_direction(space: Space, good: np.ndarray, bad: np.ndarray | None = None) -> tuple[np.ndarray, float]:
    """The direction of what good pictures have and bad ones have not.

    Arguments:
        space: Where the model's codes lie.
        good: Codes of good pictures, (G, l), G ≥ 1.
        bad: Codes of bad pictures, (B, l); none if None.

    Returns:
        A unit vector d (l,), and the mean coordinate along it of the good pictures, from the mean of all codes.

    Raises:
        UsageError: No picture is good, or the good and the bad are the same.
    """
    if not len(good):
        raise UsageError("At least one good picture is needed.")
    groups = [good, good[:0] if bad is None else bad, space.codes[:OTHERS]]
    scale = float(np.sqrt(np.square(space.spread).mean()))
    z = (np.concatenate(groups) - space.mean) / scale
    y = np.repeat([1.0, -1.0, 0.0], [len(each) for each in groups])
    weight = np.repeat([1 / max(len(each), 1) for each in groups], [len(each) for each in groups])[:, None]
    gram = (weight * z).T @ z
    slope = np.linalg.solve(gram + np.trace(gram) * np.eye(z.shape[1]), z.T @ (weight[:, 0] * y))
    length = np.linalg.norm(slope)
    if length < 1e-9:
        raise UsageError("The good pictures and the bad ones are the same: nothing tells them apart.")
    direction: np.ndarray = slope / length
    return direction, float(((good - space.mean) @ direction).mean())


def moved_along(space: Space, codes: np.ndarray, direction: np.ndarray, place: float) -> np.ndarray:
    """Codes with the coordinate `place` along a direction, as far from the mean as they were.

    Arguments:
        space: Where the model's codes lie.
        codes: (n, l).
        direction: Unit vector (l,).
        place: The coordinate that they get, but at most `MOST` of each code's distance from the mean.

    Returns:
        Codes (n, l).
    """
    own = codes - space.mean
    radius = np.linalg.norm(own, axis=1, keepdims=True)
    along = np.clip(place, -MOST * radius, MOST * radius)
    rest = own - np.outer(own @ direction, direction)
    kept = np.sqrt(radius**2 - along**2) / np.maximum(np.linalg.norm(rest, axis=1, keepdims=True), 1e-9)
    moved: np.ndarray = (space.mean + kept * rest + along * direction).astype(np.float32)
    return moved
