r"""The likelihood p(x|z): how a picture scatters around what the decoder draws.

A decoder maps a code z to one real number per pixel and channel, the *output* η of shape (B, C, H, W). A likelihood
turns the output into a distribution over pictures x with values in [0, 1]. The **distortion** is its negative
log-probability in nats per image, summed over pixels and channels:

    D(x, η) = − Σ_pixels log p(x_pixel | η_pixel),      shape (B,).

| class | p(x|η) | support | kind |
|---|---|---|---|
| `Bernoulli` | x^λ-weighted coin, λ = sigmoid(η) | {0, 1} (used on [0, 1]) | the seed's cross-entropy |
| `ContinuousBernoulli` | C(λ) λ^x (1−λ)^(1−x) | [0, 1] | density |
| `Gaussian` | N(μ, σ²), μ = sigmoid(η), σ fixed or learned | R | density |
| `OptimalGaussian` | the same with the σ that fits best | R | density |
| `Laplace` | Laplace(μ, b) | R | density |
| `DiscretisedLogistic` | logistic mass of each grey level | {0, 1/255, …, 1} | probability |

Densities and probabilities are not comparable with one another: only `DiscretisedLogistic` (and a true Bernoulli on
black-and-white pictures) gives bits per dimension. Everything is computed in float32, whatever precision the networks
run in.
"""

from __future__ import annotations

import abc
import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from betabloom.errors import UsageError
from betabloom.vae.posterior import LOG_2PI

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "LIKELIHOODS",
    "Bernoulli",
    "ContinuousBernoulli",
    "DiscretisedLogistic",
    "Gaussian",
    "Laplace",
    "Likelihood",
    "OptimalGaussian",
]


