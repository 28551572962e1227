r"""What training minimises.

    L = D + α(R) + β(t) · ρ(R)       in nats per image

with the distortion D = −E_q[log p(x|z)] and the rate R = KL(q(z|x) ‖ p(z)), both averaged over the batch. A
*regulariser* splits the rate's contribution into a part α that is paid once and a part ρ that is paid β times; β is
multiplied in exactly one place, `Objective.__call__`.

| regulariser | α | ρ | reference |
|---|---|---|---|
| `Elbo` | 0 | R | β-VAE, Higgins et al. 2017; β = 1 is −ELBO (Kingma & Welling 2013) |
| `Capacity` | 0 | abs(R − C(t)) | Burgess et al. 2018, https://arxiv.org/abs/1804.03599, equation 8 |
| `FreeBits` | 0 | Σ_i max(λ, R_i) | Kingma et al. 2016, https://arxiv.org/abs/1606.04934, equation 15 |
| `TotalCorrelation` | R − TC | TC | β-TCVAE, Chen et al. 2018, https://arxiv.org/abs/1802.04942, equation 4 |
| `MeanDiscrepancy` | 0 | MMD²(q(z) ‖ p(z)) | InfoVAE, Zhao et al. 2017, https://arxiv.org/abs/1706.02262, α = 1 |
| `JensenShannon` | 0 | JS of q(z|x) and p(z) | Deasy et al. 2020, https://arxiv.org/abs/2006.10599 |

A new one is a class like these and a row in `REGULARISERS`.

**Reductions.** D sums over pixels and channels, R over latents, and both are averaged over the batch. So L is an
average of bounds on −log p(x), comparable between batch sizes, and D and R keep the balance that the model gives them;
means over pixels or latents would change β with the size of pictures and codes. MMD² compares a batch of codes with the
prior, is at most 2 and has no unit: its β is a number of nats per image, some hundreds or thousands.

β > 1 is a looser bound on the likelihood, β < 1 is none. A number β means nothing without the size of the pictures and
codes: the normalised β_norm = β · l / N (l latents, N pixels × channels; Higgins et al. 2017, section 4.2, figure 6) is
reported with it. With a point posterior R = 0 and L = D is the loss of a plain auto-encoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from betabloom.config import guess
from betabloom.errors import UsageError
from betabloom.vae.other_divergences import geometric_jensen_shannon, mmd_to_standard_normal
from betabloom.vae.posterior import DiagonalNormal, Posterior
from betabloom.vae.prior import DiagonalGaussian, Prior, StandardNormal
from betabloom.vae.schedule import LinearSchedule

if TYPE_CHECKING:
    from betabloom.config import ObjectiveConfig
    from betabloom.vae.schedule import Schedule

__all__ = [
    "REGULARISERS", "Capacity", "Elbo", "FreeBits", "JensenShannon", "MeanDiscrepancy", "Objective", "Terms",
    "TotalCorrelation", "make_regulariser", "normalised_beta",
]  # fmt: skip


@dataclass(frozen=True)
class Terms:
    """The parts of the objective for one batch, one row per picture, in nats.

    Attributes:
        distortion: D(x) = −log p(x|z) at one z ~ q(z|x), shape (B,).
        rate: R(x) = KL(q(z|x) ‖ p(z)), shape (B,); 0 for a point posterior.
        rate_per_dimension: The marginals' share of it, shape (B, l), or None if the prior does not know it.
        floor: Smallest distortion any decoder could reach, shape (B,), or None if it is 0 or unknown.
        posterior: q(z|x).
        z: The sample, shape (B, l).
        prior: p(z), or None where it is of no matter.
    """

    distortion: Tensor
    rate: Tensor
    rate_per_dimension: Tensor | None
    floor: Tensor | None
    posterior: Posterior
    z: Tensor
    prior: Prior | None = None

    @property
    def elbo(self) -> Tensor:
        """−D − R, a one-sample estimate of the evidence lower bound, shape (B,)."""
        return -self.distortion - self.rate


Regulariser = Callable[[Terms, float], tuple[Tensor | float, Tensor]]
"""(terms, t) → (α, ρ), scalars in nats per image."""


@dataclass(frozen=True)
class Elbo:
    """ρ = R: the β-VAE, and with β = 1 the VAE."""

    def __call__(self, terms: Terms, t: float) -> tuple[Tensor | float, Tensor]:
        return 0.0, terms.rate.mean()


@dataclass(frozen=True)
class Capacity:
    """ρ = |R − C(t)|: the rate is held at a capacity C that grows during training; β takes the place of γ.

    Arguments:
        capacity: C(t) in nats per image, such as `LinearSchedule(0, 25, until=0.8)`.
    """

    capacity: Schedule

    def __call__(self, terms: Terms, t: float) -> tuple[Tensor | float, Tensor]:
        return 0.0, (terms.rate.mean() - self.capacity(t)).abs()


@dataclass(frozen=True)
class FreeBits:
    """ρ = Σ_i max(λ, mean R_i): nothing is gained by using less than λ nats in a dimension, so none collapses.

    Arguments:
        minimum: λ ≥ 0 in nats per dimension. λ = 0 is `Elbo`.
    """

    minimum: float

    def __call__(self, terms: Terms, t: float) -> tuple[Tensor | float, Tensor]:
        if terms.rate_per_dimension is None:
            raise UsageError("The free-bits objective needs a prior with a rate per dimension, such as 'standard'.")
        return 0.0, terms.rate_per_dimension.mean(0).clamp_min(self.minimum).sum()


@dataclass(frozen=True)
class TotalCorrelation:
    """α = R − TC and ρ = TC = KL(q(z) ‖ Π_i q(z_i)): only the dependence between latents is weighted by β.

    The densities of the aggregate posterior q(z) are estimated from the batch: with N training pictures and a batch
    of B, the picture's own posterior has weight 1/N and each of the others (N − 1) / (N (B − 1)), which is unbiased
    for q(z) over random batches and exact when the batch is the whole data set (stratified estimate, Chen et al.
    2018, appendix C).

    Arguments:
        images: Number N of training pictures.
    """

    images: int

    def __call__(self, terms: Terms, t: float) -> tuple[Tensor | float, Tensor]:
        if not isinstance(terms.posterior, DiagonalNormal):
            raise UsageError("The total-correlation objective needs a Gaussian posterior (model.posterior=normal).")
        joint, marginals = aggregate_log_density(terms.posterior, terms.z, self.images)
        total_correlation = (joint - marginals.sum(1)).mean()
        return terms.rate.mean() - total_correlation, total_correlation


def aggregate_log_density(posterior: DiagonalNormal, z: Tensor, images: int) -> tuple[Tensor, Tensor]:
    """Log q(z), shape (B,), and log q(z_i), shape (B, l), of the aggregate posterior at the batch's own samples z."""
    batch = len(z)
    if batch < 2 or images < batch:
        raise UsageError(f"Total correlation needs 2 ≤ batch ≤ training pictures, not {batch} and {images}.")
    pairs = DiagonalNormal(posterior.mean[None], posterior.log_var[None]).log_prob_per_dimension(z[:, None])
    log_weight = torch.full((batch, batch), math.log((images - 1) / (images * (batch - 1))), device=z.device)
    log_weight.fill_diagonal_(-math.log(images))
    return torch.logsumexp(pairs.sum(2) + log_weight, 1), torch.logsumexp(pairs + log_weight[:, :, None], 1)


