"""A network as a table: the shape after each layer, and its number of parameters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from betabloom.errors import UsageError
from betabloom.networks.spec import make_network
from betabloom.vae.posterior import POSTERIORS

if TYPE_CHECKING:
    from betabloom.config import Config
    from betabloom.networks.spec import Named

__all__ = ["describe_layers"]


def describe_layers(config: Config) -> list[dict[str, Any]]:
    """The layers of the network that the settings describe, encoder first, as rows of a table. Loads no torch.

    Returns:
        For each layer its `name` in a model file, its `kind`, the `shape` of what goes out for one picture, (C, H, W)
        or (F,), and the number of its `parameters`.

    Raises:
        UsageError: There is no such network.
    """
    m = config.model
    if m.posterior not in POSTERIORS:
        raise UsageError(f"Unknown posterior {m.posterior!r}. Choose one of: {', '.join(POSTERIORS)}.")
    network = make_network(m.family, config.shape, m.latents, m.widths, m.kernel, m.enlargers, m.head)
    channels, height, width = config.shape
    times = 2 ** len(network.enlargers)
    down = _rows(network.encoder_layers({}), (channels, height // times, width // times))
    heads = network.encoder_layers(POSTERIORS[m.posterior].heads(m.latents))[len(down) :]
    ends = [row for head in heads for row in _rows([head], (network.features,))]
    return [*down, *ends, *_rows(network.decoder_layers(), (m.latents,))]


def _rows(layers: Named, shape: tuple[int, ...]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name, layer in layers:
        shape = layer.shape_after(shape)
        parameters = sum(math.prod(size) for _, size in layer.tensors(name))
        rows.append({"name": name, "kind": layer.kind, "shape": shape, "parameters": parameters})
    return rows
