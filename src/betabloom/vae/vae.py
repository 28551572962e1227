"""The variational auto-encoder: a posterior, a likelihood and a prior, put together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from betabloom.vae.objective import Terms
from betabloom.vae.posterior import DiagonalNormal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from betabloom.networks.build import Decoder, Encoder
    from betabloom.networks.spec import Shape
    from betabloom.vae.likelihood import Likelihood
    from betabloom.vae.posterior import Posterior
    from betabloom.vae.prior import Prior

__all__ = ["VAE"]


class VAE(nn.Module):
    """x → q(z|x) → z → p(x|z), beside p(z).

    Arguments:
        encoder: x (B, C, H, W) in [0, 1] → the parameters of q(z|x), as its `heads` say; μ and log σ² first.
        decoder: z (B, l) → η (B, C, H, W).
        likelihood: p(x|η).
        prior: p(z). `VampPrior` needs the encoder: give the model a `StandardNormal` and set `model.prior` after.
        posterior: What q(z|x) is made of them: `DiagonalNormal`, `FullNormal`, `LowRankNormal` or `Point`.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        likelihood: Likelihood,
        prior: Prior,
        posterior: type[Posterior] = DiagonalNormal,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood
        self.prior = prior
        self.posterior = posterior

    @property
    def latents(self) -> int:
        """Number of latent dimensions l."""
        return self.prior.latents

    def encode(self, x: Tensor) -> Posterior:
        """q(z|x) for pictures x (B, C, H, W) in [0, 1]."""
        return self.posterior.of(*self.encoder(x))

    def gaussian(self, x: Tensor) -> DiagonalNormal:
        """N(μ, diag σ²) of pictures x (B, C, H, W), whatever the posterior is."""
        mean, log_var, *_ = self.encoder(x)
        return DiagonalNormal.of(mean, log_var)

    def decode(self, z: Tensor) -> Tensor:
        """E[x|z], the pictures (B, C, H, W) in [0, 1] that the codes z (B, l) stand for."""
        return self.likelihood.mean(self.decoder(z))

    def reconstruct(self, x: Tensor) -> Tensor:
        """Decode the posterior's mean: the same picture in, the same picture out."""
        return self.decode(self.encode(x).mean)

    def forward(self, x: Tensor, noise: Tensor) -> Terms:
        """Compute the terms of the objective for pictures x (B, C, H, W) and standard normal `noise` (B, l)."""
        return self.terms(x, noise, *self.networks(x, noise))

    def networks(self, x: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        """The part of `forward` that pictures go through one by one: the heads of the encoder, then η (B, C, H, W)."""
        heads = self.encoder(x)
        return (*heads, self.decoder(self.posterior.of(*heads).sample(noise)))

    def terms(self, x: Tensor, noise: Tensor, *outputs: Tensor) -> Terms:
        """The rest of it, which may compare the pictures of a batch; `outputs`: what `networks` returned.

        Arguments:
            x: Pictures (B, C, H, W) in [0, 1].
            noise: Standard normal (B, l).
            outputs: What `networks` returned for them.

        Returns:
            Distortion and rate of each picture, and what regularisers need.
        """
        *heads, output = outputs
        misfit = self.likelihood.misfit(output, x)
        return self.terms_of(noise, heads, misfit, self.likelihood.floor(x), math.prod(x.shape[1:]))

    def terms_of(
        self, noise: Tensor, heads: Sequence[Tensor], misfit: Tensor, floor: Tensor | None, pixels: int
    ) -> Terms:
        """The terms from a few numbers a picture, which is what travels between processes.

        Arguments:
            noise: Standard normal (B, l).
            heads: What the encoder made of the pictures.
            misfit: See `Likelihood.misfit`, shape (B,).
            floor: See `Likelihood.floor`, shape (B,) or None.
            pixels: Pixels × channels of a picture.

        Returns:
            Distortion and rate of each picture, and what regularisers need.
        """
        posterior = self.posterior.of(*heads)
        z = posterior.sample(noise)
        rate, per_dimension = self._rate(posterior, z)
        distortion = self.likelihood.distortion_of(misfit, pixels)
        return Terms(distortion, rate, per_dimension, floor, posterior, z, self.prior)

    def _rate(self, posterior: Posterior, z: Tensor) -> tuple[Tensor, Tensor | None]:
        if not posterior.has_density:
            return z.new_zeros(len(z)), torch.zeros_like(z)
        return self.prior.kl(posterior, z), self.prior.kl_per_dimension(posterior, z)


def bits_per_dimension(nats_per_image: float, shape: Shape) -> float:
    """Nats per image → bits per pixel and channel. Meaningful for likelihoods with `discrete = True`."""
    return nats_per_image / (math.prod(shape) * math.log(2))
