r"""A wider network that computes the same: every channel in several copies, which then go different ways.

Where a layer's output has m copies of each channel, the weights with which the next layer takes it are parted among
them in unequal shares that add up to one, so that the function stays what it is and copies learn apart (Net2WiderNet:
Chen, Goodfellow & Shlens 2016, https://arxiv.org/abs/1511.05641, section 2.4).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from betabloom.errors import UsageError
from betabloom.networks.build import ResidualBlock
from betabloom.networks.spec import FAMILIES
from betabloom.vae.build import make_vae

if TYPE_CHECKING:
    from betabloom.model.model import Model

__all__ = ["widened"]


@torch.no_grad()
def widened(model: Model, factor: int, seed: int = 0) -> Model:
    """Make a model with `factor` times as many channels at every level; its codes and pictures differ by rounding only.

    Arguments:
        model: A model of the family "residual"; it is left as it is.
        factor: At least 1, which returns the model itself.
        seed: Of the unequal shares.

    Raises:
        UsageError: The family is another, the factor less than 1, or the model was enlarged.
    """
    m = model.config.model
    if factor < 1:
        raise UsageError(f"'wider' must be at least 1, not {factor}.")
    if factor == 1:
        return model
    if m.family != "residual":
        raise UsageError(f"Only residual networks can be made wider, and this one is of the family {m.family!r}.")
    if m.enlargers:
        raise UsageError("A model that was enlarged cannot be made wider: make it wider first, then enlarge it.")
    widths = tuple(factor * width for width in m.widths or FAMILIES[m.family].widths)
    config = model.config.replace({"widths": widths})
    vae = make_vae(config)
    state = {name: value.clone() for name, value in model.vae.state_dict().items()}
    generator = torch.Generator().manual_seed(seed)
    top = widths[-1] // factor
    state |= _wider(model.vae.encoder, "encoder", top, factor, generator)
    state |= _wider(model.vae.decoder, "decoder", top, factor, generator)
    vae.load_state_dict(state)
    device = next(model.vae.parameters()).device
    vae = vae.to(device).requires_grad_(requires_grad=False).eval()
    return dataclasses.replace(model, vae=vae, config=config, fingerprint="")


def _wider(coder: nn.Module, name: str, top: int, factor: int, generator: torch.Generator) -> dict[str, Tensor]:
    """The weights of an encoder or decoder, with so many copies of all channels but those of pictures and codes.

    `top` is the number of channels of the coarsest level.
    """
    kinds = (nn.Conv2d, nn.Linear)
    layers = [(place, layer) for place, layer in coder.named_modules() if isinstance(layer, kinds)]
    layers = [(place, layer) for place, layer in layers if not place.startswith("head.")]  # it sees pictures alone
    blocks = tuple(f"{place}." for place, layer in coder.named_modules() if isinstance(layer, ResidualBlock))
    state = {}
    for place, layer in layers:
        assert layer.bias is not None  # noqa: S101  (for the type checker)
        weight, bias = layer.weight.float().cpu(), layer.bias.float().cpu()
        outermost = place == layers[0][0] if name == "encoder" else place == layers[-1][0]
        if isinstance(layer, nn.Linear) and name == "encoder":  # a head: features (C, H, W) → codes
            weight = _parted(weight.view(len(weight), top, -1), factor, generator).flatten(1)
        elif isinstance(layer, nn.Linear):  # codes → features (C, H, W)
            weight, bias = (_of_channels(each, top, factor) for each in (weight, bias))
        elif name == "encoder" or place.startswith(blocks):
            weight = weight if outermost else _parted(weight, factor, generator)
            weight, bias = (each.repeat_interleave(factor, 0) for each in (weight, bias))
        else:  # to (channel, pixel of four)
            weight = _parted(weight, factor, generator)
            if not outermost:
                weight, bias = (_of_channels(each, len(each) // 4, factor) for each in (weight, bias))
        state[f"{name}.{place}.weight"], state[f"{name}.{place}.bias"] = weight, bias
    return state


def _of_channels(rows: Tensor, channels: int, factor: int) -> Tensor:
    """Outputs (channel, …) of a layer, each channel so many times."""
    return rows.view(channels, -1, *rows.shape[1:]).repeat_interleave(factor, 0).flatten(0, 1)


def _parted(weight: Tensor, factor: int, generator: torch.Generator) -> Tensor:
    """Weights (out, in, …) for inputs of which there are so many copies each."""
    shares = torch.rand(*weight.shape[:2], factor, generator=generator) + 0.5
    shares /= shares.sum(2, keepdim=True)
    return (weight[:, :, None] * shares.view(*shares.shape, *[1] * (weight.ndim - 2))).flatten(1, 2)
