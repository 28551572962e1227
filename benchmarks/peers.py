"""Networks and losses of other projects, written again from their descriptions, for our own training loop.

Importing this module adds them to `betabloom.networks.build.FAMILIES` and `betabloom.vae.likelihood.LIKELIHOODS`;
`RECIPES` then says with which settings each is trained: its published network, loss, β and batch; optimiser schedule,
averaged weights and mirroring are ours, for all of them alike.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from betabloom.networks.build import FAMILIES, Decoder, Encoder, Family
from betabloom.networks.cpu_layers import Transposed, View
from betabloom.vae.likelihood import LIKELIHOODS, Gaussian

if TYPE_CHECKING:
    from collections.abc import Sequence

    from betabloom.networks.build import Shape

__all__ = ["RECIPES"]


class Scale(nn.Module):
    """x → a·x + b."""

    def __init__(self, a: float, b: float = 0.0) -> None:
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x: Tensor) -> Tensor:
        return self.a * x + self.b


def pytorch_vae(shape: Shape, latents: int, widths: Sequence[int], kernel: int) -> tuple[Encoder, Decoder]:
    """AntixK/PyTorch-VAE's `VanillaVAE` for 64×64: five strided 3×3 convolutions with BatchNorm and LeakyReLU.

    It works on [−1, 1] and ends in tanh(η) = 2·sigmoid(2η) − 1, hence the scales at both ends.
    """
    down: list[nn.Module] = [Scale(2, -1)]
    for before, after in itertools.pairwise([shape[0], *widths]):
        down += [nn.Conv2d(before, after, kernel, stride=2, padding=1), nn.BatchNorm2d(after), nn.LeakyReLU()]
    features = widths[-1] * 4
    up: list[nn.Module] = [nn.Linear(latents, features), View((widths[-1], 2, 2))]
    for before, after in itertools.pairwise([*reversed(widths), widths[0]]):
        up += [
            Transposed(before, after, kernel, stride=2, padding=1, output_padding=1),
            nn.BatchNorm2d(after),
            nn.LeakyReLU(),
        ]
    up += [nn.Conv2d(widths[0], shape[0], kernel, padding=1), Scale(2)]
    return Encoder(nn.Sequential(*down), features, latents), Decoder(nn.Sequential(*up))


def pythae_celeba(shape: Shape, latents: int, widths: Sequence[int], kernel: int) -> tuple[Encoder, Decoder]:
    """pythae's `Encoder_Conv_VAE_CELEBA` and `Decoder_Conv_AE_CELEBA` (4×4 down, 5×5 up, BatchNorm, ReLU)."""
    down: list[nn.Module] = []
    for before, after in itertools.pairwise([shape[0], *widths]):
        down += [nn.Conv2d(before, after, kernel, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    up: list[nn.Module] = [nn.Linear(latents, widths[3] * 64), View((widths[3], 8, 8))]
    for before, after, padding, extra in (
        (widths[3], widths[2], 2, 0),
        (widths[2], widths[1], 1, 0),
        (widths[1], widths[0], 2, 1),
    ):
        up += [
            Transposed(before, after, 5, stride=2, padding=padding, output_padding=extra),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
    up += [Transposed(widths[0], shape[0], 5, padding=1)]
    return Encoder(nn.Sequential(*down), widths[3] * 16, latents), Decoder(nn.Sequential(*up))


def disent_conv64(shape: Shape, latents: int, widths: Sequence[int], kernel: int) -> tuple[Encoder, Decoder]:
    """disent's `EncoderConv64` and `DecoderConv64`: 4×4 strided convolutions, two linear layers, ReLU."""
    down: list[nn.Module] = []
    for before, after in itertools.pairwise([shape[0], *widths]):
        down += [nn.Conv2d(before, after, kernel, stride=2, padding=2), nn.ReLU(inplace=True)]
    down += [nn.Flatten(), nn.Linear(widths[-1] * 25, 256), nn.ReLU(inplace=True)]
    up: list[nn.Module] = [nn.Linear(latents, 256), nn.ReLU(inplace=True)]
    up += [nn.Linear(256, widths[-1] * 16), nn.ReLU(inplace=True), View((widths[-1], 4, 4))]
    for before, after in zip(reversed(widths), [*reversed(widths[:-1]), shape[0]], strict=True):
        up += [Transposed(before, after, kernel, stride=2, padding=1), nn.ReLU(inplace=True)]
    return Encoder(nn.Sequential(*down), 256, latents), Decoder(nn.Sequential(*up[:-1]))


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
