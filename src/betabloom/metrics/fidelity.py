r"""How similar generated pictures are to real ones: distances between two sets of features.

Features are arrays (N, F), one row a picture, from `betabloom.metrics.extractors`; x are real, y generated.

| measured | says | source |
|---|---|---|
| Fréchet distance | how far apart two Gaussians fitted to x and y are; 0 is equal | Heusel et al. 2017 [1] |
| kernel distance | squared maximum mean discrepancy; unbiased, may be negative | Bińkowski et al. 2018 [2] |

Intervals are for other samples of the same sizes. They are not from the bootstrap: pictures drawn twice leave fewer
different ones for a covariance, so that bootstrap distances are far too large.

[1] https://arxiv.org/abs/1706.08500  [2] https://arxiv.org/abs/1801.01401
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.errors import UsageError
from betabloom.metrics.measure import Measure, interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["frechet_distance", "kernel_distance"]

BLOCK = 1024  # rows of a matrix of pairs that are in memory at once
RANK = 1e-9  # singular values below this share of the largest are directions that the sample does not have


def frechet_distance(real: Array, generated: Array) -> Measure:
    r"""‖m − m'‖² + Tr(C + C' − 2 (C C')^½), of the means m and covariances C of features (N, F) and (M, F).

    With C = A'A and C' = B'B for any factors A, B, Tr (C C')^½ is the sum of the singular values of AB' = U S V', and
    needs no root of a matrix that is not symmetric. A and B are triangular, F × F, or the centred features themselves
    where there are fewer of those.

    The interval is from the first-order change of the distance with the weight of each picture (infinitesimal
    jackknife): with the map T = A' U S⁻¹ U' A that carries one Gaussian to the other, picture y counts
    2 (m' − m)·(y − m') + (y − m')' (I − T) (y − m'), and likewise x. It does not contain the bias, which is upwards,
    about as 1/N, and outweighs everything when the sets are almost alike: compare values of equal sample sizes only.
    """
    x, y = _checked(real, generated)
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = x - mean_x, y - mean_y
    a, b = _factor(x), _factor(y)
    u, s, vt = np.linalg.svd(a @ b.T, full_matrices=False)
    shift = mean_y - mean_x
    value = float(shift @ shift + np.square(a).sum() + np.square(b).sum() - 2 * s.sum())
    keep = s > RANK * s.max(initial=0.0)
    root = np.sqrt(s[keep])
    weight_y = 2 * (y @ shift) + np.square(y).sum(1) - np.square(y @ (a.T @ (u[:, keep] / root))).sum(1)
    weight_x = -2 * (x @ shift) + np.square(x).sum(1) - np.square(x @ (b.T @ (vt[keep].T / root))).sum(1)
    low, high = interval(value, math.sqrt(weight_x.var(ddof=1) / len(x) + weight_y.var(ddof=1) / len(y)))
    smaller = min(len(x), len(y))
    warning = ""
    if smaller <= x.shape[1]:
        warning = (
            f"{smaller:,} pictures cannot fill {x.shape[1]:,} features: the distance is much too "
            "large; compare it only with distances of as many pictures"
        )
    n = {"real": len(x), "generated": len(y)}
    return Measure(
        "frechet_distance", max(value, 0.0), max(low, 0.0), high, n, "infinitesimal jackknife", None, warning
    )


def _factor(centred: Array) -> Array:
    """A with A'A = the covariance of the centred rows (N, F): at most F rows."""
    scaled = centred / math.sqrt(len(centred) - 1)
    return np.asarray(np.linalg.qr(scaled, mode="r")) if len(scaled) > scaled.shape[1] else scaled


def kernel_distance(real: Array, generated: Array) -> Measure:
    """Unbiased squared MMD with the kernel k(a, b) = (a·b / F + 1)³, over all pairs of features (N, F) and (M, F).

    mean k(x, x') − 2 mean k(x, y) + mean k(y, y') over different pictures. The interval is from leaving out each
    picture in turn (jackknife), which for means over pairs follows from the sums of rows, and is a little wide.
    """
    x, y = _checked(real, generated)
    n, m = len(x), len(y)
    xy, yx = _kernel_sums(x, y)
    xx, yy = _kernel_sums(x, x)[0] - _kernel_self(x), _kernel_sums(y, y)[0] - _kernel_self(y)
    cross = xy.sum() / (n * m)
    within_x, within_y = xx.sum() / (n * (n - 1)), yy.sum() / (m * (m - 1))
    value = float(within_x - 2 * cross + within_y)
    without_x = _without(xx, xy, m) + within_y
    without_y = _without(yy, yx, n) + within_x
    error = math.sqrt(sum((len(v) - 1) / len(v) * np.square(v - v.mean()).sum() for v in (without_x, without_y)))
    low, high = interval(value, error)
    warning = "" if min(n, m) >= 100 else f"{min(n, m)} pictures are few to estimate a distance between distributions"
    return Measure("kernel_distance", value, low, high, {"real": n, "generated": m}, "jackknife", None, warning)


def _without(own: Array, cross: Array, others: int) -> Array:
    """Mean own-pair kernel minus twice the mean cross kernel, with each picture in turn left out, from sums of rows."""
    n = len(own)
    pairs = max((n - 1) * (n - 2), 1)
    without: Array = (own.sum() - 2 * own) / pairs - 2 * (cross.sum() - cross) / ((n - 1) * others)
    return without


def _kernel_sums(a: Array, b: Array) -> tuple[Array, Array]:
    """Σ_j k(a_i, b_j) for each i, and Σ_i k(a_i, b_j) for each j, in blocks."""
    over_b, over_a = np.empty(len(a)), np.zeros(len(b))
    for first in range(0, len(a), BLOCK):
        rows = slice(first, first + BLOCK)
        kernel = a[rows] @ b.T / a.shape[1] + 1
        kernel *= kernel * kernel
        over_b[rows] = kernel.sum(1)
        over_a += kernel.sum(0)
    return over_b, over_a


def _kernel_self(a: Array) -> Array:
    own: Array = (np.square(a).sum(1) / a.shape[1] + 1) ** 3
    return own


def _checked(real: Array, generated: Array) -> tuple[Array, Array]:
    """Both sets of features as float64, if they can be compared."""
    if real.ndim != 2 or generated.ndim != 2 or real.shape[1] != generated.shape[1]:
        raise UsageError(f"Features of shapes {real.shape} and {generated.shape} cannot be compared: (N, F), (M, F).")
    if min(len(real), len(generated)) < 3:
        raise UsageError(f"At least 3 pictures on each side are needed, not {len(real)} and {len(generated)}.")
    if not (np.isfinite(real).all() and np.isfinite(generated).all()):
        raise UsageError("The features contain NaN or infinite values.")
    return np.asarray(real, np.float64), np.asarray(generated, np.float64)
