r"""A critic that looks through a network trained on other pictures: what `sharpen` has for long budgets.

A small critic knows textures, and nothing of flowers: its verdicts are on patches. A network that has learned to tell a
thousand things apart (EfficientNet-Lite0, the extra `metrics`) sees petals and blossoms, is fixed, and cannot be won
over by the few pictures at hand, so that the critic consists of little heads on four of its maps (Sauer et al. 2021,
"Projected GANs Converge Faster", https://arxiv.org/abs/2111.01007: random projections, mixed from the coarse to the
fine map, spectral normalisation, hinge loss). A fifth head looks at the pixels, whose texture the eye does not mind.

Three things are needed for pictures that a person likes too (docs/log.md): codes as far from their mean as real ones,
views that are shifted and enlarged by amounts drawn for each picture, since any fixed enlargement leaves its grid in
the gradient; and a decoder with enough channels to follow. Pictures of more than 64 px are looked at in windows, as
they are and at half their size, a quarter …
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from betabloom.metrics.lite import MEAN, STD, Lite
from betabloom.refine.critic import DecoderTrainer, Shares

if TYPE_CHECKING:
    from betabloom.model.model import Model

__all__ = ["CHANNELS", "Crops", "Discriminator", "FeatureMaps", "ProjectedDecoderTrainer"]

SIDE = 96  # pixels that the eye is shown; where it sees single pixels as they are, its gradient leaves a grid on them
MAPS = (2, 4, 10, 15)  # blocks behind which the critic looks
CHANNELS = (24, 40, 112, 320)  # of those maps
WIDTH = 64  # channels of the projections
PIXELS = 3.0  # times the weight of another head: what the eye does not mind is stippled otherwise
WINDOW = 64  # pixels of a side that a view shows at most, of the picture as it is or at half its size, a quarter …
NEAREST = 0.8  # part of them that it shows at least
SHIFT = 2  # pixels by which the head that looks at pixels may see them shifted
ALONE = 60  # steps that the critic is ahead
WEIGHED_EVERY = 16  # steps between looks at how long the terms' gradients are, which takes a second pass
WARM_UP = 50  # steps
MANY = 24, 56  # pictures known and new in a step with CUDA


class FeatureMaps:
    """Maps of EfficientNet-Lite0 that gradients pass through: x (B, 3, S, S) in [0, 1] → four, from fine to coarse.

    `Lite` goes through the same layers with products of matrices, in place: quicker for features, and with gradients it
    takes 1.7 times as long as this (one core, 32 views).

    Arguments:
        dtype: What it computes in.
        device: Where.
    """

    def __init__(self, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> None:
        self.dtype, self.device = dtype, device
        lite = Lite("lite0")
        self._stem = self._cast(lite.stem)
        self._blocks = [
            (
                None if b.expand is None else self._cast(b.expand),
                self._cast(b.depthwise),
                self._cast(b.project),
                b.stride,
            )
            for b in lite.blocks
        ]

    def _cast(self, layer: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        kernel, bias = layer
        kernel = kernel[:, :, None, None] if kernel.ndim == 2 else kernel
        return kernel.to(self.device, self.dtype), bias.to(self.device, self.dtype)

    def __call__(self, x: Tensor) -> list[Tensor]:
        mean, std = (torch.tensor(values, device=x.device)[:, None, None] for values in (MEAN, STD))
        x = ((x - mean) / std).to(self.dtype).contiguous(memory_format=torch.channels_last)
        x = F.relu6(F.conv2d(F.pad(x, (0, 1, 0, 1)), *self._stem, stride=2))
        maps = []
        for index, (expand, depthwise, project, stride) in enumerate(self._blocks):
            y = x if expand is None else F.relu6(F.conv2d(x, *expand))
            kernel, padding = depthwise[0].shape[2], depthwise[0].shape[2] // 2
            if stride == 2:  # TensorFlow's padding "same" of an even side
                y, padding = F.pad(y, ((kernel - 2) // 2, (kernel - 1) // 2) * 2), 0
            y = F.relu6(F.conv2d(y, *depthwise, stride, padding, 1, y.shape[1]))
            y = F.conv2d(y, *project)
            x = x + y if stride == 1 and y.shape == x.shape else y
            if index in MAPS:
                maps.append(x.float())
        return maps


class Discriminator(nn.Module):
    """What the eye sees, and the pixels → five maps of verdicts, each (B, 1, h, w).

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
    """Where to look at each of so many pictures: windows of much the same number of pixels, at every scale.

    Pictures of more than `WINDOW` pixels are looked at in detail and as a whole: in turn one as it is, one at half its
    size, one at a quarter … Halves are means of 2×2 pixels, so that every pixel counts as much as its neighbour: shown
    smaller by bilinear sampling, some would count more, and the gradient would be a grid.

    Arguments:
        rng: Draws the windows.
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
        """What is seen of pictures x (count, C, H, W): (count, C, SIDE, SIDE)."""
        seen = []
        for scale in range(self.scales):
            own = x[scale :: self.scales]
            own = F.avg_pool2d(own, 2**scale) if scale else own
            grid = self.grid[scale :: self.scales].to(x.device)
            seen.append(F.grid_sample(own, grid, mode="bilinear", padding_mode="reflection", align_corners=False))
        order = np.concatenate([np.arange(len(x))[scale :: self.scales] for scale in range(self.scales)])
        return torch.cat(seen)[torch.from_numpy(np.argsort(order)).to(x.device)]


class ProjectedDecoderTrainer(DecoderTrainer):
    """The lesson of `sharpen` with this critic."""

    real, fresh = 10, 22
    rates = (4e-4, 2e-4)
    usual = Shares(likelihood=0.25, features=0.5, verdict=1.0)

    def __init__(self, model: Model, pictures: np.ndarray, seed: int, shares: Shares | None = None) -> None:
        super().__init__(model, pictures, seed, shares)
        if self.device.type == "cuda":  # starting a step takes longer there than so many pictures
            self.real, self.fresh = MANY
        self.eye, self.quick_eye = (FeatureMaps(dtype, self.device) for dtype in (torch.float32, self.dtype))
        for group in self.critics.param_groups:
            group["betas"] = (0.0, 0.99)
        self.weights: tuple[float, float] | None = None

    def _settle_for_large(self) -> None:
        """The eye sees views of one size, whatever that of the pictures is."""

    def _critic(self, channels: int) -> Discriminator:
        return Discriminator(channels)

    def step(self, step: int, rate: float) -> None:
        super().step(step, min(1.0, (step + 1) / WARM_UP) * rate)

    def _learn(self, step: int, x: Tensor, made: Tensor) -> Tensor | None:
        rng = np.random.default_rng([self.seed, step, 1])
        count = len(x)
        side = min(x.shape[2:])
        looks, others = Crops(rng, count, side), Crops(rng, len(made) - count, side)
        made.requires_grad_()
        with torch.no_grad():
            wanted = self.quick_eye(looks.of(x))
        found = self.eye(torch.cat([looks.of(made[:count]), others.of(made[count:])]))
        left, top = rng.integers(0, 2 * SHIFT + 1, 2)
        plain, own = (_shifted(each, left, top) for each in (x, made))
        scales = self.critic.scale
        if step == 0:
            scales.copy_(torch.stack([each.std() for each in wanted]))
        self._judge_views((wanted, plain), ([each.detach() for each in found], own.detach()))
        if step < ALONE:
            return None
        with self._autocast():
            *of_maps, of_pixels = (each.mean() for each in self.critic(found, own))
        verdict = -torch.stack([*of_maps, PIXELS * of_pixels]).sum()
        likeness = torch.stack(
            [(a[:count] - b).abs().mean() / scale for a, b, scale in zip(found, wanted, scales, strict=True)]
        ).sum()
        pull = self._weighed(step, likeness, verdict, made)
        by_pixels = torch.zeros_like(made)
        by_pixels[:count] = made.detach()[:count] - x
        pull += self.shares.likelihood / by_pixels.norm().clamp_min(1e-12) * by_pixels
        return pull

    def _judge_views(self, real: tuple[list[Tensor], Tensor], fake: tuple[list[Tensor], Tensor]) -> None:
        with self._autocast():
            verdicts = list(zip(self.critic(*real), self.critic(*fake), strict=True))
        losses = [F.relu(1 - good).mean() + F.relu(1 + bad).mean() for good, bad in verdicts]
        self._teach(torch.stack(losses).mean())

    def _weighed(self, step: int, likeness: Tensor, verdict: Tensor, made: Tensor) -> Tensor:
        """The gradient of both terms, brought to their shares by norms that are looked at now and then."""
        if self.weights is None or step % WEIGHED_EVERY == 0:
            norms = [
                torch.autograd.grad(each, made, retain_graph=True)[0].norm().item() for each in (likeness, verdict)
            ]
            now = 1 / max(norms[0], 1e-12), 1 / max(norms[1], 1e-12)
            old = self.weights or now
            self.weights = 0.5 * (old[0] + now[0]), 0.5 * (old[1] + now[1])
        features, judged = self.shares.features * self.weights[0], self.shares.verdict * self.weights[1]
        gradient: Tensor = torch.autograd.grad(features * likeness + judged * verdict, made)[0]
        return gradient


def _shifted(x: Tensor, left: int, top: int) -> Tensor:
    padded = F.pad(x, (SHIFT,) * 4, mode="reflect")
    return padded[:, :, top : top + x.shape[2], left : left + x.shape[3]]
