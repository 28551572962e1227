"""What codes say, without labels: rate of each dimension, information about pictures, correlation, similarity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.errors import UsageError
from betabloom.metrics.latent import gaussian_log_density
from betabloom.metrics.measure import Measure, of_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["mutual_information", "rate_per_dimension", "total_correlation", "udr"]

GROUPS = 20
INFORMATIVE = 0.01  # nats


def rate_per_dimension(mean: Array, log_var: Array) -> Array:
    """KL(N(μ, σ²) ‖ N(0, 1)) = ½ (μ² + σ² − 1 − log σ²) of every dimension, averaged over pictures, in nats, (l,).

    The rate of Kingma & Welling 2014, appendix B, https://arxiv.org/abs/1312.6114, for the standard normal prior.

    Arguments:
        mean: μ (N, l).
        log_var: log σ² (N, l).
    """
    mean, log_var = np.asarray(mean, np.float64), np.asarray(log_var, np.float64)
    return np.asarray(0.5 * (mean**2 + np.exp(log_var) - 1 - log_var).mean(0))


def mutual_information(mean: Array, log_var: Array, seed: int = 0) -> Measure:
    """An upper bound of I(x; z), of pictures and codes, in nats per image.

    I = E[log q(z|x)] − E[log q(z)] (Hoffman & Johnson 2016, "ELBO surgery"). q(z) is replaced by a Gaussian fitted to
    codes of other pictures, whose cross-entropy is not less than the entropy of q(z): the value is an upper bound,
    tight where codes are Gaussian. (The mixture of all N posteriors would hold it below log N.)

    Arguments:
        mean: μ (N, l), N ≥ 4.
        log_var: log σ² (N, l), finite.
        seed: Of one code a picture and of the halves, each judged by the Gaussian of the other.

    Returns:
        The bound in nats per image, with its 95 % interval.

    Raises:
        UsageError: There are fewer than 4 pictures, or the posteriors are not Gaussian.
    """
    n, latents = mean.shape
    if n < 4 or not np.isfinite(log_var).all():
        raise UsageError("Mutual information needs the Gaussian posteriors of at least 4 pictures.")
    rng = np.random.default_rng([seed, n])
    noise = rng.standard_normal(mean.shape)
    codes = mean + np.exp(0.5 * log_var) * noise
    own = -0.5 * (noise**2 + log_var + np.log(2 * np.pi)).sum(1)
    all_ = np.empty(n)
    halves = np.array_split(rng.permutation(n), 2)
    for mine, other in (halves, halves[::-1]):
        all_[mine] = gaussian_log_density(codes[other], codes[mine])
    few = f"{n:,} codes are few for {latents} dimensions: the true information is smaller" if n < 8 * latents else ""
    return of_mean("mutual_information", own - all_, few)


def total_correlation(codes: Array, seed: int = 0) -> Measure:
    """KL(q(z) ‖ Π_j q(z_j)) in nats, the Gaussian estimate −½ log det of the correlation matrix.

    It sees linear dependence only, and so is a lower bound where the single dimensions are Gaussian (Watanabe 1960).
    What a sample of independent codes shows on average, l (l − 1) / 4 (N − 1 − (2l + 5)/6) (Bartlett 1950), is taken
    off. The minibatch-weighted estimate that the total-correlation objective trains with is another number, and biased.

    Arguments:
        codes: One sample of q(z|x) a picture, (N, l), N > 2 l.
        seed: Of the groups of pictures that the interval leaves out.
    """
    n, latents = codes.shape
    if n <= 2 * latents:
        raise UsageError(f"Total correlation of {latents} dimensions needs more than {2 * latents} codes, not {n}.")
    from betabloom.metrics.measure import interval

    groups = np.random.default_rng([seed, n]).permutation(np.arange(n) % GROUPS)
    without = np.array([_gaussian_correlation(codes[groups != g]) for g in range(GROUPS)])
    value = _gaussian_correlation(codes)
    error = float(np.sqrt((GROUPS - 1) / GROUPS * np.square(without - without.mean()).sum()))
    low, high = interval(value, error, GROUPS - 1)
    return Measure("total_correlation", value, low, high, {"pictures": n}, f"jackknife over {GROUPS} groups", seed)


def _gaussian_correlation(codes: Array) -> float:
    codes = codes[:, codes.std(0) > 0]
    n, latents = codes.shape
    if latents < 2:
        return 0.0
    _, logdet = np.linalg.slogdet(np.corrcoef(codes.T) + 1e-9 * np.eye(latents))
    return float(-0.5 * logdet - latents * (latents - 1) / (4 * (n - 1 - (2 * latents + 5) / 6)))


def udr(codes: Sequence[Array], rates: Sequence[Array]) -> Array:
    """Unsupervised disentanglement ranking (UDR_S) of models that differ in their seed alone, each in [0, 1].

    Two models that found the same axes agree up to order and sign. With R_ab the absolute rank correlation of dimension
    a of one with b of the other, and dimensions with a rate above 0.01 nats counted,

        UDR = 1/(d + d') [Σ_b max_a R_ab² / Σ_a R_ab + Σ_a max_b R_ab² / Σ_b R_ab],

    and a model's score is the median over the others (Duan et al. 2020, section 4, https://arxiv.org/abs/1905.12614).

    Arguments:
        codes: Posterior means of the same pictures by each model, (N, l) each, two models or more.
        rates: Nats of each dimension of each model, (l,) each; see `rate_per_dimension`.

    Returns:
        One score a model.
    """
    if len(codes) < 2 or len(codes) != len(rates) or len({len(each) for each in codes}) > 1:
        raise UsageError("UDR needs the codes of the same pictures from at least two models, and the rates of each.")
    alive = [each[:, np.asarray(rate) > INFORMATIVE] for each, rate in zip(codes, rates, strict=True)]
    scores = np.array([[_likeness(a, b) for b in alive] for a in alive])
    others = scores[~np.eye(len(scores), dtype=bool)].reshape(len(scores), -1)
    return np.asarray(np.median(others, axis=1))


def _likeness(first: Array, second: Array) -> float:
    if not first.shape[1] or not second.shape[1]:
        return 0.0
    ranks = [np.argsort(np.argsort(each, axis=0), axis=0).astype(float) for each in (first, second)]
    centred = [(each - each.mean(0)) / np.where(each.std(0) > 0, each.std(0), 1) for each in ranks]
    r = np.abs(centred[0].T @ centred[1]) / len(first)
    columns = (r.max(0) ** 2 / np.maximum(r.sum(0), 1e-12)).sum()
    rows = (r.max(1) ** 2 / np.maximum(r.sum(1), 1e-12)).sum()
    return float((columns + rows) / sum(r.shape))
