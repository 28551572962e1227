"""A VAE from the settings that describe it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from betabloom.errors import UsageError

if TYPE_CHECKING:
    from betabloom.config import Config
    from betabloom.vae.vae import VAE

from typing import TYPE_CHECKING

from betabloom.networks.build import make_networks
from betabloom.vae.likelihood import LIKELIHOODS
from betabloom.vae.prior import Mixture, Normal, StandardNormal, VampPrior

if TYPE_CHECKING:
    from collections.abc import Sequence

    from betabloom.networks.build import Shape
from betabloom.vae.vae import VAE

__all__ = ["POSTERIORS", "PRIORS", "build_vae", "channels_last", "make_vae"]


def make_vae(config: Config) -> VAE:
    """Build the untrained VAE that the settings describe."""
    m = config.model
    return build_vae(
        config.shape,
        m.latents,
        m.family,
        m.widths,
        m.kernel,
        m.likelihood,
        m.prior,
        m.prior_mean,
        m.prior_std,
        m.prior_components,
        m.posterior,
        m.enlargers,
    )


def channels_last(vae: VAE) -> VAE:
    """The same model, with its weights as its device reads them fastest: on a CPU the channels of a pixel together."""
    on_cpu = next(vae.parameters()).device.type == "cpu"
    return vae.to(memory_format=torch.channels_last if on_cpu else torch.contiguous_format)  # type: ignore[call-overload, no-any-return]


PRIORS = ("standard", "normal", "normal-learned", "mixture", "vamp")

POSTERIORS = ("normal", "point")


def build_vae(
    shape: Shape,
    latents: int = 64,
    family: str = "residual",
    widths: Sequence[int] = (),
    kernel: int = 0,
    likelihood: str = "gaussian-optimal",
    prior: str = "standard",
    prior_mean: float = 0.0,
    prior_std: float = 1.0,
    prior_components: int = 32,
    posterior: str = "normal",
    enlargers: Sequence[int] = (),
) -> VAE:
    """Build a VAE from plain values, as the settings have them.

    Arguments:
        shape: Picture shape (C, H, W).
        latents: Number of latent dimensions l.
        family: A key of `betabloom.networks.build.FAMILIES`.
        widths: Channels of each level; empty for the family's own.
        kernel: Kernel size; 0 for the family's own.
        likelihood: A key of `betabloom.vae.likelihood.LIKELIHOODS`.
        prior: "standard" N(0, I); "normal" N(m, s²); "normal-learned"; "mixture"; "vamp".
        prior_mean: m of the normal priors.
        prior_std: s of the normal priors.
        prior_components: Components of the mixture and VampPrior.
        posterior: "normal", or "point" for a plain auto-encoder.
        enlargers: Channels of the networks after the decoder that each double the size of what it draws.

    Raises:
        UsageError: A name is unknown or a value impossible.
    """
    for kind, value, known in (
        ("likelihood", likelihood, tuple(LIKELIHOODS)),
        ("prior", prior, PRIORS),
        ("posterior", posterior, POSTERIORS),
    ):
        if value not in known:
            raise UsageError(f"Unknown {kind} {value!r}. Choose one of: {', '.join(known)}.")
    encoder, decoder = make_networks(family, shape, latents, widths, kernel, enlargers)
    vae = VAE(encoder, decoder, LIKELIHOODS[likelihood](), StandardNormal(latents), posterior == "point")
    if prior in ("normal", "normal-learned"):
        vae.prior = Normal(latents, prior_mean, prior_std, learned=prior == "normal-learned")
    elif prior == "mixture":
        vae.prior = Mixture(latents, prior_components)
    elif prior == "vamp":
        vae.prior = VampPrior(vae.gaussian, latents, shape, prior_components)
    return vae
