"""A small critic with verdicts on patches, learned from the pictures at hand alone.

Verdicts on patches are those of Isola et al. 2017, https://arxiv.org/abs/1611.07004, section 3.2.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from betabloom.refine.critic import Critic
from betabloom.refine.student import TINY, Recipe, Shares, autocast, pixel_gradient

if TYPE_CHECKING:
    from betabloom.refine.student import Before

__all__ = ["LARGE_RECIPE", "PATCH_RECIPE", "PatchCritic", "PatchDiscriminator"]

WIDTHS = (32, 64, 128, 256)
JUDGED_LEVELS = 2  # so many of the last levels have a verdict
PATCH_RECIPE = Recipe(Shares())
LARGE_RECIPE = Recipe(Shares(verdict=0.2), real=16, fresh=12)  # tried with pictures of 128 px (docs/log.md)


class PatchDiscriminator(nn.Module):
    """x (B, C, H, W) in [0, 1] → the features of each level, and verdicts on patches (B, P).

    Strided 4×4 convolutions with spectral normalisation (Miyato et al. 2018, https://arxiv.org/abs/1802.05957). The
    last two levels have a verdict on each of their places: the patches have sides of 22 and 46 pixels.
    """

    def __init__(self, channels: int, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        sizes = zip((channels, *widths), widths, strict=False)
        self.levels = nn.ModuleList(spectral_norm(nn.Conv2d(a, b, 4, stride=2, padding=1)) for a, b in sizes)
        self.heads = nn.ModuleList(spectral_norm(nn.Conv2d(a, 1, 1)) for a in widths[-JUDGED_LEVELS:])

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        features, h = list[Tensor](), 2 * x - 1
        for level in self.levels:
            h = F.leaky_relu(level(h), 0.2)
            features.append(h)
        verdicts = [head(h).flatten(1) for head, h in zip(self.heads, features[-JUDGED_LEVELS:], strict=True)]
        return features, torch.cat(verdicts, 1).float()


class PatchCritic(Critic[PatchDiscriminator]):
    """The critic of `sharpen --teacher patches`, and of `enlarge`.

    Arguments:
        channels: Of the pictures.
        recipe: What it learns with.
        device: Where it computes.
        head_start: Steps in which students follow the pixels alone, while the critic learns.
    """

    def __init__(self, channels: int, recipe: Recipe, device: torch.device, head_start: int = 0) -> None:
        network = PatchDiscriminator(channels)
        super().__init__(network.to(device=device, memory_format=torch.channels_last), recipe)  # type: ignore[call-overload]
        self.shares, self.device, self.head_start, self.silent = recipe.shares, device, head_start, 0

    def gradient(self, step: int, x: Tensor, made: Tensor, before: Before | None = None) -> Tensor | None:
        """Learn from x and x̂; the gradient of all terms at x̂."""
        with autocast(self.device):
            _, verdicts = self.network(torch.cat([x, made]))
        self.optimiser.step([(verdicts[: len(x)], verdicts[len(x) :])])
        if step < self.head_start:
            return pixel_gradient(x, made, 1.0)
        return self._gradient(x, made.requires_grad_())

    def _gradient(self, x: Tensor, made: Tensor) -> Tensor:
        """The sum of the terms' gradients, each scaled to its share."""
        with autocast(self.device):
            with torch.no_grad():
                wanted, _ = self.network(x)
            features, verdicts = self.network(made)
            apart = sum((a[: len(x)] - b).abs().float().mean() for a, b in zip(features, wanted, strict=True))
        (by_features,) = torch.autograd.grad(apart, made, retain_graph=True)
        (by_verdict,) = torch.autograd.grad(-verdicts.mean(), made)
        gradient = pixel_gradient(x, made, self.shares.likelihood)
        for each, share in ((by_features, self.shares.features), (by_verdict, self.shares.verdict)):
            gradient += share / each.norm().clamp_min(TINY) * each
        return gradient
