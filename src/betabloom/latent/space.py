r"""Where the codes of a model lie: their mean, how they vary together, and what each dimension tells of a picture.

Codes that the model's sampler draws have a mean m̄ and a covariance C = L Lᵀ. *Whitened* codes w = L⁻¹(z − m̄) vary by 1
in every direction and independently, so that a step of length t along any direction makes a code ½t² nats less likely
under the Gaussian that the codes resemble: steps in different directions are comparable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from betabloom.model.generator import Generator

__all__ = ["FEW_DRAWN", "Space", "code_space", "dimension_rates"]

DRAWN, DRAWN_SEED = 1024, 19  # codes that a space is measured on
FEW_DRAWN = 256  # where only means and spreads are asked for
TINY = 1e-8


@dataclass(frozen=True)
class Space:
    """The mean and covariance of a model's codes.

    Attributes:
        codes: Codes that the model's sampler draws, (M, l).
        mean: m̄, (l,).
        factor: L, the lower Cholesky factor of their covariance, (l, l).
    """

    codes: np.ndarray
    mean: np.ndarray
    factor: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray) -> Space:
        """The space of these codes (M, l), as if l more had been seen that vary independently."""
        count, latents = codes.shape
        mean = codes.mean(0, dtype=np.float64)
        covariance = np.cov(codes.T, dtype=np.float64).reshape(latents, latents)
        diagonal = np.diag(np.diag(covariance) + TINY)
        return cls(codes, mean, np.linalg.cholesky((count * covariance + latents * diagonal) / (count + latents)))

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation of the codes in each dimension, (l,)."""
        spread: np.ndarray = np.sqrt(np.square(self.factor).sum(1))
        return spread

    def whiten(self, codes: np.ndarray) -> np.ndarray:
        """W = L⁻¹(z − m̄), (N, l)."""
        white: np.ndarray = np.linalg.solve(self.factor, (codes - self.mean).T).T
        return white

    def unwhiten(self, white: np.ndarray) -> np.ndarray:
        """Z = m̄ + L w, float32 (N, l)."""
        codes: np.ndarray = (self.mean + white @ self.factor.T).astype(np.float32)
        return codes


def code_space(model: Generator, drawn: int = DRAWN) -> Space:
    """The space of the codes that the model's own sampler draws.

    Arguments:
        model: The model.
        drawn: How many. Some hundred do for means and spreads; the covariance of many dimensions needs more.
    """
    return Space.of(model.draw(drawn, DRAWN_SEED))


def dimension_rates(mean: np.ndarray, log_var: np.ndarray) -> np.ndarray:
    """What each dimension tells of a picture, in nats, (l,): R_i = ½ mean over pictures of log(s_i² / σ_i²).

    s_i² = Var μ_i + mean σ_i² is the variance of the codes, so that R_i is the rate of dimension i where the prior has
    the codes' own mean and variance. Dimensions of a point posterior tell infinitely much; they are ordered by s_i.

    Arguments:
        mean: Posterior means μ, (N, l).
        log_var: Log-variances log σ² of these pictures or of others, (M, l); −inf for a point posterior.
    """
    variance = np.exp(log_var, dtype=np.float64)
    total: np.ndarray = mean.var(0, dtype=np.float64) + variance.mean(0)
    if not np.isfinite(log_var).all():
        return total
    rates: np.ndarray = 0.5 * (np.log(total + TINY) - log_var.mean(0))
    return rates
