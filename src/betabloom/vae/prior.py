r"""The prior p(z): where codes come from when there is no picture.

The **rate** is the price of a picture's code in nats, R(x) = KL(q(z|x) ‖ p(z)) ≥ 0. For a diagonal Gaussian posterior
N(μ, diag σ²) and a diagonal Gaussian prior N(m, diag s²) it has a closed form that splits over dimensions,

    KL = ½ Σ_i [ (σ_i² + (μ_i − m_i)²) / s_i² − 1 − log(σ_i² / s_i²) ],

which for m = 0, s = 1 is ½ Σ_i (μ_i² + σ_i² − 1 − log σ_i²) (Kingma & Welling 2013, appendix B). For a Gaussian
posterior with any covariance Σ it is the same with σ_i² = Σ_ii, and its total correlation ½ (Σ_i log Σ_ii − log det Σ)
added. Other priors use one Monte-Carlo sample, log q(z|x) − log p(z) with z ~ q(z|x), which is unbiased.

Generation draws a code by transforming base noise, so that a seed names a picture whatever the prior:
`prior.sample(noise, choice)` maps standard normal `noise` (n, l) and, where the prior is a mixture, uniform `choice`
(n,) to n codes.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from betabloom.errors import UsageError
from betabloom.vae.other_divergences import normal_kl
from betabloom.vae.posterior import normal_log_density

if TYPE_CHECKING:
    from collections.abc import Callable

    from betabloom.vae.posterior import DiagonalNormal, Posterior

__all__ = ["PRIORS", "DiagonalGaussian", "Mixture", "Normal", "Prior", "PriorSettings", "StandardNormal", "VampPrior"]


class Prior(nn.Module, abc.ABC):
    """Abstract prior over codes z in R^l. A density fitted after training needs `log_prob` and `sample` only."""

    latents: int

    @abc.abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Log p(z) in nats, shape (B,)."""

    @abc.abstractmethod
    def sample(self, noise: Tensor, choice: Tensor) -> Tensor:
        """Map standard normal `noise` (n, l) and uniform `choice` (n,) in [0, 1) to n codes ~ p(z), shape (n, l)."""

    def kl(self, posterior: Posterior, z: Tensor) -> Tensor:
        """KL(q(z|x) ‖ p(z)) in nats, shape (B,): by default the one-sample estimate at z ~ q(z|x), shape (B, l)."""
        return posterior.log_prob(z) - self.log_prob(z)

    def kl_per_dimension(self, posterior: Posterior, z: Tensor) -> Tensor | None:
        """KL(q(z_i|x) ‖ p(z_i)) of the one-dimensional marginals in nats, shape (B, l), or None if unknown.

        It sums to `kl` where the prior and the posterior factorise over dimensions.
        """
        return None


class DiagonalGaussian(Prior):
    """Abstract N(m, diag s²): the closed forms, for whoever says what `mean` m and `log_var` log s², (l,), are."""

    mean: Tensor
    log_var: Tensor

    def log_prob(self, z: Tensor) -> Tensor:
        return normal_log_density(z, self.mean, self.log_var).sum(1)

    def sample(self, noise: Tensor, choice: Tensor) -> Tensor:
        return self.mean + torch.exp(0.5 * self.log_var) * noise

    def kl(self, posterior: Posterior, z: Tensor) -> Tensor:
        return self.kl_per_dimension(posterior, z).sum(1) + posterior.dependence()

    def kl_per_dimension(self, posterior: Posterior, z: Tensor) -> Tensor:
        return normal_kl(posterior.mean, posterior.log_var, self.mean, self.log_var)


class StandardNormal(DiagonalGaussian):
    """N(0, I), the prior of the original VAE.

    Arguments:
        latents: Number of dimensions l.
    """

    def __init__(self, latents: int) -> None:
        super().__init__()
        self.latents = latents
        self.register_buffer("mean", torch.zeros(latents), persistent=False)
        self.register_buffer("log_var", torch.zeros(latents), persistent=False)


class Normal(DiagonalGaussian):
    """N(m, s² I) with fixed or learned means m_i; s is a fixed number.

    A constant m is a pure re-parametrisation: the encoder's bias absorbs it, and nothing is gained or lost. It
    matters when m depends on something, such as a class.

    Arguments:
        latents: Number of dimensions l.
        mean: m, one number or l of them.
        std: s > 0, one number.
        learned: Whether m is trained.
    """

    def __init__(self, latents: int, mean: float | list[float] = 0.0, std: float = 1.0, learned: bool = False) -> None:
        super().__init__()
        if not std > 0:
            raise UsageError(f"The prior's 'std' must be positive, not {std}.")
        values = torch.as_tensor(mean, dtype=torch.float32)
        if values.ndim > 1 or (values.ndim == 1 and len(values) != latents):
            raise UsageError(f"The prior's 'mean' must be one number or {latents}, not shape {tuple(values.shape)}.")
        self.latents = latents
        if learned:
            self.mean = nn.Parameter(values.expand(latents).clone())
        else:
            self.register_buffer("mean", values.expand(latents).clone())
        self.register_buffer("log_var", torch.full((latents,), 2 * math.log(std)))


