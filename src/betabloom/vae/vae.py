"""The variational auto-encoder: a posterior, a likelihood and a prior, put together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from betabloom.vae.objective import Terms
from betabloom.vae.posterior import DiagonalNormal, Point, Posterior

if TYPE_CHECKING:
    from betabloom.networks.build import Decoder, Encoder, Shape
    from betabloom.vae.likelihood import Likelihood
    from betabloom.vae.prior import Prior

__all__ = ["VAE"]

LOG_VAR_LIMIT = 20.0  # σ between e^−10 and e^10: far outside what is ever useful, well inside float32


class VAE(nn.Module):
    """x → q(z|x) → z → p(x|z), beside p(z).

    Arguments:
        encoder: x (B, C, H, W) in [0, 1] → μ, log σ², each (B, l).
        decoder: z (B, l) → η (B, C, H, W).
        likelihood: p(x|η).
        prior: p(z). `VampPrior` needs the encoder: give the model a `StandardNormal` and set `model.prior` after.
        deterministic: A point posterior in place of the Gaussian one: a plain auto-encoder.
    """

    def __init__(
        self, encoder: Encoder, decoder: Decoder, likelihood: Likelihood, prior: Prior, deterministic: bool = False
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood
        self.prior = prior
        self.deterministic = deterministic

    @property
    def latents(self) -> int:
        """Number of latent dimensions l."""
        return self.prior.latents

    def encode(self, x: Tensor) -> Posterior:
        """q(z|x) for pictures x (B, C, H, W) in [0, 1]."""
        return self._posterior(*self.encoder(x))

    def _posterior(self, mean: Tensor, log_var: Tensor) -> Posterior:
        return Point(mean) if self.deterministic else _limited(mean, log_var)

    def gaussian(self, x: Tensor) -> DiagonalNormal:
        """The posterior of pictures x (B, C, H, W) as a normal distribution, also where the posterior is a point."""
        return _limited(*self.encoder(x))

    def decode(self, z: Tensor) -> Tensor:
        """E[x|z], the pictures (B, C, H, W) in [0, 1] that the codes z (B, l) stand for."""
        return self.likelihood.mean(self.decoder(z))

    def reconstruct(self, x: Tensor) -> Tensor:
        """Decode the posterior's mean: the same picture in, the same picture out."""
        return self.decode(self.encode(x).mean)

    def forward(self, x: Tensor, noise: Tensor) -> Terms:
        """Compute the terms of the objective for pictures x (B, C, H, W) and standard normal `noise` (B, l)."""
        return self.terms(x, noise, *self.networks(x, noise))

    def networks(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The part of `forward` that pictures go through one by one: μ and log σ² (B, l), and η (B, C, H, W)."""
        mean, log_var = self.encoder(x)
        return mean, log_var, self.decoder(self._posterior(mean, log_var).sample(noise))

    def terms(self, x: Tensor, noise: Tensor, mean: Tensor, log_var: Tensor, output: Tensor) -> Terms:
        """The rest of it, which may compare the pictures of a batch."""
        posterior = self._posterior(mean, log_var)
        z = posterior.sample(noise)
        rate, per_dimension = self._rate(posterior, z)
        distortion = self.likelihood.distortion(output, x)
        return Terms(distortion, rate, per_dimension, self.likelihood.floor(x), posterior, z)

    def _rate(self, posterior: Posterior, z: Tensor) -> tuple[Tensor, Tensor | None]:
        if isinstance(posterior, Point):
            return z.new_zeros(len(z)), torch.zeros_like(z)
        return self.prior.kl(posterior, z), self.prior.kl_per_dimension(posterior, z)


def _limited(mean: Tensor, log_var: Tensor) -> DiagonalNormal:
    return DiagonalNormal(mean, log_var.clamp(-LOG_VAR_LIMIT, LOG_VAR_LIMIT))


def bits_per_dimension(nats_per_image: float, shape: Shape) -> float:
    """Nats per image → bits per pixel and channel. Meaningful for likelihoods with `discrete = True`."""
    return nats_per_image / (math.prod(shape) * math.log(2))
