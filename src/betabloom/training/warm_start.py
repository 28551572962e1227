r"""Training that starts from a model: from what it knows of pictures, and not from nothing.

Where pictures have the model's size, all its weights are taken. Where they are 2, 4, 8 … times as large, the network
gets 1, 2, 3 … finer levels (Karras et al. 2018, "Progressive Growing of GANs", https://arxiv.org/abs/1710.10196,
section 2):

- the encoder hands means of 2×2 pixels through the new levels, so that at first its posterior is that of the model for
  the smaller picture, exactly but for rounding;
- the decoder has the model's levels up to the last one before the pixels, and the finer ones are new.

Everything is trained on from there, but for the decoder if the setting `keep_decoder` says so: one that was
sharpened draws sharply, and would learn from the likelihood to blur.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from betabloom.errors import UsageError
from betabloom.model.directory import read_description
from betabloom.model.model import load
from betabloom.networks.spec import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from betabloom.config import Config
    from betabloom.vae.vae import VAE

__all__ = ["warm_start", "with_initial_model"]


def with_initial_model(config: Config) -> Config:
    """Return the settings with the network of the model that training starts from, if it starts from one.

    Raises:
        UsageError: The model is not there, or has no use for pictures of this size.
        FormatError: It is damaged.
    """
    if not config.train.init_from:
        if config.train.keep_decoder:
            raise UsageError("'keep_decoder' needs a model to start from. Name one: --from flowers64")
        return config
    about = read_description(config.train.init_from)
    more, widths = _levels(config, about.config), _widths(about.config)
    if more and config.train.keep_decoder:
        raise UsageError("The decoder that is kept draws pictures of its own size. Leave out --size.")
    network = {**about.config.to_dict()["model"], "widths": (*[widths[0]] * more, *widths)}
    path = Path(config.train.init_from)
    name = str(path.resolve()) if path.exists() else config.train.init_from
    return config.replace({**{f"model.{key}": value for key, value in network.items()}, "init_from": name})


def _levels(config: Config, theirs: Config) -> int:
    """How many levels a network needs beyond the model's: log₂ of how many times as large its pictures are."""
    (channels, height, width), (own, low, narrow) = config.shape, theirs.shape
    more = (height // low).bit_length() - 1
    fits = more >= 0 and (channels, height, width) == (own, low << more, narrow << more)
    grows = theirs.model.family == "residual" and not theirs.model.enlargers and channels <= _widths(theirs)[0]
    if fits and (grows or not more):
        return more
    sizes = [f"{narrow << i}x{low << i}" for i in range(3 if grows else 1)]
    kinds = {1: "grey", 3: "coloured", 4: "transparent"}
    kind, mine = kinds[own], kinds[channels]
    hint = "" if own == channels else f" and --channels {own}"
    raise UsageError(
        f"{config.train.init_from} draws {kind} pictures of {narrow}x{low} pixels. Training can start from it with "
        f"--size {', '.join(sizes)}{' …' if grows else ''}{hint}, not with {mine} pictures of {width}x{height}."
    )


def _widths(config: Config) -> tuple[int, ...]:
    return config.model.widths or FAMILIES[config.model.family].widths


@torch.no_grad()
def warm_start(vae: VAE, config: Config) -> None:
    """Give an untrained model the weights that it starts from; `config` comes from `with_initial_model`.

    Raises:
        UsageError: The model is not there any more, or another.
        FormatError: It is damaged.
    """
    model = load(config.train.init_from)
    more = _levels(config, model.config)
    given, mine = dict(model.vae.state_dict()), vae.state_dict()
    if more:
        given = _decoders(given) | _encoders(given, mine, more, config.shape[0])
        if model.config.model.prior == "vamp":  # its components are pictures
            given["prior.logits"] = F.interpolate(given["prior.logits"], scale_factor=2**more)
    if not all(_fits(name, value, mine) for name, value in given.items()):
        raise UsageError(f"{config.train.init_from} has changed since this training was started from it.")
    for name, value in given.items():
        mine[name].copy_(value)


def _fits(name: str, value: Tensor, weights: Mapping[str, Tensor]) -> bool:
    return name in weights and weights[name].shape == value.shape


def _decoders(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All but the encoder's body and the decoder's layer to pixels, which has the same names in a deeper network."""
    to_pixels = max(int(name.split(".")[2]) for name in found if name.startswith("decoder.body."))
    new = ("encoder.body.", f"decoder.body.{to_pixels}.", "decoder.head.")
    return {name: value for name, value in found.items() if not name.startswith(new)}


def _encoders(found: Mapping[str, Tensor], mine: Mapping[str, Tensor], more: int, channels: int) -> dict[str, Tensor]:
    """The body of the encoder, by its names in a network with `more` levels before it, of a convolution and a block."""
    given = {}
    for level in range(more):
        name = f"encoder.body.{1 + 2 * level}"
        weight, bias = (mine[f"{name}.{part}"].clone() for part in ("weight", "bias"))
        weight[:channels], bias[:channels] = 0, 0
        for channel in range(channels):
            weight[channel, channel, 1:3, 1:3] = 0.25  # the mean of 2×2 pixels; the block after it begins as nothing
        given[f"{name}.weight"], given[f"{name}.bias"] = weight, bias
    for name, value in found.items():
        if name.startswith("encoder.body."):
            index, *rest = name.removeprefix("encoder.body.").split(".")
            given[".".join(["encoder", "body", str(int(index) + 2 * more), *rest])] = value
    name = f"encoder.body.{1 + 2 * more}.weight"
    first = torch.zeros_like(mine[name])
    first[:, :channels] = given[name]
    given[name] = first
    return given