@dataclass(frozen=True)
class MeanDiscrepancy:
    """ρ = MMD²(q(z) ‖ N(0, I)): the codes of a batch together follow the prior, those of one picture need not.

    InfoVAE with α = 1 and λ = β: codes may tell as much of a picture as they like, whatever the decoder can do.
    """

    def __call__(self, terms: Terms, t: float) -> tuple[Tensor | float, Tensor]:
        if not isinstance(terms.prior, StandardNormal):
            raise UsageError("The mmd objective compares codes with N(0, I): it needs the prior 'standard'.")
        return 0.0, mmd_to_standard_normal(terms.z)


@dataclass(frozen=True)
class JensenShannon:
    """ρ = the geometric Jensen–Shannon divergence of q(z|x) and p(z), summed over latents.

    Arguments:
        skew: a in [0, 1]: 0 is the rate KL(q ‖ p), 1 is KL(p ‖ q).
    """

    skew: float = 0.5

    def __call__(self, terms: Terms, t: float) -> tuple[Tensor | float, Tensor]:
        q, p = terms.posterior, terms.prior
        if not isinstance(q, DiagonalNormal) or not isinstance(p, DiagonalGaussian):
            raise UsageError(
                "The jensen-shannon objective needs the posterior 'normal' and the prior 'standard' or 'normal'."
            )
        return 0.0, geometric_jensen_shannon(q.mean, q.log_var, p.mean, p.log_var, self.skew).sum(1).mean()


def _total_correlation(settings: ObjectiveConfig, images: int) -> Regulariser:
    if not images:
        raise UsageError(
            "The total-correlation objective needs the number of pictures, which is not known for a stream."
        )
    return TotalCorrelation(images)


REGULARISERS: dict[str, Callable[[ObjectiveConfig, int], Regulariser]] = {
    "elbo": lambda settings, images: Elbo(),
    "capacity": lambda settings, images: Capacity(LinearSchedule(0.0, settings.capacity, until=0.8)),
    "free-bits": lambda settings, images: FreeBits(settings.free_bits),
    "total-correlation": _total_correlation,
    "mmd": lambda settings, images: MeanDiscrepancy(),
    "jensen-shannon": lambda settings, images: JensenShannon(settings.skew),
}
"""The regularisers by the names that settings use: (settings, number of training pictures or 0) → one."""


def make_regulariser(settings: ObjectiveConfig, images: int) -> Regulariser:
    """The regulariser that the settings name; `images`: the number of training pictures, 0 if nobody knows."""
    if settings.regulariser not in REGULARISERS:
        near = guess(settings.regulariser, REGULARISERS)
        known = ", ".join(REGULARISERS)
        raise UsageError(f"Unknown regulariser {settings.regulariser!r}.{near} Choose one of: {known}.")
    return REGULARISERS[settings.regulariser](settings, images)


@dataclass(frozen=True)
class Objective:
    """L = D + α + β(t)·ρ.

    Arguments:
        beta: β(t) ≥ 0.
        regulariser: How the rate enters, `Elbo()` by default.
    """

    beta: Schedule
    regulariser: Regulariser = Elbo()

    def __call__(self, terms: Terms, t: float = 1.0) -> Tensor:
        """Return the loss of a batch at progress t ∈ [0, 1]: a scalar in nats per image."""
        once, weighted = self.regulariser(terms, t)
        return terms.distortion.mean() + once + self.beta(t) * weighted


def normalised_beta(beta: float, latents: int, shape: tuple[int, int, int]) -> float:
    """β_norm = β · l / (C·H·W), comparable between picture sizes and numbers of latents.

    Arguments:
        beta: β ≥ 0.
        latents: Number of latent dimensions l.
        shape: Of the pictures, (C, H, W).

    Returns:
        β_norm.
    """
    return beta * latents / math.prod(shape)
