"""The network of a model as data, for those who write it down layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from betabloom.errors import UsageError
from betabloom.networks.spec import make_network
from betabloom.vae.posterior import POSTERIORS

if TYPE_CHECKING:
    from collections.abc import Collection

    from betabloom.config import Config
    from betabloom.networks.spec import Named, Network

__all__ = ["network_of"]


def network_of(config: Config, kinds: Collection[str]) -> Network:
    """The network of these settings.

    Arguments:
        config: Those of the model.
        kinds: Of layers that can be written down.

    Raises:
        UsageError: It has others.
    """
    m = config.model
    network = make_network(m.family, config.shape, m.latents, m.widths, m.kernel, m.enlargers, m.head)
    every = network.decoder_layers() + network.encoder_layers(POSTERIORS[m.posterior].heads(m.latents))
    if unknown := sorted(_kinds(every) - set(kinds)):
        raise UsageError(f"The network of the family {m.family!r} cannot be exported: it has layers {unknown[0]!r}.")
    return network


def _kinds(layers: Named) -> set[str]:
    """The kinds of all layers, and of those within them."""
    return {layer.kind for _, layer in layers}.union(*(_kinds(layer.parts(name)) for name, layer in layers))
