r"""Directions of the latent space that mean something, found in closed form, ranked and named by what was measured.

- *PCA*: the directions in which codes that the model draws vary most (Härkönen et al. 2020, GANSpace,
  https://arxiv.org/abs/2004.02546).
- *SeFa*: the directions that the decoder's first linear layer A passes on most strongly: eigenvectors of Aᵀ A (Shen &
  Zhou 2021, https://arxiv.org/abs/2007.06600), of whitened codes here, (A L)ᵀ (A L), so that directions that no code
  takes do not count.
- *Properties*: what changes one measured property and leaves the others: with J (l, p) the slopes by ridge regression
  from whitened codes to the properties of pictures that the model draws, the columns of J (JᵀJ + δI)⁻¹.
- *Attributes*: ridge regression in whitened codes from labels (one class against all others).

A step of length t along a unit direction of whitened codes costs ½t² nats. Directions are ranked by how much the
picture changes per nat: the root mean square change in Oklab between −2 and 2 standard deviations, over the 2 nats of a
step.
Each gets the name of the property (`betabloom.imaging.properties`) that changes most steadily: by the most standard
deviations of that property among pictures that the model draws, if by at least `LEAST`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from betabloom.errors import UsageError
from betabloom.imaging.properties import PROPERTIES, measure_properties, oklab_pictures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from betabloom.latent.space import Space
    from betabloom.model.generator import Generator

__all__ = [
    "Direction",
    "attribute_directions",
    "distinct",
    "principal_directions",
    "property_directions",
    "ranked",
    "sefa_directions",
    "strongest",
]

STEP = 2.0  # standard deviations to either side that a direction is measured over
BASES = 12  # pictures that it is measured on
LEAST = 0.75  # standard deviations that a property must change by to give its name
PER_KIND = 16
LEARNED_FROM = 384  # pictures that the regression from codes to properties learns from
TINY = 1e-9  # length of a direction that changes nothing
DAMPING = 0.1  # δ, of the mean eigenvalue of JᵀJ
ALIKE = 0.7  # cosine of two directions, of whitened codes, that count as one


@dataclass(frozen=True)
class Direction:
    """A direction of the latent space.

    Attributes:
        kind: "pca", "sefa", "property" or "attribute".
        vector: What is added to a code for one step of a standard deviation, (l,).
        name: What it was named by, such as "lightness"; "unnamed" where no property changes steadily.
        change: Root mean square change in Oklab per nat.
        effects: Change of each property over the whole way, in standard deviations of that property.
    """

    kind: str
    vector: np.ndarray
    name: str = "unnamed"
    change: float = 0.0
    effects: dict[str, float] | None = None


def principal_directions(space: Space, n: int = PER_KIND) -> list[Direction]:
    """The n directions in which the codes vary most, one standard deviation long."""
    variances, axes = np.linalg.eigh(space.factor @ space.factor.T)
    best = np.argsort(-variances)[:n]
    return [Direction("pca", np.sqrt(variances[i]) * _pointing(axes[:, i])) for i in best]


def sefa_directions(model: Generator, space: Space, n: int = PER_KIND) -> list[Direction]:
    """The n directions of whitened codes that the decoder's first linear layer passes on most strongly.

    Arguments:
        model: The model.
        space: Where its codes lie.
        n: How many directions, at most.

    Returns:
        Unit directions of whitened codes.
    """
    layer = model.first_layer @ space.factor
    strengths, axes = np.linalg.eigh(layer.T @ layer)
    best = np.argsort(-strengths)[:n]
    return [Direction("sefa", space.factor @ _pointing(axes[:, i])) for i in best]


def _pointing(vector: np.ndarray) -> np.ndarray:
    """The vector or its opposite, so that its largest number is positive: eigenvectors have no sign."""
    pointing: np.ndarray = vector * np.sign(vector[np.abs(vector).argmax()])
    return pointing


def property_directions(model: Generator, space: Space) -> list[Direction]:
    """For each of `PROPERTIES` the direction that changes it and leaves the others, as far as codes allow."""
    codes = space.codes[:LEARNED_FROM]
    white, y = space.whiten(codes), measure_properties(model.decode(codes))
    y = (y - y.mean(0)) / np.maximum(y.std(0), 1e-9)
    slope = np.linalg.solve(white.T @ white + white.shape[1] * np.eye(white.shape[1]), white.T @ y)
    gram = slope.T @ slope
    alone = slope @ np.linalg.inv(gram + DAMPING * np.trace(gram) / len(gram) * np.eye(len(gram)))
    lengths = np.linalg.norm(alone, axis=0)
    return [
        Direction("property", space.factor @ (alone[:, i] / lengths[i]), name)
        for i, name in enumerate(PROPERTIES)
        if lengths[i] > TINY
    ]


def attribute_directions(
    space: Space, codes: np.ndarray, labels: np.ndarray, names: Sequence[str] | None = None
) -> list[Direction]:
    """For each class the direction from all other pictures towards those of the class.

    Arguments:
        space: Where the model's codes lie.
        codes: Codes of labelled pictures, (N, l).
        labels: Class indices, (N,), of at least two classes.
        names: Of the classes; their numbers if None.

    Returns:
        One direction a class, in the order of the classes.

    Raises:
        UsageError: There is only one class.
    """
    classes = np.unique(labels)
    if len(classes) < 2:
        raise UsageError("Attribute directions tell classes apart, and these pictures are all of one class.")
    white = space.whiten(codes)
    white = white - white.mean(0)
    gram = white.T @ white + len(white.T) * np.eye(len(white.T))
    found = []
    for each in classes:
        y = (labels == each).astype(np.float64)
        slope = np.linalg.solve(gram, white.T @ (y - y.mean()))
        name = names[int(each)] if names is not None else f"class {int(each)}"
        found.append(Direction("attribute", space.factor @ (slope / max(np.linalg.norm(slope), 1e-12)), name))
    return found


def ranked(model: Generator, space: Space, directions: Sequence[Direction]) -> list[Direction]:
    """The directions with their measurements, those that change the picture most per nat first.

    Those of PCA and SeFa get their names here, and point to where the property that names them grows.

    Arguments:
        model: The model.
        space: Where its codes lie.
        directions: Directions of that space.

    Returns:
        The same directions, with their measurements.
    """
    drawn = model.decode(space.codes[:: max(1, len(space.codes) // 64)])
    scale = np.maximum(measure_properties(drawn).std(0), 1e-9)
    measured = [_measured(model, space, each, scale) for each in directions]
    return sorted(measured, key=lambda each: -each.change)


def distinct(space: Space, directions: Sequence[Direction]) -> list[Direction]:
    """The directions without those that nearly repeat an earlier one, or have its name."""
    kept: list[Direction] = []
    units: list[np.ndarray] = []
    for each in directions:
        unit = np.linalg.solve(space.factor, each.vector)
        unit = unit / max(float(np.linalg.norm(unit)), 1e-12)
        new_name = each.name == "unnamed" or each.name not in {other.name for other in kept}
        if new_name and all(abs(float(unit @ other)) < ALIKE for other in units):
            kept.append(each)
            units.append(unit)
    return kept


def _measured(model: Generator, space: Space, direction: Direction, scale: np.ndarray) -> Direction:
    bases = space.codes[:BASES]
    ends = [model.decode((bases + sign * STEP * direction.vector).astype(np.float32)) for sign in (-1, 1)]
    change = np.sqrt(np.square(oklab_pictures(ends[1]) - oklab_pictures(ends[0])).sum(3).mean()) / (STEP**2 / 2)
    steps = (measure_properties(ends[1]) - measure_properties(ends[0])) / scale
    effects, noise = steps.mean(0), steps.std(0) / np.sqrt(BASES)
    steady = np.abs(effects) - 2 * noise  # what is left of the effect if its error has the worst luck
    own = direction.name in PROPERTIES  # a property's own direction has to change that one
    best = PROPERTIES.index(direction.name) if own else int(steady.argmax())
    name, sign = direction.name, 1.0
    if direction.kind != "attribute":
        name = PROPERTIES[best] if steady[best] >= LEAST else "unnamed"
        sign = float(np.sign(effects[best])) or 1.0
    rounded = {key: round(sign * float(value), 3) for key, value in zip(PROPERTIES, effects, strict=True)}
    return Direction(direction.kind, sign * direction.vector, name, float(change), rounded)


def strongest(model: Generator, space: Space, n: int = 12) -> list[Direction]:
    """The n directions to offer a person: those with a name first, one of each name, then what else changes most."""
    candidates = [
        *property_directions(model, space),
        *principal_directions(space, n),
        *sefa_directions(model, space, n),
    ]
    found = distinct(space, ranked(model, space, candidates))
    firsts = {each.name: each for each in reversed(found)}
    named = [each for each in found if each.name != "unnamed" and firsts[each.name] is each]
    return [*named, *(each for each in found if each.name == "unnamed")][:n]
