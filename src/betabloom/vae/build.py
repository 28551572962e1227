"""A VAE from the settings that describe it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from betabloom.config import guess
from betabloom.errors import UsageError
from betabloom.networks.build import make_networks
from betabloom.vae.likelihood import LIKELIHOODS
from betabloom.vae.posterior import POSTERIORS
from betabloom.vae.prior import PRIORS, PriorSettings, StandardNormal
from betabloom.vae.vae import VAE

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from betabloom.config import Config
    from betabloom.networks.spec import Shape

__all__ = ["build_vae", "channels_last", "make_vae"]


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
        m.head,
    )


def channels_last(vae: VAE) -> VAE:
    """The same model, with its weights as its device reads them fastest: on a CPU the channels of a pixel together."""
    on_cpu = next(vae.parameters()).device.type == "cpu"
    return vae.to(memory_format=torch.channels_last if on_cpu else torch.contiguous_format)  # type: ignore[call-overload, no-any-return]


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
    head: int = 0,
) -> VAE:
    """Build a VAE from plain values, as the settings have them.

    Arguments:
        shape: Picture shape (C, H, W).
        latents: Number of latent dimensions l.
        family: A key of `betabloom.networks.spec.FAMILIES`.
        widths: Channels of each level; empty for the family's own.
        kernel: Kernel size; 0 for the family's own.
        likelihood: A key of `betabloom.vae.likelihood.LIKELIHOODS`.
        prior: A key of `betabloom.vae.prior.PRIORS`: "standard" N(0, I); "normal" N(m, s²); "normal-learned";
            "mixture"; "vamp".
        prior_mean: m of the normal priors.
        prior_std: s of the normal priors.
        prior_components: Components of the mixture and VampPrior.
        posterior: A key of `betabloom.vae.posterior.POSTERIORS`: "normal"; "full"; "low-rank"; or "point" for a plain
            auto-encoder.
        enlargers: Channels of the networks after the decoder that each double the size of what it draws.
        head: Channels of the layer at full size after the decoder; 0 for none.

    Returns:
        The VAE, with random weights.

    Raises:
        UsageError: A name is unknown or a value impossible.
    """
    _check("likelihood", likelihood, LIKELIHOODS)
    _check("prior", prior, PRIORS)
    _check("posterior", posterior, POSTERIORS)
    heads = POSTERIORS[posterior].heads(latents) if latents > 0 else None
    encoder, decoder = make_networks(family, shape, latents, widths, kernel, enlargers, heads, head)
    vae = VAE(encoder, decoder, LIKELIHOODS[likelihood](), StandardNormal(latents), POSTERIORS[posterior])
    settings = PriorSettings(latents, shape, prior_mean, prior_std, prior_components, vae.gaussian)
    vae.prior = PRIORS[prior](settings)
    return vae


def _check(kind: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise UsageError(f"Unknown {kind} {value!r}.{guess(value, known)} Choose one of: {', '.join(known)}.")