class Likelihood(nn.Module, abc.ABC):
    """Abstract likelihood p(x|z) of pictures x in [0, 1] given decoder outputs η, both (B, C, H, W).

    Attributes:
        discrete: Whether `log_prob` is the logarithm of a probability rather than of a density, so that
            distortion / (pixels · log 2) is in true bits per dimension.
    """

    discrete = False

    @abc.abstractmethod
    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Log p(x|η) of every pixel and channel in nats, shape (B, C, H, W), float32."""

    @abc.abstractmethod
    def mean(self, output: Tensor) -> Tensor:
        """E[x|η], the picture to show, in [0, 1], shape (B, C, H, W), float32."""

    @abc.abstractmethod
    def sample(self, output: Tensor, uniform: Tensor) -> Tensor:
        """Draw x ~ p(x|η) by inverting its distribution function at `uniform` in (0, 1), shape of the output."""

    def distortion(self, output: Tensor, x: Tensor) -> Tensor:
        """−log p(x|η), summed over pixels and channels: nats per image, shape (B,)."""
        return self.distortion_of(self.misfit(output, x), math.prod(x.shape[1:]))

    def misfit(self, output: Tensor, x: Tensor) -> Tensor:
        """One number for each picture, shape (B,), of which `distortion_of` makes the distortion of a batch.

        Where a batch is spread over several processes, each makes the misfits of its own pictures, and only these
        numbers travel.
        """
        return -self.log_prob(output, x).sum((1, 2, 3))

    def distortion_of(self, misfit: Tensor, pixels: int) -> Tensor:
        """The distortion (B,) of a batch from all its misfits (B,); `pixels` counts pixels × channels of a picture."""
        return misfit

    def floor(self, x: Tensor) -> Tensor | None:
        """Smallest distortion that any output can reach on x, shape (B,), where that is not 0 and has a closed form.

        For `Bernoulli` it is the entropy of the pixels, often most of the number that is reported as "loss".
        """
        return None


class Bernoulli(Likelihood):
    """Cross-entropy with λ = sigmoid(η): log p = x log λ + (1 − x) log(1 − λ) = x η − softplus(η).

    A probability only for x in {0, 1}. On grey values it is the customary β-VAE loss (binary cross-entropy, summed):
    minimal at λ = x, where it equals the pixel entropy H(x) > 0, reported as `floor`. It lacks the normaliser that
    `ContinuousBernoulli` has, so it is no log-likelihood of grey pictures (Loaiza-Ganem & Cunningham 2019,
    https://arxiv.org/abs/1907.06845).
    """

    discrete = True

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        eta = output.float()
        return x * eta - F.softplus(eta)

    def mean(self, output: Tensor) -> Tensor:
        return torch.sigmoid(output.float())

    def sample(self, output: Tensor, uniform: Tensor) -> Tensor:
        return (uniform < self.mean(output)).float()

    def floor(self, x: Tensor) -> Tensor:
        """H(x) = −Σ x log x + (1 − x) log(1 − x), in nats per image, shape (B,)."""
        return -(torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)).flatten(1).sum(1)


class ContinuousBernoulli(Likelihood):
    r"""Density on [0, 1]: p(x) = C(λ) λ^x (1−λ)^(1−x), λ = sigmoid(η).

    In terms of η: log p = x η − softplus(η) + log C with C = η / tanh(η/2), which is 2 at η = 0 (Loaiza-Ganem &
    Cunningham 2019, https://arxiv.org/abs/1907.06845, equation 8). Near 0 the series
    log C = log 2 + η²/12 − 7η⁴/1440 and E[x] = ½ + η/12 − η³/720 replace 0/0.
    """

    near_zero = 0.1  # the series' first left-out terms are below 1e-9 there

    def _split(self, output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """η, whether it is near zero, and η with those entries moved away from zero (keeps gradients finite)."""
        eta = output.float()
        small = eta.abs() < self.near_zero
        return eta, small, torch.where(small, torch.ones_like(eta), eta)

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        eta, small, safe = self._split(output)
        series = math.log(2) + eta.square() / 12 - 7 * eta**4 / 1440
        log_c = torch.where(small, series, torch.log(safe / torch.tanh(safe / 2)))
        return x * eta - F.softplus(eta) + log_c

    def mean(self, output: Tensor) -> Tensor:
        eta, small, safe = self._split(output)
        away = 0.5 + 0.5 / torch.tanh(safe / 2) - 1 / safe  # the derivative of log((e^η − 1)/η)
        return torch.where(small, 0.5 + eta / 12 - eta**3 / 720, away).clamp(0, 1)

    def sample(self, output: Tensor, uniform: Tensor) -> Tensor:
        eta = output.float()
        a = eta.abs().clamp_min(1e-6)  # x(η, u) = 1 − x(−η, 1 − u), and for η > 0 the inverse does not overflow
        u = torch.where(eta >= 0, uniform, 1 - uniform)
        x = 1 + torch.log1p((1 - u) * torch.expm1(-a)) / a
        return torch.where(eta >= 0, x, 1 - x).clamp(0, 1)


class _LocationScale(Likelihood):
    """Densities around a mean μ = link(η) with one scale for all pixels.

    Arguments:
        scale: Scale in units of the [0, 1] range, > 0.
        learned: Whether the scale is trained along with the networks (one number, kept as its logarithm).
        link: "sigmoid" keeps μ in [0, 1]; "identity" takes the output as it is.
    """

    def __init__(self, scale: float, learned: bool = False, link: str = "sigmoid") -> None:
        super().__init__()
        if not scale > 0:
            raise UsageError(f"The likelihood's 'scale' must be positive, not {scale}.")
        if link not in ("sigmoid", "identity"):
            raise UsageError(f"The likelihood's 'link' must be 'sigmoid' or 'identity', not {link!r}.")
        self.link = link
        log_scale = torch.tensor(math.log(scale))
        self.log_scale: Tensor
        if learned:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)

    def location(self, output: Tensor) -> Tensor:
        """μ = link(η), float32."""
        return torch.sigmoid(output.float()) if self.link == "sigmoid" else output.float()

    def mean(self, output: Tensor) -> Tensor:
        return self.location(output).clamp(0, 1)


class _Normal(_LocationScale):
    """N(μ, σ²) with σ = exp(log_scale)."""

    def _log_variance(self, error: Tensor) -> Tensor:
        """Log σ², a scalar, for squared errors (x − μ)², of which `error` may also hold means over whole pictures."""
        return 2 * self.log_scale

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        error = (x - self.location(output)).square()
        log_var = self._log_variance(error)
        return -0.5 * (LOG_2PI + log_var + error * torch.exp(-log_var))

    def misfit(self, output: Tensor, x: Tensor) -> Tensor:
        """Σ (x − μ)², shape (B,): the sum over pixels and channels first, which is quicker."""
        return F.mse_loss(self.location(output), x, reduction="none").sum((1, 2, 3))

    def distortion_of(self, misfit: Tensor, pixels: int) -> Tensor:
        """½ N (log 2π + log σ²) + Σ (x − μ)² / 2σ² for N pixels and channels."""
        log_var = self._log_variance(misfit / pixels)
        return 0.5 * (pixels * (LOG_2PI + log_var) + misfit * torch.exp(-log_var))

    def sample(self, output: Tensor, uniform: Tensor) -> Tensor:
        return self.location(output) + torch.exp(self.log_scale) * math.sqrt(2) * torch.erfinv(2 * uniform - 1)


class Gaussian(_Normal):
    """N(μ, σ²): log p = −½ log(2πσ²) − (x − μ)² / 2σ². σ is fixed, or one learned number for all pixels.

    With fixed σ this is squared error: β·σ² is what matters, so σ = 0.1 and β = 1 trains as σ = 1 and β = 0.01.
    """

    def __init__(self, scale: float = 0.1, learned: bool = False, link: str = "sigmoid") -> None:
        super().__init__(scale, learned, link)


class OptimalGaussian(_Normal):
    """N(μ, σ*²) with the σ* that maximises the likelihood: σ*² = mean of (x − μ)² over batch and pixels.

    The σ-VAE (Rybkin, Daniilidis & Levine 2021, https://arxiv.org/abs/2006.13202, section 3.2): it balances
    distortion and rate by itself, so that β = 1 needs no tuning. In training σ* comes from the batch at hand, so
    the mean distortion is ½ N (log 2πσ*² + 1) for N pixels × channels; a running average is kept, as batch
    normalisation does, and serves in evaluation mode, where pictures do not influence one another.

    Arguments:
        momentum: Weight of the newest batch in the running average of log σ*, in (0, 1].
        smallest: Lower limit of σ*, so that a perfect fit does not divide by zero.
        link: See `Gaussian`.
    """

    def __init__(self, momentum: float = 0.01, smallest: float = 1e-3, link: str = "sigmoid") -> None:
        super().__init__(scale=0.3, link=link)
        self.momentum = momentum
        self.smallest = smallest

    def _log_variance(self, error: Tensor) -> Tensor:
        if not self.training:
            return super()._log_variance(error)
        log_var = error.mean().clamp_min(self.smallest**2).log()
        with torch.no_grad():
            self.log_scale.lerp_(0.5 * log_var, self.momentum)
        return log_var


class Laplace(_LocationScale):
    """Laplace(μ, b): log p = −log 2b − |x − μ| / b. Absolute error; sharper edges than squared error."""

    def __init__(self, scale: float = 0.1, learned: bool = False, link: str = "sigmoid") -> None:
        super().__init__(scale, learned, link)

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        distance = (x - self.location(output)).abs()
        return -math.log(2) - self.log_scale - distance * torch.exp(-self.log_scale)

    def sample(self, output: Tensor, uniform: Tensor) -> Tensor:
        side = uniform - 0.5
        return self.location(output) - torch.exp(self.log_scale) * torch.sign(side) * torch.log1p(-2 * side.abs())


class DiscretisedLogistic(_LocationScale):
    """Probability of each of 256 grey levels: the logistic mass of the interval half a level to either side.

    P(x) = sigmoid((x + h − μ)/s) − sigmoid((x − h − μ)/s), h = 1/510, with open ends at 0 and 1, so that the 256
    probabilities sum to one (Kingma et al. 2016, https://arxiv.org/abs/1606.04934, appendix; Salimans et al. 2017,
    https://arxiv.org/abs/1701.05517). Pictures must be 8-bit: x = k/255. Gives true bits per dimension.
    """

    discrete = True
    half_level = 0.5 / 255

    def __init__(self, scale: float = 0.05, learned: bool = True, link: str = "sigmoid") -> None:
        super().__init__(scale, learned, link)

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        inverse = torch.exp(-self.log_scale)
        upper = (x - self.location(output) + self.half_level) * inverse
        lower = upper - 2 * self.half_level * inverse
        # log(sigmoid(u) − sigmoid(l)) = logsigmoid(u) + logsigmoid(−l) + log(1 − e^(l−u)), exact and stable
        inside = F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(lower - upper))
        black = F.logsigmoid(upper)
        white = F.logsigmoid(-lower)
        return torch.where(x < self.half_level, black, torch.where(x > 1 - self.half_level, white, inside))

    def mean(self, output: Tensor) -> Tensor:
        """E[x|η] = Σ P(x ≥ level)/255 ≈ s·(softplus(μ/s) − softplus((μ−1)/s)), within half a grey level."""
        mu, scale = self.location(output), torch.exp(self.log_scale)
        return (scale * (F.softplus(mu / scale) - F.softplus((mu - 1) / scale))).clamp(0, 1)

    def sample(self, output: Tensor, uniform: Tensor) -> Tensor:
        x = self.location(output) + torch.exp(self.log_scale) * torch.logit(uniform)
        return torch.round(x.clamp(0, 1) * 255) / 255


LIKELIHOODS: dict[str, Callable[[], Likelihood]] = {
    "bernoulli": Bernoulli,
    "continuous-bernoulli": ContinuousBernoulli,
    "gaussian": Gaussian,
    "gaussian-learned": lambda: Gaussian(learned=True),
    "gaussian-optimal": OptimalGaussian,
    "laplace": Laplace,
    "laplace-learned": lambda: Laplace(learned=True),
    "discretised-logistic": DiscretisedLogistic,
}
"""The likelihoods by the names that settings use; each entry makes a new one with its default values."""
