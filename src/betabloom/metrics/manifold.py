r"""Precision, recall, density and coverage: how two sets of features (N, F) and (M, F) lie among one another.

Around each picture of a set is a ball that reaches to its k-th nearest neighbour in the set; the union of the balls
stands for the distribution. With x real, y generated and r_k(x) the radius around x:

    precision = share of y in the ball of some x         recall   = share of x in the ball of some y
    density   = Σ_y #{x : |x − y| ≤ r_k(x)} / (k M)      coverage = share of x with some y in its ball

Kynkäänniemi et al. 2019, https://arxiv.org/abs/1904.06991, with k = 3, and Naeem et al. 2020,
https://arxiv.org/abs/2002.09797, with k = 5. All depend on the sample sizes: compare values of equal ones.

Intervals are from leaving out tenths of either set in turn (delete-a-group jackknife, Shao & Tu 1995, section 5.1). The
bootstrap would not do: a picture drawn twice is its own nearest neighbour. Shares get at least Wilson's interval, since
leaving out groups shows no spread where a share is 0 or 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.errors import UsageError
from betabloom.metrics.measure import Measure, interval, wilson
from betabloom.metrics.neighbours import distance_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["density_coverage", "precision_recall"]

GROUPS = 10


def precision_recall(real: Array, generated: Array, k: int = 3, seed: int = 0) -> tuple[Measure, Measure]:
    """Precision and recall of generated among real features, each in [0, 1].

    Arguments:
        real: (N, F), N > k.
        generated: (M, F), M > k.
        k: Which nearest neighbour a ball reaches to.
        seed: Of the groups that the intervals leave out.

    Returns:
        Precision and recall, with their 95 % intervals.
    """
    _check(real, generated, k)
    among_real = _balls(real, generated, k, seed)
    among_generated = _balls(generated, real, k, seed)
    return (
        _measure("precision", among_real.inside, real, generated, k, seed, len(generated)),
        _measure("recall", among_generated.inside, real, generated, k, seed, len(real)),
    )


def density_coverage(real: Array, generated: Array, k: int = 5, seed: int = 0) -> tuple[Measure, Measure]:
    """Density ≥ 0, about 1 where the sets are alike, and coverage in [0, 1].

    Arguments:
        real: (N, F), N > k.
        generated: (M, F), M > k.
        k: Which nearest neighbour a ball reaches to.
        seed: Of the groups that the intervals leave out.

    Returns:
        Density and coverage, with their 95 % intervals.
    """
    _check(real, generated, k)
    balls = _balls(real, generated, k, seed)
    return (
        _measure("density", balls.density, real, generated, k, seed),
        _measure("coverage", balls.coverage, real, generated, k, seed, len(real)),
    )


@dataclass(frozen=True)
class _Estimate:
    """A value, and what it would be without each group of the centres of the balls, and of the others."""

    value: float
    without_centres: Array
    without_others: Array


@dataclass(frozen=True)
class _Balls:
    inside: _Estimate
    density: _Estimate
    coverage: _Estimate


def _balls(centres: Array, others: Array, k: int, seed: int) -> _Balls:
    """How the `others` lie in the balls around the `centres`, with all of them and with each group left out."""
    rng = np.random.default_rng(seed)
    group, other_group = _groups(len(centres), rng), _groups(len(others), rng)
    radii = _radii(centres, k, group)  # (1 + G, N); 0 in row 1 + g for the members of g, whose balls are gone
    hits = np.zeros((1 + GROUPS, len(others)), np.int64)  # balls that hold each of the others
    nearest = np.full((GROUPS, len(centres)), np.inf, np.float32)  # of each group of the others, to each centre
    for rows, distances in distance_blocks(others, centres):
        for case in range(1 + GROUPS):
            hits[case, rows] = (distances <= radii[case]).sum(1)
        for g in np.unique(other_group[rows]):
            np.minimum(nearest[g], distances[other_group[rows] == g].min(0), out=nearest[g])
    return _Balls(
        _over_others(hits > 0, other_group, 1.0),
        _over_others(hits, other_group, 1.0 / k),
        _covered(nearest, radii, group),
    )


def _over_others(hits: Array, group: Array, scale: float) -> _Estimate:
    """The mean over the others of what their row of `hits` (1 + G, M) says."""
    without = np.array([hits[0, group != g].mean() for g in range(GROUPS)])
    return _Estimate(scale * float(hits[0].mean()), scale * hits[1:].mean(1), scale * without)


def _covered(nearest: Array, radii: Array, group: Array) -> _Estimate:
    """The share of balls that hold some of the others, from the `nearest` (G, N) of each group of these."""
    overall = nearest.min(0)
    fewer = [np.delete(nearest, g, 0).min(0) <= radii[0] for g in range(GROUPS)]
    without = [(overall <= radii[1 + g])[group != g].mean() for g in range(GROUPS)]
    return _Estimate(float((overall <= radii[0]).mean()), np.array(without), np.array([each.mean() for each in fewer]))


def _groups(n: int, rng: np.random.Generator) -> Array:
    """A group for each of n pictures, of equal sizes."""
    return rng.permutation(np.arange(n) % GROUPS)


def _radii(points: Array, k: int, group: Array) -> Array:
    """Squared distances to the k-th nearest neighbour, (1 + G, N): of all points, and without each group (−1 in it)."""
    n = len(points)
    radii = np.empty((1 + GROUPS, n), np.float32)
    for rows, distances in distance_blocks(points, points):
        distances[np.arange(len(distances)), np.arange(rows.start, rows.stop)] = np.inf
        kept = min(n - 1, 4 * k + 16)  # nearest neighbours that are kept: k of them are nearly always in other groups
        order = np.argpartition(distances, kept - 1, 1)[:, :kept]
        near = np.take_along_axis(distances, order, 1)
        radii[0, rows] = np.partition(near, k - 1, 1)[:, k - 1]
        for g in range(GROUPS):
            left = np.where(group[order] == g, np.inf, near)
            radii[1 + g, rows] = np.partition(left, k - 1, 1)[:, k - 1]
    radii[1 + group, np.arange(n)] = -1
    return radii


def _measure(
    name: str, estimate: _Estimate, real: Array, generated: Array, k: int, seed: int, counted: int = 0
) -> Measure:
    """A measure with its interval; of a share, with `counted` pictures, no narrower than Wilson's."""
    parts = (estimate.without_centres, estimate.without_others)
    error = math.sqrt(sum((GROUPS - 1) / GROUPS * np.square(part - part.mean()).sum() for part in parts))
    low, high = interval(estimate.value, error, GROUPS - 1)
    n = {"real": len(real), "generated": len(generated)}
    smaller = min(n.values())
    warning = "" if smaller >= 100 * k else f"{smaller:,} pictures are few for neighbourhoods of {k}"
    method = f"jackknife over {GROUPS} groups of each set"
    if counted:
        low_share, high_share = wilson(estimate.value, counted)
        low, high, method = (
            min(low, low_share),
            min(max(high, high_share), 1.0),
            f"{method}, or the Wilson interval where that is wider",
        )
    return Measure(name, estimate.value, max(low, 0.0), high, n, method, seed, warning)


def _check(real: Array, generated: Array, k: int) -> None:
    if real.ndim != 2 or generated.ndim != 2 or real.shape[1] != generated.shape[1]:
        raise UsageError(f"Features of shapes {real.shape} and {generated.shape} cannot be compared: (N, F), (M, F).")
    if k < 1 or min(len(real), len(generated)) <= k:
        raise UsageError(
            f"Neighbourhoods of {k} need more than {k} pictures on each side, not {len(real)} and {len(generated)}."
        )
