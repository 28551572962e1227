"""Networks and losses of other projects, written again from their descriptions, for our own training loop.

Importing this module adds them to `betabloom.networks.spec.FAMILIES` and `betabloom.vae.likelihood.LIKELIHOODS`, and
kinds of layers that only they have to `betabloom.networks.build.MODULES`; `RECIPES` then says with which settings each
is trained: its published network, loss, β and batch; optimiser schedule, averaged weights and mirroring are ours, for
all of them alike.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from betabloom.networks.build import MODULES
from betabloom.networks.cpu_layers import Transposed
from betabloom.networks.spec import CENTRE, FAMILIES, FLATTEN, RELU, Family, Layer
from betabloom.vae.likelihood import LIKELIHOODS, Gaussian

if TYPE_CHECKING:
    from collections.abc import Sequence

    from betabloom.networks.spec import Layers, Shape

__all__ = ["RECIPES"]


class Double(nn.Module):
    """x → 2·x."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def _one_larger(layer: Layer) -> nn.Module:
    return Transposed(layer.inputs, layer.outputs, layer.kernel, layer.stride, layer.padding, output_padding=1)


MODULES["batch-norm"] = lambda layer: nn.BatchNorm2d(layer.outputs)
MODULES["leaky-relu"] = lambda layer: nn.LeakyReLU()
MODULES["double"] = lambda layer: Double()
MODULES["transposed-one-larger"] = _one_larger
LEAKY, DOUBLE = Layer("leaky-relu"), Layer("double")


def _normalised(layer: Layer, activation: Layer) -> list[Layer]:
    return [layer, Layer("batch-norm", layer.outputs, layer.outputs), activation]


def _down(shape: Shape, widths: Sequence[int], kernel: int, padding: int) -> list[Layer]:
    pairs = itertools.pairwise([shape[0], *widths])
    return [Layer("conv", before, after, kernel, 2, padding) for before, after in pairs]


def pytorch_vae(shape: Shape, latents: int, widths: Sequence[int], kernel: int) -> Layers:
    """AntixK/PyTorch-VAE's `VanillaVAE` for 64×64: five strided 3×3 convolutions with BatchNorm and LeakyReLU.

    It works on [−1, 1] and ends in tanh(η) = 2·sigmoid(2η) − 1, hence the scales at both ends.
    """
    features = widths[-1] * 4
    down = [CENTRE, *(each for layer in _down(shape, widths, kernel, 1) for each in _normalised(layer, LEAKY))]
    up = [Layer("linear", latents, features), Layer("view", shape=(widths[-1], 2, 2))]
    for before, after in itertools.pairwise([*reversed(widths), widths[0]]):
        up += _normalised(Layer("transposed-one-larger", before, after, kernel, 2, 1), LEAKY)
    return down, features, [*up, Layer("conv", widths[0], shape[0], kernel, padding=1), DOUBLE]


def pythae_celeba(shape: Shape, latents: int, widths: Sequence[int], kernel: int) -> Layers:
    """pythae's `Encoder_Conv_VAE_CELEBA` and `Decoder_Conv_AE_CELEBA` (4×4 down, 5×5 up, BatchNorm, ReLU)."""
    down = [each for layer in _down(shape, widths, kernel, 1) for each in _normalised(layer, RELU)]
    up = [Layer("linear", latents, widths[3] * 64), Layer("view", shape=(widths[3], 8, 8))]
    for kind, before, after, padding in (
        ("transposed", widths[3], widths[2], 2),
        ("transposed", widths[2], widths[1], 1),
        ("transposed-one-larger", widths[1], widths[0], 2),
    ):
        up += _normalised(Layer(kind, before, after, 5, 2, padding), RELU)
    return down, widths[3] * 16, [*up, Layer("transposed", widths[0], shape[0], 5, padding=1)]


def disent_conv64(shape: Shape, latents: int, widths: Sequence[int], kernel: int) -> Layers:
    """disent's `EncoderConv64` and `DecoderConv64`: 4×4 strided convolutions, two linear layers, ReLU."""
    down = [each for layer in _down(shape, widths, kernel, 2) for each in (layer, RELU)]
    down += [FLATTEN, Layer("linear", widths[-1] * 25, 256), RELU]
    up = [Layer("linear", latents, 256), RELU, Layer("linear", 256, widths[-1] * 16), RELU]
    up += [Layer("view", shape=(widths[-1], 4, 4))]
    for before, after in zip(reversed(widths), [*reversed(widths[:-1]), shape[0]], strict=True):
        up += [Layer("transposed", before, after, kernel, 2, 1), RELU]
    return down, 256, up[:-1]


FAMILIES["disent-conv64"] = Family(disent_conv64, (32, 32, 64, 64), 4)
FAMILIES["pytorch-vae"] = Family(pytorch_vae, (32, 64, 128, 256, 512), 3, even=False)
FAMILIES["pythae-celeba"] = Family(pythae_celeba, (128, 256, 512, 1024), 4)
# Mean squared error on [−1, 1] + 0.00025 · KL is, times 4000, a Gaussian of σ² = 12288 / (2 · 4000) there, and β = 1.
LIKELIHOODS["pytorch-vae"] = partial(Gaussian, scale=(12288 / 8000) ** 0.5 / 2)
# ½ Σ (x − μ)² + KL: a Gaussian with σ = 1 on [0, 1].
LIKELIHOODS["pythae"] = partial(Gaussian, scale=1.0)
# Mean squared error + 0.003 · mean KL of l latents is, times 12288, a Gaussian of σ² = ½, linear, and β = 36.864 / l.
LIKELIHOODS["disent"] = partial(Gaussian, scale=0.5**0.5, link="identity")

ALIKE = {"beta_schedule": "constant", "clip": 0.0, "optimiser": "adam"}
RECIPES: dict[str, dict[str, Any]] = {
    "burgess": {**ALIKE, "family": "burgess", "latents": 64, "likelihood": "bernoulli", "beta": 4.0, "batch": 64},
    "pytorch-vae": {
        **ALIKE, "family": "pytorch-vae", "latents": 128, "likelihood": "pytorch-vae", "beta": 1.0, "batch": 64,
    },
    "disent": {
        **ALIKE, "family": "disent-conv64", "latents": 64, "likelihood": "disent", "beta": 0.576, "batch": 64,
    },
    "pythae": {**ALIKE, "family": "pythae-celeba", "latents": 64, "likelihood": "pythae", "beta": 1.0, "batch": 64},
}  # fmt: skip
"""Settings of each peer, as differences from our own defaults."""
