"""A model as programs of `torch.export`, which run in torch without betabloom, with any number of pictures.

`decoder.pt2`: codes (n, l) → pictures; `encoder.pt2`: pictures → mean, log-variance; `generator.pt2`: noise (n, l) and
choices (n,) → pictures and codes. Pictures are uint8 (n, H, W, C). The `.pt2` format is torch's own: load only files
that you trust. betabloom writes them, and never reads one from elsewhere.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from betabloom.export.networks import network_of
from betabloom.export.parity import CHECKED, measured
from betabloom.seeds import base_noise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from betabloom.model.model import Model
    from betabloom.networks.spec import Layer, Named
    from betabloom.vae.prior import Prior

    Weights = Mapping[str, Tensor]
    Write = Callable[[Layer, str, Weights, Tensor], Tensor]

__all__ = ["write_torch"]


def _residual(layer: Layer, name: str, weights: Weights, x: Tensor) -> Tensor:
    return x + _apply(layer.parts(name), weights, x)


def _enlarger(layer: Layer, name: str, weights: Weights, x: Tensor) -> Tensor:
    detail = _apply(layer.parts(name), weights, torch.tanh(x / 2))
    return F.pixel_shuffle(x.repeat_interleave(4, 1) + detail, 2)


def _weighted(compute: Callable[..., Tensor]) -> Write:
    """A convolution, or its transpose."""
    return lambda layer, name, weights, x: compute(
        x, weights[f"{name}.weight"], weights[f"{name}.bias"], layer.stride, layer.padding
    )


def _plain(compute: Callable[[Tensor], Tensor]) -> Write:
    """A layer without weights."""
    return lambda layer, name, weights, x: compute(x)


LAYERS: dict[str, Write] = {
    "linear": lambda layer, name, weights, x: F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"]),
    "conv": _weighted(F.conv2d),
    "transposed": _weighted(F.conv_transpose2d),
    "view": lambda layer, name, weights, x: x.reshape(-1, *layer.shape),
    "residual": _residual,
    "enlarger": _enlarger,
    "flatten": _plain(lambda x: x.flatten(1)),
    "centre": _plain(lambda x: 2 * x - 1),
    "shuffle": _plain(lambda x: F.pixel_shuffle(x, 2)),
    "relu": _plain(F.relu),
    "silu": _plain(F.silu),
    "gelu": _plain(lambda x: F.gelu(x, approximate="tanh")),
}
"""What a layer of each kind computes: (layer, name, weights, x). The modules for training loop over pictures."""


def _apply(layers: Named, weights: Weights, x: Tensor) -> Tensor:
    for name, layer in layers:
        x = LAYERS[layer.kind](layer, name, weights, x)
    return x


class _Layers(nn.Module):
    """Layers of a network with their weights."""

    def __init__(self, model: Model, layers: Named) -> None:
        super().__init__()
        self.layers, self.names = layers, {}
        for name, value in model.vae.state_dict().items():
            if any(name.startswith(f"{own}.") for own, _ in layers):
                self.names[name] = name.replace(".", "_")
                self.register_buffer(self.names[name], value.float().contiguous())

    def applied(self, layers: Named, x: Tensor) -> Tensor:
        """What comes out of some of them."""
        return _apply(layers, {name: getattr(self, own) for name, own in self.names.items()}, x)


class _Decoder(_Layers):
    """Codes → pictures."""

    def __init__(self, model: Model) -> None:
        super().__init__(model, network_of(model.config, LAYERS).decoder_layers())
        self.likelihood = model.vae.likelihood

    def forward(self, codes: Tensor) -> Tensor:
        x = self.likelihood.mean(self.applied(self.layers, codes))
        return x.clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class _Generator(_Decoder):
    """Noise and choices → pictures and codes."""

    def __init__(self, model: Model, density: nn.Module) -> None:
        super().__init__(model)
        self.density = density

    def forward(self, noise: Tensor, choice: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        codes = self.density(noise, choice)
        return super().forward(codes), codes


class _Encoder(_Layers):
    """Pictures → mean and log-variance."""

    def __init__(self, model: Model) -> None:
        network, heads = network_of(model.config, LAYERS), model.vae.posterior.heads(model.config.model.latents)
        super().__init__(model, network.encoder_layers(heads))
        self.posterior, self.heads = model.vae.posterior, len(heads)
        self.factor = 2 ** len(network.enlargers)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        x = pictures.permute(0, 3, 1, 2).float() / 255
        x = F.avg_pool2d(x, self.factor) if self.factor > 1 else x
        features = self.applied(self.layers[: -self.heads], x).flatten(1)
        found = self.posterior.of(*(self.applied([head], features) for head in self.layers[-self.heads :]))
        return found.mean, found.log_var


class _Sampler(nn.Module):
    """Noise and choices → codes."""

    def __init__(self, density: Prior) -> None:
        super().__init__()
        self.density = density

    def forward(self, noise: Tensor, choice: Tensor) -> Tensor:
        return self.density.sample(noise, choice)


class _Components(nn.Module):
    """The same for a prior with components, which may have to call the encoder for them: once, here."""

    def __init__(self, components: tuple[Tensor, Tensor, Tensor]) -> None:
        super().__init__()
        log_weight, mean, log_var = components
        self.edges: Tensor
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("edges", log_weight.double().exp().cumsum(0))
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", torch.exp(0.5 * log_var))

    def forward(self, noise: Tensor, choice: Tensor) -> Tensor:
        k = torch.searchsorted(self.edges, choice.double()).clamp_max(len(self.edges) - 1)
        return self.mean[k] + self.std[k] * noise


def _sampler(density: Prior) -> nn.Module:
    components = getattr(density, "components", None)
    if not callable(components):
        return _Sampler(density)
    with torch.no_grad():
        return _Components(components())


def write_torch(model: Model, folder: Path, sampler: str = "auto") -> dict[str, Any]:
    """Write the programs into a folder, and return facts about them, `parity` among them.

    Raises:
        BetabloomError: A program does not compute what the model computes.
    """
    config = model.config
    noise, choice = (torch.from_numpy(each) for each in base_noise(0, 3, config.model.latents))
    channels, height, width = config.shape
    pictures = torch.zeros((3, height, width, channels), dtype=torch.uint8)
    _save(_Generator(model, _sampler(model.density(sampler))), (noise, choice), folder / "generator.pt2")
    _save(_Decoder(model), (noise,), folder / "decoder.pt2")
    _save(_Encoder(model), (pictures,), folder / "encoder.pt2")
    return {
        "torch": torch.__version__,
        "parity": measured(model, sampler, lambda stem, feeds: _run(folder, stem, feeds)),
    }


def _save(module: nn.Module, inputs: tuple[Tensor, ...], file: Path) -> None:
    any_number = torch.export.Dim("n", min=1, max=1 << 20)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of channels_last weights, which are saved whole
        module.eval()(*inputs)  # what a density works out once is there then
        program = torch.export.export(module, inputs, dynamic_shapes=tuple({0: any_number} for _ in inputs))
        torch.export.save(program, file)


def _run(folder: Path, stem: str, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What a program makes of arrays, first of one of each, then of the rest together."""
    program = torch.export.load(folder / f"{stem}.pt2").module()
    parts = []
    for rows in (slice(1), slice(1, CHECKED)):
        made = program(*(torch.from_numpy(value[rows]) for value in feeds.values()))
        parts.append([each.numpy() for each in (made if isinstance(made, tuple) else (made,))])
    return [np.concatenate(pair) for pair in zip(*parts, strict=True)]
