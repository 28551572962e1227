r"""A critic on the maps of a network trained on other pictures: `sharpen --teacher eye`.

The critic of patches knows textures, and nothing of flowers. A network that was trained to tell a thousand things apart
(EfficientNet-Lite0, the extra `metrics`) sees petals and blossoms and stays fixed, so that the critic consists of small
heads on four of its maps (Sauer et al. 2021, "Projected GANs Converge Faster", https://arxiv.org/abs/2111.01007:
random projections, mixed from the coarse to the fine map, spectral normalisation, hinge loss). A fifth head looks at
the pixels, to whose texture the network is nearly blind.

Three things are needed for pictures that a person likes too (docs/log.md): codes as far from their mean as real ones;
crops that are shifted and enlarged by amounts drawn for each picture, since any fixed enlargement leaves its grid in
the gradient; and a decoder with enough channels to follow. Pictures of more than 64 px are looked at in crops, at full
size, at half of it, at a quarter …
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from betabloom.metrics.lite import LiteNetwork, normalised
from betabloom.refine.critic import Critic
from betabloom.refine.student import TINY, Recipe, Shares, autocast, pixel_gradient
from betabloom.system.hardware import choose_precision

if TYPE_CHECKING:
    from betabloom.refine.student import Before

__all__ = ["CHANNELS", "CUDA_RECIPE", "PROJECTED_RECIPE", "Crops", "Discriminator", "FeatureMaps", "ProjectedCritic"]

SIDE = 96  # pixels of a side that the network is shown; at the pictures' own size its gradient leaves a grid
MAPS = (2, 4, 10, 15)  # blocks behind which the critic looks
CHANNELS = (24, 40, 112, 320)  # of those maps
WIDTH = 64  # channels of the projections
WINDOW = 64  # pixels of a side that a crop has at most, of the picture at full size, half of it, a quarter …
NEAREST = 0.8  # part of them that it has at least
TRANSPARENT = 4  # channels of pictures that are laid on a ground to be seen
SHIFT = 2  # pixels by which what the head on pixels sees is shifted, at most
HEAD_START = 60  # steps in which the critic alone learns
WEIGHED_EVERY = 16  # steps between measurements of the gradients' norms, which take a second pass
PROJECTED_RECIPE = Recipe(
    Shares(likelihood=0.25, features=0.5, verdict=1.0), 4e-4, 2e-4, momentum=0.0, warm_up=50, real=10, fresh=22
)
CUDA_RECIPE = dataclasses.replace(PROJECTED_RECIPE, real=24, fresh=56)  # as quick there as fewer pictures


class FeatureMaps:
    """Maps of EfficientNet-Lite0 that gradients pass through: x (B, 3, S, S) in [0, 1] → four, from fine to coarse.

    Arguments:
        dtype: What it computes in.
        device: Where it computes.
    """

    def __init__(self, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> None:
        self._network = LiteNetwork("lite0", device, dtype)

    def __call__(self, x: Tensor) -> list[Tensor]:
        maps = self._network.maps(normalised(x, self._network.dtype))
        return [each.float() for index, each in enumerate(maps) if index in MAPS]


class Discriminator(nn.Module):
    """Four feature maps, and pixels x (B, C, H, W) → five maps of verdicts, each (B, 1, h, w).

    Arguments:
        channels: Of the pictures.
    """

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.across = nn.ModuleList(nn.Conv2d(c, WIDTH, 1, bias=False) for c in CHANNELS)
        self.down = nn.ModuleList(nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False) for _ in CHANNELS)
        for layer in (*self.across, *self.down):  # random, and never trained
            assert isinstance(layer, nn.Conv2d)  # noqa: S101  (for the type checker)
            nn.init.kaiming_normal_(layer.weight)
            layer.requires_grad_(requires_grad=False)
        strides = ((2, 2), (2, 1), (1, 1), (1, 1))
        self.heads = nn.ModuleList(
            nn.Sequential(*(_level(WIDTH, WIDTH, stride) for stride in each), spectral_norm(nn.Conv2d(WIDTH, 1, 1)))
            for each in strides
        )
        first = (spectral_norm(nn.Conv2d(channels, 32, 4, 2, 1)), nn.LeakyReLU(0.2))
        self.pixels = nn.Sequential(*first, _level(32, 64, 2), _level(64, 128, 2), spectral_norm(nn.Conv2d(128, 1, 1)))
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(len(CHANNELS)))

    def forward(self, maps: list[Tensor], x: Tensor) -> list[Tensor]:
        mixed, coarser = list[Tensor](), None
        for across, down, seen, scale in zip(
            reversed(self.across), reversed(self.down), reversed(maps), reversed(self.scale), strict=True
        ):
            h = across(seen / scale)
            if coarser is not None:
                h = h + F.interpolate(coarser, size=h.shape[2:], mode="bilinear")
            coarser = 0.5 * down(h)
            mixed.append(coarser)
        verdicts = [head(h).float() for head, h in zip(self.heads, reversed(mixed), strict=True)]
        return [*verdicts, self.pixels(2 * x - 1).float()]


def _level(before: int, after: int, stride: int) -> nn.Sequential:
    kernel = 4 if stride == 2 else 3
    convolution = spectral_norm(nn.Conv2d(before, after, kernel, stride=stride, padding=1))
    return nn.Sequential(convolution, nn.BatchNorm2d(after, track_running_stats=False), nn.LeakyReLU(0.2))


class Crops:
    """Random crops of so many pictures, all of about the same number of pixels, at every scale.

    Of pictures larger than `WINDOW` pixels, details and the whole are looked at: in turn one at full size, one at half
    of it, one at a quarter … Halves are means of 2×2 pixels, so that every pixel counts as much as its neighbour:
    reduced by bilinear sampling, some would count more, and the gradient would be a grid.

    Arguments:
        rng: Draws the crops.
        count: How many pictures.
        side: Of the pictures, the shorter one, in pixels.
    """

    def __init__(self, rng: np.random.Generator, count: int, side: int) -> None:
        shown = [min(1.0, WINDOW / side)]  # part of a picture's sides that a window has, at every scale
        while shown[-1] < 1:
            shown.append(min(1.0, 2 * shown[-1]))
        self.scales = len(shown)
        most = np.array(shown)[np.arange(count) % self.scales, None]
        part = (most * rng.uniform(NEAREST, 1.0, (count, 1))).astype(np.float32)
        middle = rng.uniform(-1, 1, (count, 2)).astype(np.float32) * (1 - part)
        where = np.zeros((count, 2, 3), np.float32)
        where[:, [0, 1], [0, 1]], where[:, :, 2] = part, middle
        self.grid = F.affine_grid(torch.from_numpy(where), [count, 3, SIDE, SIDE], align_corners=False)

    def of(self, x: Tensor) -> Tensor:
        """The crops of pictures x (count, C, H, W): (count, C, SIDE, SIDE)."""
        seen = []
        for scale in range(self.scales):
            own = x[scale :: self.scales]
            own = F.avg_pool2d(own, 2**scale) if scale else own
            grid = self.grid[scale :: self.scales].to(x.device)
            seen.append(F.grid_sample(own, grid, mode="bilinear", padding_mode="reflection", align_corners=False))
        order = np.concatenate([np.arange(len(x))[scale :: self.scales] for scale in range(self.scales)])
        return torch.cat(seen)[torch.from_numpy(np.argsort(order)).to(x.device)]


class ProjectedCritic(Critic[Discriminator]):
    """The critic of `sharpen --teacher eye`.

    Arguments:
        channels: Of the pictures: 3, which the feature network was trained on, or 4, which it is shown on random greys.
        recipe: What it learns with.
        device: Where it computes.
        seed: Of the crops.

    Attributes:
        silent: Steps in which it learns alone, and teaches nothing.
    """

    def __init__(self, channels: int, recipe: Recipe, device: torch.device, seed: int) -> None:
        self.silent, network = HEAD_START, Discriminator(channels)
        super().__init__(network.to(device=device, memory_format=torch.channels_last), recipe)  # type: ignore[call-overload]
        self.shares, self.pixels, self.device, self.seed = recipe.shares, recipe.pixels, device, seed
        dtype = choose_precision("auto", device)
        self.maps, self.quick_maps = (FeatureMaps(each, device) for each in (torch.float32, dtype))

    def gradient(self, step: int, x: Tensor, made: Tensor, before: Before | None = None) -> Tensor | None:
        """Learn from x (B, C, H, W) and x̂ (B + B', C, H, W); the gradient of all terms at x̂, None in the head start."""
        made.requires_grad_()
        rng = np.random.default_rng([self.seed, step, 1])
        count, side = len(x), min(x.shape[2:])
        crops, others = Crops(rng, count, side), Crops(rng, len(made) - count, side)
        left, top = rng.integers(0, 2 * SHIFT + 1, 2)
        grounds = rng.random(len(made), np.float32) if x.shape[1] == TRANSPARENT else None
        seen, seen_made = _laid(x, grounds), _laid(made, grounds)
        with torch.no_grad():
            wanted = self.quick_maps(crops.of(seen))
        found = self.maps(torch.cat([crops.of(seen_made[:count]), others.of(seen_made[count:])]))
        plain, own = (_shifted(each, left, top) for each in (x, made))
        if step == 0:
            self.network.scale.copy_(torch.stack([each.std() for each in wanted]))
        self._learn((wanted, plain), ([each.detach() for each in found], own.detach()))
        if step < self.silent:
            return None
        with autocast(self.device):
            *of_maps, of_pixels = (each.mean() for each in self.network(found, own))
        verdict = -torch.stack([*of_maps, self.pixels * of_pixels]).sum()
        gradient = self._weighed(step, self._likeness(found, wanted), verdict, made)
        return gradient + pixel_gradient(x, made, self.shares.likelihood)

    def _learn(self, real: tuple[list[Tensor], Tensor], drawn: tuple[list[Tensor], Tensor]) -> None:
        with autocast(self.device):
            verdicts = list(zip(self.network(*real), self.network(*drawn), strict=True))
        self.optimiser.step(verdicts)

    def _likeness(self, found: list[Tensor], wanted: list[Tensor]) -> Tensor:
        """The distance of the maps of reconstructions from those of their pictures."""
        rows = zip(found, wanted, self.network.scale, strict=True)
        return torch.stack([(a[: len(b)] - b).abs().mean() / scale for a, b, scale in rows]).sum()

    def _weighed(self, step: int, likeness: Tensor, verdict: Tensor, made: Tensor) -> Tensor:
        """The gradient of both terms, scaled to their shares by norms that are measured now and then."""
        if self.weights is None or step % WEIGHED_EVERY == 0:
            norms = [
                torch.autograd.grad(each, made, retain_graph=True)[0].norm().item() for each in (likeness, verdict)
            ]
            now = 1 / max(norms[0], TINY), 1 / max(norms[1], TINY)
            old = self.weights or now
            self.weights = 0.5 * (old[0] + now[0]), 0.5 * (old[1] + now[1])
        features, judged = self.shares.features * self.weights[0], self.shares.verdict * self.weights[1]
        gradient: Tensor = torch.autograd.grad(features * likeness + judged * verdict, made)[0]
        return gradient


def _laid(x: Tensor, grounds: np.ndarray | None) -> Tensor:
    """Premultiplied pictures (B, 4, H, W) on grey levels (≥ B,) in [0, 1]: (B, 3, H, W); others as they are."""
    if grounds is None:
        return x
    return x[:, :3] + (1 - x[:, 3:]) * torch.from_numpy(grounds[: len(x), None, None, None]).to(x.device)


def _shifted(x: Tensor, left: int, top: int) -> Tensor:
    padded = F.pad(x, (SHIFT,) * 4, mode="reflect")
    return padded[:, :, top : top + x.shape[2], left : left + x.shape[3]]
