"""Torch modules made from the description of a network: pictures to posteriors, codes to pictures.

An `Encoder` turns x (B, C, H, W) into F features, and these with parallel linear heads into the parameters of the
posterior, such as μ and log σ² (B, l). A `Decoder` turns z (B, l) into the output η (B, C, H, W) that a likelihood
reads. Either works without the other. What they consist of is written in `betabloom.networks.spec`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from betabloom.networks.cpu_layers import Transposed, View, flat, steady
from betabloom.networks.large_linear import LargeLinear, together
from betabloom.networks.spec import Network, Shape, make_network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from betabloom.networks.spec import Layer

__all__ = ["MODULES", "Decoder", "Encoder", "Enlarger", "ResidualBlock", "count_parameters", "make_networks"]


class Encoder(nn.Module):
    """x (B, C, H, W) in [0, 1] → the parameters of q(z|x), each (B, …), float32; by default μ and log σ², (B, l).

    Arguments:
        body: x → features, (B, F) after flattening.
        features: F.
        latents: l, or the number of outputs of each head by its name.

    Attributes:
        halvings: How often it halves pictures, by means of 2×2 pixels, before it looks at them.
        heads: Names of the heads, in order.
    """

    halvings = 0

    def __init__(self, body: nn.Module, features: int, latents: int | Mapping[str, int]) -> None:
        super().__init__()
        self.body = body
        outputs = {"mean": latents, "log_var": latents} if isinstance(latents, int) else latents
        self.heads = tuple(outputs)
        for name, count in outputs.items():
            self.add_module(name, LargeLinear(features, count))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = F.avg_pool2d(x, 2**self.halvings) if self.halvings else x
        h = flat(self.body(x))
        return tuple(out.float() for out in together(h, [getattr(self, name) for name in self.heads]))


class Decoder(nn.Module):
    """z (B, l) → output η (B, C, H, W), the logits or locations that a likelihood reads, float32.

    Arguments:
        body: z → η.

    Attributes:
        head: η → η of the same size; at most one.
        enlargers: η → η of twice the size, one after the other.
        network: What it was made from, if `make_networks` made it.
    """

    network: Network | None = None

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.head, self.enlargers = nn.ModuleList(), nn.ModuleList()

    @property
    def shape(self) -> Shape | None:
        """(C, H, W), if `make_networks` made it."""
        return self.network.shape if self.network else None

    def forward(self, z: Tensor) -> Tensor:
        eta = steady(self.body(z)).float()
        for layer in (*self.head, *self.enlargers):
            eta = layer(eta)
        return eta


class Centre(nn.Module):
    """[0, 1] → [−1, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x - 1


class ResidualBlock(nn.Module):
    """x + body(x)."""

    def __init__(self, layers: Iterable[Layer]) -> None:
        super().__init__()
        self.body = _sequential(layers)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.body(x)
        return x + residual


class Enlarger(nn.Module):
    """η (B, C, H, W) → η (B, C, 2H, 2W), float32: every value four times, and what its layers see is missing."""

    def __init__(self, layers: Iterable[Layer]) -> None:
        super().__init__()
        self.body = _sequential(layers)

    def forward(self, eta: Tensor) -> Tensor:
        detail = self.body(torch.tanh(eta / 2)).float()
        return F.pixel_shuffle(eta.repeat_interleave(4, 1) + detail, 2)


MODULES: dict[str, Callable[[Layer], nn.Module]] = {
    "linear": lambda layer: LargeLinear(layer.inputs, layer.outputs),
    "conv": lambda layer: nn.Conv2d(layer.inputs, layer.outputs, layer.kernel, layer.stride, layer.padding),
    "transposed": lambda layer: Transposed(layer.inputs, layer.outputs, layer.kernel, layer.stride, layer.padding),
    "flatten": lambda layer: nn.Flatten(),
    "view": lambda layer: View(layer.shape),
    "shuffle": lambda layer: nn.PixelShuffle(2),
    "relu": lambda layer: nn.ReLU(),
    "silu": lambda layer: nn.SiLU(),
    "gelu": lambda layer: nn.GELU("tanh"),
    "centre": lambda layer: Centre(),
    "residual": lambda layer: ResidualBlock(layer.layers),
    "enlarger": lambda layer: Enlarger(layer.layers),
}
"""How a layer of each kind becomes a module."""


def _sequential(layers: Iterable[Layer]) -> nn.Sequential:
    return nn.Sequential(*map(_module, layers))


@torch.no_grad()
def _module(layer: Layer) -> nn.Module:
    """The module of a layer, its weights as they begin."""
    module = MODULES[layer.kind](layer)
    for value in module.parameters(recurse=False) if layer.init != "default" else ():
        value.copy_(value[::4].repeat_interleave(4, 0) if layer.init == "equal" else torch.zeros_like(value))
    return module


def make_networks(
    family: str,
    shape: Shape,
    latents: int,
    widths: Sequence[int] = (),
    kernel: int = 0,
    enlargers: Sequence[int] = (),
    heads: Mapping[str, int] | None = None,
    head: int = 0,
) -> tuple[Encoder, Decoder]:
    """Make an encoder and a decoder for pictures of `shape` (C, H, W).

    Arguments:
        family: A key of `betabloom.networks.spec.FAMILIES`.
        shape: (C, H, W) with 1, 3 or 4 channels.
        latents: Number of latent dimensions l ≥ 1.
        widths: Channels of each level; empty for the family's own.
        kernel: Kernel size; 0 for the family's own.
        enlargers: Channels of each `Enlarger`. The family's network is then for pictures of half the size, a quarter …
        heads: Outputs of each head of the encoder by its name; `mean` and `log_var` of l outputs if None.
        head: Channels of the layer at full size after the decoder; 0 for none.

    Raises:
        UsageError: A value is impossible; for a size that the strides do not allow, the nearest that they do.
    """
    network = make_network(family, shape, latents, widths, kernel, enlargers, head)
    down, up = _sequential(network.encoder), _sequential(network.decoder)
    encoder = Encoder(down, network.features, latents if heads is None else heads)
    decoder = Decoder(up)
    if network.xavier:
        for module in (*encoder.modules(), *decoder.modules()):
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                nn.init.xavier_uniform_(module.weight)
    decoder.head.extend(map(_module, network.head))
    decoder.enlargers.extend(map(_module, network.enlargers))
    encoder.halvings, decoder.network = len(enlargers), network
    return encoder, decoder


def count_parameters(module: nn.Module) -> int:
    """Count the trained numbers of a network."""
    return sum(p.numel() for p in module.parameters())
