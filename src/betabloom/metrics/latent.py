"""The health of the codes: how many dimensions are used, and how far the codes of pictures are from the prior."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from betabloom.errors import UsageError
from betabloom.metrics.covariance import shrunk_covariance
from betabloom.metrics.measure import Measure, of_mean

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["active_units", "aggregate_gap", "gaussian_log_density", "spread"]


def active_units(means: np.ndarray, threshold: float = 0.01) -> int:
    """Count the latent dimensions whose posterior mean tells pictures apart: Var_x(μ_i(x)) > threshold.

    Burda, Grosse & Salakhutdinov 2015, https://arxiv.org/abs/1509.00519, section 5.2. A collapsed dimension has
    q(z_i|x) = p(z_i) for every picture, and variance 0.

    Arguments:
        means: Posterior means μ(x), shape (N, l).
        threshold: In squared units of the latents; 0.01 is customary.
    """
    return int((means.var(0) > threshold).sum())


def aggregate_gap(codes: np.ndarray, log_prior: Callable[[np.ndarray], np.ndarray], seed: int = 0) -> Measure:
    """How far codes of pictures are from the prior: a lower bound of KL(q(z) ‖ p(z)) in nats.

    The rate splits into mutual information and this gap, R = I(x; z) + KL(q(z) ‖ p(z)) (Hoffman & Johnson 2016,
    "ELBO surgery"). The gap is why pictures from the prior look worse than reconstructions: much of what the prior
    draws is not like any code that the decoder was trained on. Estimated as the mean of log g(z) − log p(z) over codes
    z that the Gaussian g was not fitted to, which is KL(q ‖ p) − KL(q ‖ g), a lower bound. (With the mixture of all N
    posteriors in place of g the mutual information could not come out above log N, some 8 nats, where rates are
    hundreds.)

    Arguments:
        codes: One sample of q(z|x) a picture, shape (N, l), N ≥ 4.
        log_prior: (M, l) → log p(z) in nats, shape (M,).
        seed: Of the halves: each is judged by a Gaussian fitted to the other.

    Returns:
        The gap in nats, with its 95 % interval.

    Raises:
        UsageError: There are fewer than 4 codes.
    """
    n, latents = codes.shape
    if n < 4:
        raise UsageError(f"At least 4 codes are needed, not {n}.")
    halves = np.array_split(np.random.default_rng(seed).permutation(n), 2)
    ratio = np.empty(n)
    for mine, other in (halves, halves[::-1]):
        ratio[mine] = gaussian_log_density(codes[other], codes[mine]) - log_prior(codes[mine])
    few = f"{n:,} codes are few for {latents} dimensions: the true gap is larger" if n < 8 * latents else ""
    return of_mean("aggregate_gap", ratio, few)


def gaussian_log_density(known: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Log-density at `codes` (M, l) of a Gaussian fitted to the `known` ones and l more that are uncorrelated."""
    mean, count, latents = known.mean(0), *known.shape
    factor = np.linalg.cholesky(shrunk_covariance(count * np.cov(known.T).reshape(latents, latents), count))
    white = np.linalg.solve(factor, (codes - mean).T)
    log_density: np.ndarray = (
        -0.5 * (np.square(white).sum(0) + latents * np.log(2 * np.pi)) - np.log(np.diag(factor)).sum()
    )
    return log_density


def spread(decoded: np.ndarray, real: np.ndarray) -> float:
    """How much decoded pictures differ among themselves, as a part of how much real ones do.

    The ratio of the root mean squares of deviations from the mean picture; about 1 for a perfect model, 0 when all are
    alike. 1 if the real ones are all alike. Both are of shape (N, …) in [0, 1].
    """
    ours, theirs = (math.sqrt(((x - x.mean(0)) ** 2).mean()) for x in (decoded, real))
    return ours / theirs if theirs > 0 else 1.0
