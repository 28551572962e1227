"""The networks and training loops of PyTorch-VAE and of the seed as anybody would write them: eager, fp32, no frills.

Neither is on PyPI; both are written again from their descriptions. Nothing of betabloom is used here.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class PyTorchVAE(nn.Module):
    """AntixK/PyTorch-VAE's `VanillaVAE` for 3×64×64 in [−1, 1]."""

    def __init__(self, latents: int = 128, widths: tuple[int, ...] = (32, 64, 128, 256, 512)) -> None:
        super().__init__()
        down: list[nn.Module] = []
        for before, after in itertools.pairwise((3, *widths)):
            down += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.LeakyReLU()]
        up: list[nn.Module] = []
        for before, after in itertools.pairwise((*reversed(widths), widths[0])):
            up += [
                nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=1),
                nn.BatchNorm2d(after),
                nn.LeakyReLU(),
            ]
        self.down, self.up = nn.Sequential(*down), nn.Sequential(*up, nn.Conv2d(widths[0], 3, 3, padding=1), nn.Tanh())
        self.mean, self.log_var = nn.Linear(widths[-1] * 4, latents), nn.Linear(widths[-1] * 4, latents)
        self.first = nn.Linear(latents, widths[-1] * 4)

    def loss(self, x: Tensor) -> Tensor:
        h = self.down(x).flatten(1)
        mean, log_var = self.mean(h), self.log_var(h)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        y = self.up(self.first(z).view(len(x), -1, 2, 2))
        kl = -0.5 * torch.sum(1 + log_var - mean**2 - log_var.exp(), 1)
        return F.mse_loss(y, x) + 0.00025 * kl.mean()


class Seed(nn.Module):
    """The seed's network for 3×136×136: 5×5 convolutions of stride 1 and three linear layers of 524,288×64."""

    def __init__(self, latents: int = 64) -> None:
        super().__init__()
        features = 32 * 128 * 128
        self.down = nn.Sequential(nn.Conv2d(3, 16, 5), nn.GELU("tanh"), nn.Conv2d(16, 32, 5), nn.GELU("tanh"))
        self.mean, self.log_var = nn.Linear(features, latents), nn.Linear(features, latents)
        self.first = nn.Sequential(nn.Linear(latents, features), nn.GELU("tanh"))
        self.up = nn.Sequential(nn.ConvTranspose2d(32, 16, 5), nn.GELU("tanh"), nn.ConvTranspose2d(16, 3, 5))
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                nn.init.xavier_uniform_(module.weight)

    def loss(self, x: Tensor) -> Tensor:
        h = self.down(x).flatten(1)
        mean, log_var = self.mean(h), self.log_var(h)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        y = torch.sigmoid(self.up(self.first(z).view(len(x), 32, 128, 128)))
        kl = -0.5 * torch.sum(1 + log_var - mean**2 - log_var.exp())
        return F.binary_cross_entropy(y, x, reduction="sum") + 4.0 * kl


def fit(model: PyTorchVAE | Seed, x: Tensor, epochs: int, batch: int, rate: float, steps: int = 10**9) -> None:
    """Train on pictures x (N, C, H, W): shuffle, step, look at the loss, nothing else; `steps` of an epoch at most."""
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    loader = DataLoader(TensorDataset(x), batch_size=batch, shuffle=True)
    for _ in range(epochs):
        for (pictures,) in itertools.islice(loader, steps):
            optimiser.zero_grad()
            loss = model.loss(pictures)
            loss.backward()
            optimiser.step()
            loss.item()


BLUR = ImageFilter.Kernel((3, 3), (7, 8, 7, 8, 9, 8, 7, 8, 7), 69)  # σ = 2 cut to 3×3, as the seed has it


def enhance(path: Path) -> Image.Image:
    """The seed's chain for one photo, 136×136, in Pillow throughout; its first blur, of 1×1 pixels, does nothing."""
    steps: list[Callable[[Image.Image], Image.Image]] = [
        lambda image: ImageOps.fit(image, (384, 384), Image.Resampling.BICUBIC),
        lambda image: image.crop((32, 32, 352, 352)),
        lambda image: image.point([min(255, round(255 * 1.1 * (i / 255) ** 1.6)) for i in range(256)] * 3),
        lambda image: ImageEnhance.Brightness(image).enhance(0.7),
        lambda image: ImageEnhance.Color(image).enhance(1.5),
        ImageOps.autocontrast,
        lambda image: ImageEnhance.Sharpness(image).enhance(4),
        lambda image: image.filter(BLUR),
        lambda image: image.resize((256, 256), Image.Resampling.BICUBIC),
        lambda image: image.crop((60, 60, 196, 196)),
    ]
    image = Image.open(path).convert("RGB")
    for step in steps:
        image = step(image)
    return image
