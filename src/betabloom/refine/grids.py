r"""Taking the grid out of what a decoder draws, and changing nothing else: its last layers alone learn, for minutes.

The last convolution of a decoder writes the 2×2 pixels of each place of a coarser map with weights of their own. Where
these differ too much, all pictures share a pattern of pixels. Let c_k be the logarithms of the combs at 1/2, 3/8 and
1/4 cycle per pixel, along rows and columns, and g_k those of the ratios that `checkerboard` is the largest of
(`betabloom.metrics.spectrum`). New pictures x, of codes that stay the same, learn by the loss

    w Σ_k (|c_k| − 0.03)₊ sgn(c_k) c_k  +  w u Σ_k (g_k − 0.3)₊ g_k  +  v ‖x − x'‖² / Var x',

with x' what was drawn before; the factors before c_k and g_k are from their running means, and are not differentiated.
The combs of few pictures are far from those of many, but their change is not: so c_k and g_k are those of all pictures
at first, and the change since then of those in a step. Only the last layer of the body, of the head and of each
enlarger learn, some thousands of weights, and pictures change little: those of `flowers128` by 0.3 grey levels in the
mean (docs/log.md).
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from betabloom.errors import UsageError
from betabloom.metrics.spectrum import COMBS, SMALLEST, checkerboard, combs, power_spectra
from betabloom.refine.spectra import log_combs, log_lattice, powers
from betabloom.refine.student import set_rate
from betabloom.vae import inference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from betabloom.metrics.spectrum import Spectra
    from betabloom.model.model import Model
    from betabloom.system.console import Progress
    from betabloom.system.signals import Stop
    from betabloom.vae.vae import VAE

__all__ = ["FEWEST_REAL", "GRIDS", "STEPS", "farthest", "without_grids"]

GRIDS = "grids"  # its name beside those of teachers
STEPS = 120
FEWEST_REAL = 32  # pictures
CODES, FEWEST_CODES = 768, 128  # that pictures are drawn from; fewer of large pictures, since much of each is kept
VALUES = 768 * 3 * 128 * 128  # of all these pictures, at most
FRESH = 64  # pictures in a step
OTHERS = 512  # new pictures that are measured after it
LARGE, FEWER = 96, 32  # pixels of a side from which on there are fewer
RATE, WARM_UP = 1e-4, 10  # and steps in which it rises; three times that swings on icons, which have little detail
BETAS = (0.8, 0.9)  # gradients at first are large, and soon forgotten
KEPT = 0.5  # of the running combs in a step
NEAR, PLANE_NEAR = 0.03, 0.3  # the logarithm of a comb that is none, and of a place of the plane that may be chance
COMBS_WEIGHT, LIKENESS = 3.0, 100.0  # w, v
PLANE_WEIGHT = 0.15  # u


def without_grids(
    model: Model,
    pictures: np.ndarray,
    steps: int = STEPS,
    seconds: float = 0.0,
    seed: int = 0,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Model:
    """Make a model whose new pictures have the combs of real ones.

    Arguments:
        model: A trained model; it is left as it is.
        pictures: Real ones, uint8 (N, H, W, C), N ≥ 32, of the model's size, at least 16×16.
        steps: How many steps.
        seconds: After which it ends in any case; 0 for no limit.
        seed: Of the codes and batches.
        progress: Called as progress(step, steps, text).
        stop: Ends it early when asked; what was learned until then is kept.

    Returns:
        The model with other last layers; the encoder, the samplers and all other layers are the same. It is `model`
        itself where all combs are off by less than 3 % and no place of the plane stands out by more than e^0.3, or
        where they came no nearer.

    Raises:
        UsageError: The pictures are too few, too small or of another shape.
    """
    _check(model, pictures)
    begun = time.monotonic()
    vae = copy.deepcopy(model.vae).requires_grad_(requires_grad=False).eval()
    real = power_spectra(pictures)
    end = _End(vae, model.draw(min(CODES, max(FEWEST_CODES, VALUES // pictures[0].size)), seed))
    taken = _learn(end, real, steps, begun + seconds if seconds else math.inf, seed, progress, stop)
    if not taken:
        return model
    end.finish()
    others = model.draw(min(OTHERS, len(end.before)), seed + 1)
    drawn = [power_spectra(inference.decode(each, others)) for each in (model.vae, vae)]
    if not _is_nearer(*(_measured(own) - _measured(real) for own in drawn)):
        return model
    found = [
        {each.name: round(each.value, 3) for each in (*combs(real, own), checkerboard(real, own))} for own in drawn
    ]
    facts = {"steps": taken, "seconds": round(time.monotonic() - begun, 1), "before": found[0], "after": found[1]}
    return dataclasses.replace(model, vae=vae, training={**model.training, "without_grids": facts}, fingerprint="")


def farthest(values: Mapping[str, float]) -> float:
    """The comb or checkerboard that is farthest from 1, by its logarithm."""
    return max(values.values(), key=lambda value: abs(math.log(value)))


def _is_nearer(before: Tensor, after: Tensor) -> bool:
    """Whether what stands out (6 + P,) has become less, as the loss counts it."""
    return bool((_pull(after) * after).sum() < (_pull(before) * before).sum())


def _learn(
    end: _End, real: Spectra, steps: int, until: float, seed: int, progress: Progress | None, stop: Stop | None
) -> int:
    """Lead combs to those of real pictures; how many steps were taken."""
    rng, device, size = np.random.default_rng(seed), end.before.device, real.size
    at_first = _powers_of(end.before)
    first = _standing_out(at_first, size) - _measured(real).to(device)
    batch = FRESH if max(size) < LARGE else FEWER
    spread = end.before[:FRESH].float().var()
    adam = torch.optim.Adam(end.learns.parameters(), RATE, BETAS)
    running: Tensor | None = None
    if not _pull(first).any():
        return 0
    for step in range(steps):
        if (stop and stop.asked) or time.monotonic() > until:
            return step
        set_rate(adam, RATE * min(1.0, (step + 1) / WARM_UP) * (1 - step / steps))
        rows = torch.from_numpy(rng.choice(len(end.before), batch, replace=False)).to(device)
        x = end(rows)
        now = _standing_out(powers(x), size)
        excess = first + (now.detach() - _standing_out([each[rows] for each in at_first], size))
        running = excess if running is None else torch.lerp(excess, running, KEPT)
        apart = (x - end.before[rows].float()).square().mean() / spread
        adam.zero_grad(set_to_none=True)
        torch.autograd.backward(COMBS_WEIGHT * (_pull(running) * now).sum() + LIKENESS * apart)
        adam.step()
        if progress:
            progress(step + 1, steps, f"farthest from 1: {running[running.abs().argmax()].exp().item():.2f}")
    return steps


class _End:
    """The end of a decoder, from what the last layer of its body sees, which is kept of all codes: rows → pictures.

    Arguments:
        vae: The model.
        codes: (N, l).

    Attributes:
        learns: The last layers of head and enlargers, and what is added to that of the body, 0 at first.
        before: What it draws at first, (N, C, H, W), in 16 bits.
    """

    def __init__(self, vae: VAE, codes: np.ndarray) -> None:
        self.vae, device, body = vae, next(vae.parameters()).device, vae.decoder.body
        self._last = _last_layer(body)
        self._change = copy.deepcopy(self._last)
        self.learns = nn.ModuleList([self._change, *map(_last_layer, self._rest)]).requires_grad_(requires_grad=True)
        seen, outputs = list[Tensor](), list[Tensor]()
        hooks = [
            self._last.register_forward_pre_hook(lambda layer, given: seen.append(given[0].half())),
            body.register_forward_hook(lambda layer, given, output: outputs.append(output.half())),
        ]
        with torch.no_grad():
            for weight in self._change.parameters():
                weight.zero_()
            for some in torch.split(torch.from_numpy(codes).to(device), FRESH):
                body(some)
            for hook in hooks:
                hook.remove()
            self._seen, self._outputs = torch.cat(seen), torch.cat(outputs)
            rows = torch.split(torch.arange(len(codes), device=device), FRESH)
            self.before = torch.cat([self(some).half() for some in rows])

    @property
    def _rest(self) -> list[nn.Module]:
        return [*self.vae.decoder.head, *self.vae.decoder.enlargers]

    def __call__(self, rows: Tensor) -> Tensor:
        """Pictures (B, C, H, W) of some of the codes, as they are drawn now."""
        eta, added = self._outputs[rows].float(), self._change(self._seen[rows].float())
        if added.ndim == eta.ndim:
            added = F.pixel_shuffle(added, eta.shape[2] // added.shape[2])
        eta = eta + added.reshape(eta.shape)
        for layer in self._rest:
            eta = layer(eta)
        pictures: Tensor = self.vae.likelihood.mean(eta)
        return pictures

    @torch.no_grad()
    def finish(self) -> None:
        """Add to the last layer of the body what was learned for it; nothing learns any more."""
        self.learns.requires_grad_(requires_grad=False)
        for weight, change in zip(self._last.parameters(), self._change.parameters(), strict=True):
            weight.add_(change)


def _last_layer(part: nn.Module) -> nn.Module:
    """The last layer with weights, which is linear."""
    return [each for each in part.modules() if isinstance(getattr(each, "weight", None), nn.Parameter)][-1]


def _powers_of(pictures: Tensor) -> list[Tensor]:
    """`powers` of many pictures (N, C, H, W)."""
    parts = [powers(part.float()) for part in torch.split(pictures, FRESH)]
    return [torch.cat(each) for each in zip(*parts, strict=True)]


def _measured(spectra: Spectra) -> Tensor:
    """`_standing_out` of what the metrics have measured."""
    parts = [torch.from_numpy(each).float() for each in (spectra.x, spectra.y, spectra.lattice)]
    return _standing_out(parts, spectra.size)


def _standing_out(found: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """log p and log q (6 + P,) of the means of powers of pictures along rows, along columns, and in the plane."""
    across, down, lattice = (each.mean(0) for each in found)
    return torch.cat([log_combs(across, down, size), log_lattice(lattice)])


def _pull(excess: Tensor) -> Tensor:
    """How far what stands out (6 + P,) is beyond what is near enough to real pictures; the plane may have less."""
    along, plane = excess[: 2 * len(COMBS)], excess[2 * len(COMBS) :]
    return torch.cat(
        [(along.abs() - NEAR).clamp_min(0) * along.sign(), PLANE_WEIGHT * (plane - PLANE_NEAR).clamp_min(0)]
    )


def _check(model: Model, pictures: np.ndarray) -> None:
    channels, height, width = model.config.shape
    if pictures.dtype != np.uint8 or pictures.shape[1:] != (height, width, channels):
        raise UsageError(
            f"To take out grids, pictures are needed that are uint8 of shape (N, {height}, {width}, {channels}), not "
            f"{pictures.dtype} {pictures.shape}."
        )
    if len(pictures) < FEWEST_REAL or min(height, width) < SMALLEST:
        raise UsageError(
            f"To take out grids, at least {FEWEST_REAL} pictures of {SMALLEST}×{SMALLEST} or more are needed, not "
            f"{len(pictures)} of {width}×{height}."
        )
