r"""Detail no finer and no harsher than that of real pictures: a limit to what a critic may ask for.

Left alone, a critic goes on to reward detail that a person does not like: speckles, grids, harsh texture. What measures
them (`betabloom.metrics.spectrum`) can be followed by a gradient. With Y the grey levels in [0, 1], tapered by a Hann
window for the spectra, and P̄_x(f) and P̄_y(f) their mean power along rows and columns,

    s_f = log P̄(f),  1/4 ≤ f < 1/2 cycle per pixel, in x and in y,
    s_0 = log mean over pixels of max(|Y − median of 3×3| − 45/255, 0),

running averages of s over drawn pictures are compared with those over real ones. Where drawn pictures have more, they
are led along −Σ_f (s̄_f of drawn − s̄_f of real) ∇s_f. Where they have less, nothing is asked for: the cheapest way to
more is hatching, which covered petals within 600 steps (docs/log.md). Spectra as a term of a loss: Durall et al. 2020,
https://arxiv.org/abs/2003.01826.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Detail", "detail_of"]

REMEMBERED = 0.98  # decay of the running averages over steps
SPECKLE = 45 / 255  # a little less than what counts as a speckle when pictures are measured
FINE = 0.25  # cycles per pixel, from which on the spectrum is held
SMALLEST = 16  # pixels of a side
TINY = 1e-7
SPECTRUM = 0.3  # of the weight, where the spectrum differs by a factor of e
GREY = (0.299, 0.587, 0.114)


def detail_of(x: Tensor) -> Tensor:
    """The logarithms s of pictures (B, C, H, W) in [0, 1]: (1 + frequencies in x + frequencies in y,), speckles first.

    Pictures with sides of fewer than 16 pixels have no spectrum, and get speckles alone.
    """
    grey = _grey(x)
    found = [_speckles(grey)[None]]
    if min(grey.shape[1:]) >= SMALLEST:
        height, width = grey.shape[1:]
        along = [torch.hann_window(side + 2, periodic=False, device=x.device)[1:-1] for side in (height, width)]
        tapered = (grey - grey.mean((1, 2), keepdim=True)) * along[0][:, None] * along[1]
        for axis, side in ((2, width), (1, height)):
            power = torch.fft.rfft(tapered, dim=axis).abs().square().mean((0, 3 - axis))
            found.append(power[math.ceil(FINE * side) : side // 2])
    return (torch.cat(found) + TINY).log()


class Detail:
    """Compares drawn pictures with real ones.

    Arguments:
        weight: The norm of the gradient that leads off speckles where there are e times as many as in real pictures.

    Attributes:
        usual: The running average of exp(`detail_of`) over real pictures, once there is one: of few pictures, whose
            detail differs widely, the mean of logarithms would be lower than that of many.
        own: The same over drawn pictures.
    """

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.usual: Tensor | None = None
        self.own: Tensor | None = None

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Take real pictures (B, C, H, W) into the average."""
        if self.weight:
            self.usual = _moved(self.usual, detail_of(x).exp())

    def gradient(self, made: Tensor) -> Tensor:
        """The gradient that leads drawn pictures (B, C, H, W) off detail that real ones do not have."""
        if not self.weight or self.usual is None:
            return torch.zeros_like(made)
        y = made.detach().requires_grad_()
        now = detail_of(y)
        self.own = _moved(self.own, now.detach().exp())
        excess = (self.own / self.usual).log().clamp_min(0.0)
        speckles, spectrum = excess[:1], excess[1:]
        total = torch.zeros_like(made)
        for each, values, share in ((speckles, now[:1], 1.0), (spectrum, now[1:], SPECTRUM)):
            size = self.weight * share * each.square().mean().sqrt().clamp_max(1.0) if len(each) else now.new_zeros(())
            if size > 0:
                (gradient,) = torch.autograd.grad((each * values).sum(), y, retain_graph=True)
                total += gradient * (size / gradient.norm().clamp_min(1e-12))
        return total

    def numbers(self) -> dict[str, Any]:
        """What it remembers, as JSON has it."""
        return {name: None if value is None else value.tolist() for name, value in self._both().items()}

    def restore(self, numbers: dict[str, Any], device: torch.device | str = "cpu") -> None:
        """Put back what `numbers` returned."""
        found = {name: numbers.get(name) for name in self._both()}
        self.usual, self.own = (
            None if value is None else torch.tensor(value, device=device) for value in (found["usual"], found["own"])
        )

    def _both(self) -> dict[str, Tensor | None]:
        return {"usual": self.usual, "own": self.own}


def _moved(average: Tensor | None, now: Tensor) -> Tensor:
    return now if average is None else REMEMBERED * average + (1 - REMEMBERED) * now


def _grey(x: Tensor) -> Tensor:
    return x[:, 0] if x.shape[1] < len(GREY) else torch.einsum("bchw,c->bhw", x[:, :3], x.new_tensor(GREY))


def _speckles(grey: Tensor) -> Tensor:
    """How far pixels are from the median of the 3×3 around them, beyond what is usual: a mean over all pixels."""
    y = F.pad(grey.detach()[:, None], (1,) * 4, mode="replicate")[:, 0]
    above, here, below = y[:, :-2], y[:, 1:-1], y[:, 2:]
    column = (
        _least(above, here, below),
        _median(above, here, below),
        _most(above, here, below),
    )
    low, middle, high = ((c[:, :, :-2], c[:, :, 1:-1], c[:, :, 2:]) for c in column)
    median = _median(_most(*low), _median(*middle), _least(*high))
    return F.relu((grey - median).abs() - SPECKLE).mean()


def _median(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))


def _least(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.minimum(torch.minimum(a, b), c)


def _most(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.maximum(torch.maximum(a, b), c)
