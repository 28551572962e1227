r"""The posterior q(z|x): what the encoder believes about the code of a picture.

An encoder maps every picture x to the parameters of a distribution over codes z in R^l. They are outputs of the
network, different for every picture, never weights. The usual choice is a diagonal Gaussian,

    q(z|x) = N(μ(x), diag σ²(x)),      z = μ + σ ⊙ ε,   ε ~ N(0, I)      (reparametrisation)

(Kingma & Welling 2013, https://arxiv.org/abs/1312.6114, section 2.4). The encoder's second head is the
**log-variance** log σ², written `log_var` everywhere. A plain auto-encoder is the same thing with a point in place of
the distribution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DiagonalNormal", "Point", "Posterior", "normal_log_density"]

LOG_2PI = math.log(2 * math.pi)


def normal_log_density(z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Log-density of N(mean, exp(log_var)) at z, element by element (broadcasting), in nats."""
    return -0.5 * (LOG_2PI + log_var + (z - mean).square() * torch.exp(-log_var))


@dataclass(frozen=True)
class DiagonalNormal:
    """q(z|x) = N(μ, diag σ²), one row per picture.

    Attributes:
        mean: μ, shape (B, l).
        log_var: log σ², shape (B, l).
    """

    mean: Tensor
    log_var: Tensor

    @property
    def std(self) -> Tensor:
        """σ = exp(½ log σ²), shape (B, l)."""
        return torch.exp(0.5 * self.log_var)

    def sample(self, noise: Tensor) -> Tensor:
        """z = μ + σ ⊙ ε for standard normal `noise` ε of shape (B, l)."""
        return self.mean + self.std * noise

    def log_prob_per_dimension(self, z: Tensor) -> Tensor:
        """Log q(z_i|x) in nats, shape (B, l)."""
        return normal_log_density(z, self.mean, self.log_var)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log q(z|x) in nats, shape (B,)."""
        return self.log_prob_per_dimension(z).sum(1)


@dataclass(frozen=True)
class Point:
    """All mass on one code, z = μ(x): the posterior of a plain auto-encoder.

    It has no density, so the rate KL(q‖p) is not defined; the model reports it as 0 and nothing pulls the codes
    towards the prior.

    Attributes:
        mean: μ, shape (B, l).
    """

    mean: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """z = μ, whatever the noise."""
        return self.mean


Posterior = DiagonalNormal | Point
