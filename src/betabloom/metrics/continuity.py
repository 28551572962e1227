r"""Continuity and completeness of a latent space, without labels: what the regulariser of a VAE is there for.

Continuity: codes that are close decode to pictures that are close (decoder), and pictures that are close have codes
that are close (encoder). Completeness: codes from everywhere under the prior decode to plausible pictures.

Continuity is a Lipschitz-like ratio without a unit, since changes are compared with those between random pairs: a
linear encoder or decoder has exactly 1 in each measure, whatever its scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.errors import UsageError
from betabloom.metrics.manifold import density_coverage, precision_recall
from betabloom.metrics.measure import Measure, of_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["completeness", "decoder_continuity", "encoder_continuity"]

SHARE = 0.05  # of the way to another picture, that a picture is moved


def decoder_continuity(
    decode: Callable[[Array], Array], codes: Array, pairs: int = 64, steps: int = 10, seed: int = 0
) -> tuple[Measure, Measure]:
    r"""How evenly and directly pictures change on the way from one code to another.

    On the straight line from z to z' in K steps, with c_t = ‖x_{t+1} − x_t‖ the change of the decoded picture:

        jump = max_t c_t / mean_t c_t ∈ [1, K]         path = Σ_t c_t / ‖x_K − x_0‖ ≥ 1

    A jump of K says that the whole change happens in one step; a path of 2 that pictures change twice as much on the
    way as the ends differ.

    Arguments:
        decode: Codes (M, l) → pictures (M, …), of any scale.
        codes: Where to go: codes of pictures or from the prior, (N, l), N ≥ 2.
        pairs: How many lines.
        steps: K, the steps of each.
        seed: Which codes are the ends.

    Returns:
        The mean jump and the mean path over lines whose ends differ.

    Raises:
        UsageError: There are fewer than 2 codes, or all decode to the same picture.
    """
    rows, others = _pairs(len(codes), pairs, seed)
    t = np.linspace(0, 1, steps + 1)[None, :, None]
    line = codes[rows, None] * (1 - t) + codes[others, None] * t
    pictures = np.asarray(decode(line.reshape(-1, codes.shape[1]).astype(np.float32)), np.float32)
    pictures = pictures.reshape(len(rows), steps + 1, -1)
    changes = np.linalg.norm(np.diff(pictures, axis=1), axis=2)
    direct = np.linalg.norm(pictures[:, -1] - pictures[:, 0], axis=1)
    apart = direct > 0
    if not apart.any():
        raise UsageError("All codes decode to the same picture: there is no change to measure.")
    jump = changes[apart].max(1) / changes[apart].mean(1)
    path = changes[apart].sum(1) / direct[apart]
    return of_mean("decoder_jump", jump), of_mean("decoder_path", path)


def encoder_continuity(
    encode: Callable[[Array], Array], pictures: Array, pairs: int = 64, share: float = SHARE, seed: int = 0
) -> Measure:
    r"""How much codes change where pictures change little, compared with the change between random pairs.

    With x̃ = x + a (x' − x) a picture a small part a of the way to another:

        stretch = ‖z(x̃) − z(x)‖ / (a ‖z(x') − z(x)‖)

    averaged over pairs. 1 for a linear encoder; above 1 codes change faster near a picture than in all.

    Arguments:
        encode: Pictures of the shape and type of `pictures` → codes (M, l).
        pictures: (N, …), N ≥ 2, uint8 or float.
        pairs: How many pictures, each with another.
        share: a ∈ (0, 1).
        seed: Which pictures.

    Returns:
        The mean stretch.

    Raises:
        UsageError: There are fewer than 2 pictures, or all have the same code.
    """
    rows, others = _pairs(len(pictures), pairs, seed)
    x, far = np.asarray(pictures[rows], np.float64), np.asarray(pictures[others], np.float64)
    near = x + share * (far - x)
    if pictures.dtype == np.uint8:
        near = np.round(near)
    codes = [np.asarray(encode(each.astype(pictures.dtype)), np.float64) for each in (x, near, far)]
    moved, away = (np.linalg.norm(each - codes[0], axis=1) for each in codes[1:])
    apart = away > 0
    if not apart.any():
        raise UsageError("All pictures have the same code: there is no change to measure.")
    return of_mean("encoder_stretch", moved[apart] / (share * away[apart]))


def completeness(real: Array, generated: Array, k: int = 5, seed: int = 0) -> tuple[Measure, Measure]:
    """Whether codes from the prior decode to plausible pictures, and to all kinds of them.

    Arguments:
        real: Features of real pictures, (N, F).
        generated: Features of pictures decoded from codes that are drawn from the prior, (M, F).
        k: Neighbours that a picture's surroundings reach to.
        seed: Of the intervals.

    Returns:
        Coverage ∈ [0, 1], the share of real pictures with a decoded one in their surroundings (Naeem et al. 2020), best
        1; and the off-manifold rate ∈ [0, 1], the share of decoded pictures in nobody's surroundings, best 0: 1 −
        precision (Kynkäänniemi et al. 2019). Held-out real pictures give the values to compare with.
    """
    coverage = density_coverage(real, generated, k, seed)[1]
    precision = precision_recall(real, generated, k, seed)[0]
    off = Measure(
        "off_manifold", 1 - precision.value, 1 - precision.high, 1 - precision.low, precision.n, precision.method, seed,
        precision.warning,
    )  # fmt: skip
    return coverage, off


def _pairs(n: int, pairs: int, seed: int) -> tuple[Array, Array]:
    """Rows, and for each another one."""
    if n < 2:
        raise UsageError(f"At least 2 are needed, not {n}.")
    rng = np.random.default_rng([seed, n])
    rows = rng.integers(n, size=pairs)
    return rows, (rows + rng.integers(1, n, size=pairs)) % n
