r"""The posterior q(z|x): what the encoder believes about the code of a picture.

An encoder maps every picture x to the parameters of a distribution over codes z in R^l. They are outputs of the
network, different for every picture, never weights. The usual choice is a diagonal Gaussian,

    q(z|x) = N(μ(x), diag σ²(x)),      z = μ + σ ⊙ ε,   ε ~ N(0, I)      (reparametrisation)

(Kingma & Welling 2013, https://arxiv.org/abs/1312.6114, section 2.4). A posterior says with which *heads* of l or more
outputs an encoder tells its parameters. Two of them every posterior has: μ, and the **log-variance** log σ², written
`log_var` everywhere.

| name | class | q(z|x) | further heads |
|---|---|---|---|
| `normal` | `DiagonalNormal` | N(μ, diag σ²) | |
| `full` | `FullNormal` | N(μ, L Lᵀ), L lower triangular | l (l − 1) / 2 |
| `low-rank` | `LowRankNormal` | N(μ, diag σ² + V Vᵀ), V of r columns | l · r |
| `point` | `Point` | all mass on μ: a plain auto-encoder | |

Covariances of both kinds: Rezende, Mohamed & Wierstra 2014, https://arxiv.org/abs/1401.4082, section 4.3.

A new one is a subclass of `Posterior` and a row in `POSTERIORS`. Nothing here loads torch before it is used.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

from betabloom.errors import UsageError

__all__ = [
    "POSTERIORS", "DiagonalNormal", "FullNormal", "LowRankNormal", "Point", "Posterior", "normal_log_density",
]  # fmt: skip

LOG_2PI = math.log(2 * math.pi)
LOG_VAR_LIMIT = 20.0  # σ between e^−10 and e^10: far outside what is ever useful, well inside float32
RANK = 8  # columns of V, at most l


def normal_log_density(z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Log-density of N(mean, exp(log_var)) at z, element by element (broadcasting), in nats."""
    return -0.5 * (LOG_2PI + log_var + (z - mean).square() * (-log_var).exp())