class _DiagonalMixture(Prior):
    """p(z) = Σ_k w_k N(m_k, diag s_k²): what a mixture can do once it knows its components."""

    @abc.abstractmethod
    def components(self) -> tuple[Tensor, Tensor, Tensor]:
        """Log w_k of shape (K,), m_k and log s_k² of shape (K, l)."""

    def log_prob(self, z: Tensor) -> Tensor:
        log_weight, mean, log_var = self.components()
        joint = normal_log_density(z[:, None], mean, log_var).sum(2) + log_weight
        return torch.logsumexp(joint, 1)

    def sample(self, noise: Tensor, choice: Tensor) -> Tensor:
        log_weight, mean, log_var = self.components()
        edges = log_weight.double().exp().cumsum(0)
        k = torch.searchsorted(edges, choice.double()).clamp_max(len(edges) - 1)
        return mean[k] + torch.exp(0.5 * log_var[k]) * noise

    def kl_per_dimension(self, posterior: Posterior, z: Tensor) -> Tensor:
        log_weight, mean, log_var = self.components()
        joint = normal_log_density(z[:, None], mean, log_var) + log_weight[:, None]
        return posterior.log_prob_per_dimension(z) - torch.logsumexp(joint, 1)


class Mixture(_DiagonalMixture):
    """Mixture of K diagonal Gaussians, all parameters learned.

    Arguments:
        latents: Number of dimensions l.
        components: K ≥ 1.
    """

    def __init__(self, latents: int, components: int = 32) -> None:
        super().__init__()
        if components < 1:
            raise UsageError(f"The prior's 'components' must be at least 1, not {components}.")
        self.latents = latents
        self.logits = nn.Parameter(torch.zeros(components))
        # Components that start alike would stay alike: they start around a ring of radius ½ σ, all overlapping.
        self.means = nn.Parameter(0.5 * torch.randn(components, latents))
        self.log_vars = nn.Parameter(torch.full((components, latents), math.log(0.75)))

    def components(self) -> tuple[Tensor, Tensor, Tensor]:
        return torch.log_softmax(self.logits, 0), self.means, self.log_vars


class VampPrior(_DiagonalMixture):
    """p(z) = 1/K Σ_k q(z|u_k): the posteriors of K learned pseudo-pictures u_k, equally likely.

    Tomczak & Welling 2018, https://arxiv.org/abs/1705.07120, equation 9. The pseudo-pictures are kept as logits so
    that they stay in [0, 1].

    Arguments:
        encode: The model's encoder, x (K, C, H, W) → DiagonalNormal. It is called, not owned: its weights belong
            to the model.
        latents: Number of dimensions l.
        shape: Picture shape (C, H, W).
        components: K ≥ 1.
    """

    def __init__(
        self,
        encode: Callable[[Tensor], DiagonalNormal],
        latents: int,
        shape: tuple[int, int, int],
        components: int = 32,
    ) -> None:
        super().__init__()
        if components < 1:
            raise UsageError(f"The prior's 'components' must be at least 1, not {components}.")
        self.latents = latents
        self.encode = encode
        self.logits = nn.Parameter(torch.randn(components, *shape))

    def components(self) -> tuple[Tensor, Tensor, Tensor]:
        posterior = self.encode(torch.sigmoid(self.logits))
        count = len(self.logits)
        log_weight = torch.full((count,), -math.log(count), device=self.logits.device)
        return log_weight, posterior.mean, posterior.log_var


@dataclass(frozen=True)
class PriorSettings:
    """What a prior can be made of.

    Attributes:
        latents: Number of dimensions l.
        shape: Picture shape (C, H, W).
        mean: m of normal priors.
        std: s of normal priors.
        components: K of priors with components.
        encode: The model's encoder, x (B, C, H, W) → a diagonal Gaussian.
    """

    latents: int
    shape: tuple[int, int, int]
    mean: float
    std: float
    components: int
    encode: Callable[[Tensor], DiagonalNormal]


PRIORS: dict[str, Callable[[PriorSettings], Prior]] = {
    "standard": lambda s: StandardNormal(s.latents),
    "normal": lambda s: Normal(s.latents, s.mean, s.std),
    "normal-learned": lambda s: Normal(s.latents, s.mean, s.std, learned=True),
    "mixture": lambda s: Mixture(s.latents, s.components),
    "vamp": lambda s: VampPrior(s.encode, s.latents, s.shape, s.components),
}
"""The priors by the names that settings use; each entry makes a new one."""
