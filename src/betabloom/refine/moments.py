r"""A teacher without a critic: what a decoder draws is led to where the features of real pictures are.

EfficientNet-Lite0 (the extra `metrics`) sees pictures, each enlarged by an amount of its own. Its features are the
means and standard deviations over each of four maps, and the pooled features after the last block; a further kind is
the logarithm of the power at each frequency along rows and columns, which tells softness and grids. Real pictures have
a mean and a covariance of each kind, new ones have running ones, and every new picture is led along the optimal
transport between both (`betabloom.refine.transport`), whose mean squared length is the Fréchet distance, from where a
trailing student has it, which lags as the running ones do:

    Σ_k w_k FD_k  +  v ‖d − d'‖²  +  u ‖(g − g')₊‖²  +  Σ_l ‖φ_l(x) − φ_l(x̂)‖₁  −  log p(x|z),

the last two for reconstructions alone. d is the mean of fine detail at each pixel, over many pictures: the same streaks
in all of them are cheap detail, which features that are means over places do not tell from detail of a picture's own.
g is how far the spectrum at each frequency stands out from its neighbours, the mean over the new pictures of a step: a
pattern of single pixels is the nearest detail to a decoder that lacks some, and is there before any running mean knows.
A distance of Fréchet as a loss is from "FD-loss" (2026, https://arxiv.org/abs/2604.28190); it needs a thousand pictures
a step, where the transport needs a few.

A critic on features needs a thousand steps until it teaches well. This teacher needs 64, in which it measures what the
decoder draws. It sees with Lite0 alone, so others have to judge it: `betabloom.refine.brakes` does with Lite1. Numbers
are in docs/log.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from betabloom.metrics.lite import LiteNetwork, normalised
from betabloom.metrics.spectrum import GREY
from betabloom.refine.repetition import fine_detail
from betabloom.refine.student import TINY, Recipe, Shares, pixel_gradient
from betabloom.refine.transport import REACH, Projection, Transport, loss_along
from betabloom.system.hardware import choose_precision
from betabloom.vae import inference

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from betabloom.refine.student import Before
    from betabloom.system.console import Progress
    from betabloom.system.signals import Stop

__all__ = ["FEWEST", "LARGEST", "MOMENTS_RECIPE", "Moments", "Views"]

KEPT = 0.99  # of the running moments, and of the trailing student, in a step
MOMENTS_RECIPE = Recipe(Shares(0.1, features=0.3, verdict=8.0), 4e-4, warm_up=30, real=8, fresh=24, trailing=KEPT)
FEWEST = 256  # fewer pictures give no useful covariance
LARGEST = 128  # pixels of a side; beyond it a step takes several times as long
MAPS = (2, 4, 10, 15)  # blocks of the network behind which it looks
COMPONENTS = 256  # of each kind of features, at most …
PICTURES_EACH = 4  # … and one for so many pictures
MOST = 4096  # views of real pictures that are measured
AT_ONCE = 32
SIDES = (96, 144)  # pixels of a view; no amount of enlargement is fixed, since each leaves its grid in the gradient
NEAREST = 0.85  # part of a picture's sides that a view shows at least
SPECTRUM = 1.0  # weight of the spectrum beside each kind of features
STREAKS = 20.0  # weight of detail that is the same in all pictures
PIXELS_REACH = 1.0  # r of both: decoders follow them at once
GRIDS = 0.5  # weight of frequencies that stand out from their neighbours
NEIGHBOURS = 5  # frequencies, one and those beside it
LOWEST = 2  # periods a picture of the lowest frequency of the spectrum
FLOOR = 1e-4  # power that is added before its logarithm is taken, about that of rounding to 256 levels
HEAD_START = 64  # steps in which the student's moments are measured, and nothing is taught
SOLVED_EVERY = 10  # steps between transports
WEIGHED_UNTIL = 64  # steps of teaching in which the gradients' norms are measured; the weights then stay
WEIGHED_EVERY = 8
LIMIT = 2.0  # times the norms at first that a gradient has at most: running moments are off for a while after a jump


class Views:
    """Random views of so many pictures, of one number of pixels.

    Arguments:
        rng: Draws them.
        count: How many pictures.
        side: Of the pictures, the shorter one, in pixels.
    """

    def __init__(self, rng: np.random.Generator, count: int, side: int) -> None:
        small, large = max(SIDES[0], side), max(SIDES[1], side * 3 // 2)
        self.side = int(rng.integers(small, large + 1))
        part = rng.uniform(NEAREST, 1.0, (count, 1)).astype(np.float32)
        middle = rng.uniform(-1, 1, (count, 2)).astype(np.float32) * (1 - part)
        where = np.zeros((count, 2, 3), np.float32)
        where[:, [0, 1], [0, 1]], where[:, :, 2] = part, middle
        self._where = torch.from_numpy(where)
        self._grounds = torch.from_numpy(rng.random((count, 1, 1, 1), np.float32))

    def of(self, x: Tensor) -> Tensor:
        """The first B views, of pictures x (B, C, H, W): (B, 3, side, side)."""
        where = self._where[: len(x)].to(x.device)
        grid = F.affine_grid(where, [len(x), 3, self.side, self.side], align_corners=False)
        return F.grid_sample(self.coloured(x), grid, mode="bicubic", padding_mode="reflection", align_corners=False)

    def coloured(self, x: Tensor) -> Tensor:
        """Pictures x (B, C, H, W) as (B, 3, H, W): premultiplied ones on random greys, grey ones three times."""
        if x.shape[1] == 4:
            return x[:, :3] + (1 - x[:, 3:]) * self._grounds[: len(x)].to(x.device)
        return x.expand(-1, 3, -1, -1)


class Moments:
    """Teaches a student by the moments of features.

    Arguments:
        pictures: Real ones, uint8 (N, H, W, C), N ≥ 2.
        recipe: Its shares are the norms of the gradients at first: `verdict` is that of the distances, which later gets
            smaller as they do.
        device: Where it computes.
        seed: Of the views.
        progress: Called as progress(step, steps, text) while it looks at real pictures.
        stop: Ends that early when asked.

    Attributes:
        silent: Steps in which it measures what the student draws, and teaches nothing.
    """

    def __init__(
        self,
        pictures: np.ndarray,
        recipe: Recipe,
        device: torch.device,
        seed: int,
        progress: Progress | None = None,
        stop: Stop | None = None,
    ) -> None:
        self.shares, self.device, self.seed, self.silent = recipe.shares, device, seed, HEAD_START
        self._network = LiteNetwork("lite0", device, choose_precision("auto", device))
        self.weights: tuple[float, float] | None = None
        kinds, self.usual_detail, self._detail_power = self._measured(pictures, progress, stop)
        self.detail = torch.zeros_like(self.usual_detail)
        most = min(COMPONENTS, max(1, len(pictures) // PICTURES_EACH))
        self.projections = [Projection(kind, most) for kind in kinds]
        self.transports = [Transport(project(kind)) for project, kind in zip(self.projections, kinds, strict=True)]
        self._reaches = [REACH] * (len(kinds) - 1) + [PIXELS_REACH]

    @torch.no_grad()
    def _measured(
        self, pictures: np.ndarray, progress: Progress | None, stop: Stop | None
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """Each kind of features (M, D) of views of the pictures, both ways round; their mean detail, and its power."""
        rng = np.random.default_rng([self.seed, 2])
        rows = np.resize(rng.permutation(len(pictures)), min(2 * len(pictures), MOST))
        found, detail, power = [], torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        for first in range(0, len(rows), AT_ONCE):
            chosen = pictures[np.sort(rows[first : first + AT_ONCE])]
            flipped = rng.integers(2, size=len(chosen))[:, None, None, None] == 1
            x = inference.to_tensor(np.where(flipped, chosen[:, :, ::-1], chosen), self.device)
            found.append(self._kinds(x, Views(rng, len(x), min(x.shape[2:])))[0])
            fine = fine_detail(x)
            detail, power = detail + fine.sum(0) / len(rows), power + fine.square().sum() / len(rows)
            if progress:
                progress(min(first + AT_ONCE, len(rows)), len(rows), "looking at the pictures")
            if stop and stop.asked:
                break
        return [torch.cat(each) for each in zip(*found, strict=True)], detail, power.clamp_min(TINY)

    def _kinds(self, x: Tensor, views: Views, maps_of: int = 0) -> tuple[list[Tensor], list[Tensor]]:
        """Each kind of features of pictures, and the maps of the first `maps_of` of them."""
        seen = normalised(views.of(x), self._network.dtype)
        kinds, maps, last = list[Tensor](), list[Tensor](), seen
        for index, each in enumerate(self._network.maps(seen)):
            last = each
            if index in MAPS:
                wide = each.float()
                kinds.append(torch.cat([wide.mean((2, 3)), (wide.var((2, 3), correction=0) + 1e-6).sqrt()], 1))
                maps.append(wide[:maps_of])
        kinds.append(self._network.pooled_from(last).float())
        return [*kinds, log_spectrum(views.coloured(x))], maps

    def gradient(self, step: int, x: Tensor, made: Tensor, before: Before | None = None) -> Tensor | None:
        """The gradient of all terms at x̂ (B + B', C, H, W), the first B of which reconstruct x; None at first.

        Arguments:
            step: Its number.
            x: Pictures (B, C, H, W).
            made: x̂; the last B' are new pictures.
            before: Draws these by the trailing student; without, they are taken as they are.
        """
        views = Views(np.random.default_rng([self.seed, step, 1]), len(made), min(x.shape[2:]))
        count, teaches = len(x), step >= self.silent
        made.requires_grad_(teaches)
        kinds, maps = self._kinds(made, views, count)
        parts, fine = self._new(kinds, count), fine_detail(made[count:])
        self._observe(step, parts, fine)
        if not teaches:
            return None
        with torch.no_grad():
            trailing = before() if before else made[count:]
            others, wanted = self._kinds(torch.cat([x, trailing]), views, count)
            earlier, earlier_fine = self._new(others, count), fine_detail(trailing)
        pairs = zip(self.transports, parts, earlier, self._reaches, strict=True)
        losses = [transport.loss(now, then, reach) for transport, now, then, reach in pairs]
        distance = torch.stack(losses[:-1]).sum() + SPECTRUM * losses[-1]
        streaks = loss_along(fine, earlier_fine, self.usual_detail - self.detail, PIXELS_REACH) / self._detail_power
        likeness = torch.stack([(a - b).abs().mean() / b.std() for a, b in zip(maps, wanted, strict=True)]).sum()
        grids = GRIDS * self._grids(kinds[-1][count:], made.shape[3] // 2 + 1 - LOWEST)
        pull = self._weighed(step, likeness, distance + STREAKS * streaks, grids, made)
        return pull + pixel_gradient(x, made, self.shares.likelihood)

    def _grids(self, spectrum: Tensor, rows: int) -> Tensor:
        """‖(g − g')₊‖² of the mean of log spectra (B, F), of which so many frequencies are along rows."""
        usual, own = (standing_out(mean, rows) for mean in (self.projections[-1].mean, spectrum.mean(0)))
        return (own - usual).clamp_min(0).square().sum()

    def _new(self, kinds: list[Tensor], count: int) -> list[Tensor]:
        """The components of each kind of features of all pictures but the first ones."""
        return [project(kind)[count:] for project, kind in zip(self.projections, kinds, strict=True)]

    @torch.no_grad()
    def _observe(self, step: int, parts: list[Tensor], fine: Tensor) -> None:
        """Take new pictures into the running means, and make the transports anew now and then."""
        kept = min(KEPT, step / (step + 1))
        for transport, z in zip(self.transports, parts, strict=True):
            transport.observe(z, kept)
            if step % SOLVED_EVERY == 0 or step == self.silent:
                transport.solve()
        self.detail.mul_(kept).add_((1 - kept) * fine.mean(0))

    def _weighed(self, step: int, likeness: Tensor, distance: Tensor, grids: Tensor, made: Tensor) -> Tensor:
        """The gradient of the terms, scaled by the norms that two of them had at first; grids are as distances are."""
        taught = step - self.silent
        if self.weights is None or (taught < WEIGHED_UNTIL and taught % WEIGHED_EVERY == 0):
            now = [torch.autograd.grad(each, made, retain_graph=True)[0].norm().item() for each in (likeness, distance)]
            old = self.weights or (1 / max(now[0], TINY), 1 / max(now[1], TINY))
            self.weights = _moved(old[0], now[0]), _moved(old[1], now[1])
        features, verdict = self.shares.features * self.weights[0], self.shares.verdict * self.weights[1]
        gradient: Tensor = torch.autograd.grad(features * likeness + verdict * (distance + grids), made)[0]
        most = LIMIT * (self.shares.features + self.shares.verdict)
        gradient *= (most / gradient.norm().clamp_min(TINY)).clamp_max(1.0)
        return gradient

    def scale_rate(self, factor: float) -> None:
        """Do nothing: it has no learning rate."""

    def status(self) -> dict[str, float]:
        """The sum of the distances of all kinds of features, each relative to the variance of real pictures."""
        return {"moments": sum(each.distance.item() for each in self.transports)}

    def tensors(self) -> dict[str, Tensor]:
        """What it knows of real pictures, and of the student."""
        found = {"detail": self.detail, "usual_detail": self.usual_detail, "detail_power": self._detail_power}
        for i, (project, transport) in enumerate(zip(self.projections, self.transports, strict=True)):
            parts = {"mean": project.mean, "axes": project.axes, **transport.tensors()}
            found |= {f"{i}.{name}": value for name, value in parts.items()}
        return {f"moments.{name}": value for name, value in found.items()}

    def memory(self) -> dict[str, Tensor]:
        """Nothing: it has all tensors from the beginning."""
        return {}

    def numbers(self) -> dict[str, Any]:
        """What is not a tensor."""
        return {"weights": self.weights}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Put back what `tensors` and `numbers` returned."""
        for name, value in self.tensors().items():
            value.copy_(tensors[name])
        for transport in self.transports:
            transport.prepare()
        weights = numbers["weights"]
        self.weights = None if weights is None else (float(weights[0]), float(weights[1]))


def log_spectrum(x: Tensor) -> Tensor:
    """Logarithms of the power along rows and along columns of colours x (B, 3, H, W) in [0, 1]: (B, F).

    Each line, less its mean, is tapered by a Hann window, and powers are averaged over lines, from `LOWEST` periods a
    picture on. The rest is as in `betabloom.metrics.spectrum`.
    """
    grey = (x * torch.tensor(GREY, device=x.device)[:, None, None]).sum(1)
    found = []
    for axis in (2, 1):
        window = torch.hann_window(grey.shape[axis], periodic=False, device=x.device)
        lines = (grey - grey.mean(axis, keepdim=True)) * (window if axis == 2 else window[:, None])
        power = torch.fft.rfft(lines, dim=axis).abs().square().mean(3 - axis)
        found.append((power[:, LOWEST:] + FLOOR).log())
    return torch.cat(found, 1)


def standing_out(spectrum: Tensor, rows: int) -> Tensor:
    """How far each of the logarithms (F,), of which the first are along rows, is above the mean of it and those beside.

    Arguments:
        spectrum: Of one picture, or the mean of many, from `log_spectrum`.
        rows: How many are along rows.
    """
    parts = (spectrum[:rows], spectrum[rows:])
    beside = [F.avg_pool1d(x[None, None], NEIGHBOURS, 1, NEIGHBOURS // 2, count_include_pad=False)[0, 0] for x in parts]
    return spectrum - torch.cat(beside)


def _moved(weight: float, norm: float) -> float:
    """A weight that goes three tenths of the way to one over a norm."""
    return 1 / (0.7 / weight + 0.3 * max(norm, TINY))