class Posterior(abc.ABC):
    """Abstract posterior q(z|x), one row per picture.

    Attributes:
        mean: μ, shape (B, l).
        log_var: Logarithm of the variance of each z_i by itself, shape (B, l).
        has_density: Whether it has one, so that KL(q‖p) is defined.
    """

    mean: Tensor
    log_var: Tensor
    has_density: ClassVar[bool] = True

    @classmethod
    def heads(cls, latents: int) -> dict[str, int]:
        """Outputs of each head of the encoder by its name, in order; first `mean` and `log_var`."""
        return {"mean": latents, "log_var": latents}

    @classmethod
    @abc.abstractmethod
    def of(cls, mean: Tensor, log_var: Tensor, *others: Tensor) -> Posterior:
        """Make it from what the heads say, each (B, outputs).

        Arguments:
            mean: μ.
            log_var: log σ².
            others: What further heads say, in the order of `heads`.

        Returns:
            The posteriors of B pictures.
        """

    @abc.abstractmethod
    def sample(self, noise: Tensor) -> Tensor:
        """z ~ q(z|x), shape (B, l), from standard normal `noise` of shape (B, l), with gradients (reparametrised)."""

    @abc.abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Log q(z|x) in nats, shape (B,)."""

    @abc.abstractmethod
    def dependence(self) -> Tensor | float:
        """Total correlation KL(q(z|x) ‖ Π_i q(z_i|x)) = ½ (Σ_i log Σ_ii − log det Σ) in nats, shape (B,)."""

    @property
    def std(self) -> Tensor:
        """Standard deviation of each z_i by itself, shape (B, l)."""
        return (0.5 * self.log_var).exp()

    def log_prob_per_dimension(self, z: Tensor) -> Tensor:
        """Log q(z_i|x) of each z_i by itself in nats, shape (B, l)."""
        return normal_log_density(z, self.mean, self.log_var)


@dataclass(frozen=True)
class DiagonalNormal(Posterior):
    """q(z|x) = N(μ, diag σ²), one row per picture.

    Attributes:
        mean: μ, shape (B, l).
        log_var: log σ², shape (B, l).
    """

    mean: Tensor
    log_var: Tensor

    @classmethod
    def of(cls, mean: Tensor, log_var: Tensor, *others: Tensor) -> DiagonalNormal:
        return cls(mean, log_var.clamp(-LOG_VAR_LIMIT, LOG_VAR_LIMIT))

    def sample(self, noise: Tensor) -> Tensor:
        """z = μ + σ ⊙ ε for standard normal `noise` ε of shape (B, l)."""
        return self.mean + self.std * noise

    def log_prob(self, z: Tensor) -> Tensor:
        return self.log_prob_per_dimension(z).sum(1)

    def dependence(self) -> float:
        """0: the dimensions are independent."""
        return 0.0


@dataclass(frozen=True)
class FullNormal(Posterior):
    """q(z|x) = N(μ, Σ) with Σ = L Lᵀ: z = μ + L ε.

    For few latents: the head of L has l (l − 1) / 2 outputs.

    Attributes:
        mean: μ, shape (B, l).
        factor: L, lower triangular with positive diagonal, shape (B, l, l).
    """

    mean: Tensor
    factor: Tensor

    @classmethod
    def heads(cls, latents: int) -> dict[str, int]:
        return {"mean": latents, "log_var": latents, "lower": latents * (latents - 1) // 2}

    @classmethod
    def of(cls, mean: Tensor, log_var: Tensor, *others: Tensor) -> FullNormal:
        """L_ii = σ_i, and below the diagonal what the third head says, divided by √l."""
        import torch

        latents = mean.shape[1]
        rows, columns = torch.tril_indices(latents, latents, -1, device=mean.device)
        factor = torch.diag_embed((0.5 * log_var.clamp(-LOG_VAR_LIMIT, LOG_VAR_LIMIT)).exp())
        below = torch.zeros_like(factor)
        below[:, rows, columns] = others[0] / math.sqrt(latents)
        return cls(mean, factor + below)

    @property
    def log_var(self) -> Tensor:  # type: ignore[override]
        """log Σ_ii = log Σ_j L_ij², shape (B, l)."""
        return self.factor.square().sum(2).log()

    def sample(self, noise: Tensor) -> Tensor:
        return self.mean + (self.factor * noise[:, None]).sum(2)

    def log_prob(self, z: Tensor) -> Tensor:
        import torch

        white = torch.linalg.solve_triangular(self.factor, (z - self.mean)[:, :, None], upper=False)[:, :, 0]
        log_prob: Tensor = -0.5 * ((white.square() + LOG_2PI).sum(1) + self._log_det())
        return log_prob

    def dependence(self) -> Tensor:
        return 0.5 * (self.log_var.sum(1) - self._log_det())

    def _log_det(self) -> Tensor:
        return 2 * self.factor.diagonal(dim1=1, dim2=2).log().sum(1)


@dataclass(frozen=True)
class LowRankNormal(Posterior):
    """q(z|x) = N(μ, diag σ² + V Vᵀ): independent noise, and r directions in which dimensions move together.

    With U = V / σ and the Cholesky factor C Cᵀ = I + Uᵀ U (r×r), z = μ + σ ⊙ (ε + U (I + C)⁻¹ Uᵀ ε) has covariance
    diag σ² + V Vᵀ, so that as much noise is needed as for a diagonal one.

    Attributes:
        mean: μ, shape (B, l).
        scale: σ, shape (B, l).
        directions: U = V / σ, shape (B, l, r).
        factor: C, shape (B, r, r).
    """

    mean: Tensor
    scale: Tensor
    directions: Tensor
    factor: Tensor

    @classmethod
    def heads(cls, latents: int) -> dict[str, int]:
        return {"mean": latents, "log_var": latents, "low_rank": latents * min(RANK, latents)}

    @classmethod
    def of(cls, mean: Tensor, log_var: Tensor, *others: Tensor) -> LowRankNormal:
        """U is what the third head says, divided by √r."""
        import torch

        rank = others[0].shape[1] // mean.shape[1]
        u = others[0].view(-1, mean.shape[1], rank) / math.sqrt(rank)
        scale = (0.5 * log_var.clamp(-LOG_VAR_LIMIT, LOG_VAR_LIMIT)).exp()
        with torch.autocast(mean.device.type, enabled=False):
            square = u.mT @ u + torch.eye(rank, device=u.device)
        return cls(mean, scale, u, torch.linalg.cholesky_ex(square).L)

    @property
    def log_var(self) -> Tensor:  # type: ignore[override]
        """log (σ_i² + Σ_j V_ij²), shape (B, l)."""
        return 2 * self.scale.log() + (1 + self.directions.square().sum(2)).log()

    def sample(self, noise: Tensor) -> Tensor:
        import torch

        one = torch.eye(self.factor.shape[1], device=noise.device)
        along = torch.linalg.solve_triangular(self.factor + one, self._along(noise), upper=False)
        z: Tensor = self.mean + self.scale * (noise + (self.directions * along.mT).sum(2))
        return z

    def log_prob(self, z: Tensor) -> Tensor:
        """By the identities of Woodbury and Sylvester, so that only r×r matrices are inverted."""
        import torch

        white = (z - self.mean) / self.scale
        inside = torch.linalg.solve_triangular(self.factor, self._along(white), upper=False)
        distance = white.square().sum(1) - inside.square().sum((1, 2))
        log_prob: Tensor = -0.5 * (distance + LOG_2PI * z.shape[1] + self._log_det())
        return log_prob

    def dependence(self) -> Tensor:
        return 0.5 * (self.log_var.sum(1) - self._log_det())

    def _along(self, x: Tensor) -> Tensor:
        """Uᵀ x, shape (B, r, 1)."""
        return (self.directions * x[:, :, None]).sum(1)[:, :, None]

    def _log_det(self) -> Tensor:
        return 2 * self.scale.log().sum(1) + 2 * self.factor.diagonal(dim1=1, dim2=2).log().sum(1)


@dataclass(frozen=True)
class Point(Posterior):
    """All mass on one code, z = μ(x): the posterior of a plain auto-encoder.

    It has no density, so the rate KL(q‖p) is not defined; the model reports it as 0 and nothing pulls the codes
    towards the prior.

    Attributes:
        mean: μ, shape (B, l).
    """

    mean: Tensor
    has_density: ClassVar[bool] = False

    @classmethod
    def of(cls, mean: Tensor, log_var: Tensor, *others: Tensor) -> Point:
        return cls(mean)

    @property
    def log_var(self) -> Tensor:  # type: ignore[override]
        """−inf."""
        return self.mean.new_full(self.mean.shape, -math.inf)

    def sample(self, noise: Tensor) -> Tensor:
        """z = μ, whatever the noise."""
        return self.mean

    def log_prob(self, z: Tensor) -> Tensor:
        """Refused: all of q lies in one point."""
        raise UsageError("A point posterior has no density. Choose another with --set posterior=normal")

    def dependence(self) -> float:
        """Not defined; counted as 0."""
        return 0.0


POSTERIORS: dict[str, type[Posterior]] = {
    "normal": DiagonalNormal,
    "full": FullNormal,
    "low-rank": LowRankNormal,
    "point": Point,
}
"""The posteriors by the names that settings use."""
