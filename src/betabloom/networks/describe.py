"""A network as a table: the shape after each layer, and its number of parameters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from betabloom.networks.spec import make_network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from betabloom.config import Config
    from betabloom.networks.spec import Named

__all__ = ["describe_layers"]


def describe_layers(config: Config, heads: Sequence[str] = ("mean", "log_var")) -> list[dict[str, object]]:
    """The layers of the network that the settings describe, encoder first, as rows of a table.

    Arguments:
        config: The settings.
        heads: Names of the encoder's heads of l outputs each.

    Returns:
        For each layer its `name` in a model file, its `kind`, the `shape` of what goes out for one picture, (C, H, W)
        or (F,), and the number of its `parameters`.

    Raises:
        UsageError: There is no such network.
    """
    m = config.model
    network = make_network(m.family, config.shape, m.latents, m.widths, m.kernel, m.enlargers)
    channels, height, width = config.shape
    times = 2 ** len(network.enlargers)
    down = _rows(network.encoder_layers({}), (channels, height // times, width // times))
    sides = network.encoder_layers(dict.fromkeys(heads, m.latents))[len(down) :]
    ends = [row for side in sides for row in _rows([side], (network.features,))]
    return [*down, *ends, *_rows(network.decoder_layers(), (m.latents,))]


def _rows(layers: Named, shape: tuple[int, ...]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for name, layer in layers:
        shape = layer.shape_after(shape)
        parameters = sum(math.prod(size) for _, size in layer.tensors(name))
        rows.append({"name": name, "kind": layer.kind, "shape": shape, "parameters": parameters})
    return rows
