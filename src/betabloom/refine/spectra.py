"""The powers that `betabloom.metrics.spectrum` measures, of tensors, for teachers to lead: with gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from betabloom.metrics.spectrum import COMBS, GREY, comb_places, lattice_places, rounding

__all__ = ["lattice_powers", "log_combs", "log_lattice", "powers"]

TINY = 1e-12


def powers(x: Tensor) -> tuple[Tensor, Tensor]:
    """P_x (B, W // 2 + 1) and P_y (B, H // 2 + 1) of pictures (B, C, H, W) in [0, 1], as `power_spectra` has them."""
    tapered = _tapered(x)
    across, down = (torch.fft.rfft(tapered, dim=axis).abs().square() for axis in (2, 1))
    return across.mean(1), down.mean(2)


def lattice_powers(x: Tensor) -> Tensor:
    """P of pictures (B, C, H, W) in [0, 1] at the frequencies of a grid and around them, (B, P, 9), as in `Spectra`."""
    tapered, floor = _tapered(x), rounding(_window(x))
    rows, columns = (torch.from_numpy(each).to(x.device) for each in lattice_places((x.shape[2], x.shape[3])))
    found: Tensor = torch.fft.fft2(tapered)[:, rows, columns]
    return found.abs().square() + floor


def log_combs(across: Tensor, down: Tensor, size: tuple[int, int]) -> Tensor:
    """log p (6,) of powers along rows and columns of pictures of H×W, with p as in `betabloom.metrics.spectrum`.

    That of new pictures less that of real ones is the logarithm of their combs.
    """
    found = []
    for power, side in zip((across, down), size[::-1], strict=True):
        logarithm = (power + TINY).log()
        for frequency in COMBS.values():
            place, below, above = comb_places(frequency, side)
            found.append(logarithm[place] - (logarithm[below] + logarithm[above]) / 2)
    return torch.stack(found)


def log_lattice(power: Tensor) -> Tensor:
    """log q (P,) of mean powers (P, 9), with q as in `betabloom.metrics.spectrum`."""
    logarithm = power.log()
    return logarithm[:, 0] - logarithm[:, 1:].mean(1)


def _tapered(x: Tensor) -> Tensor:
    """Grey levels (B, H, W) of pictures, less their mean, under a Hann window."""
    grey = 255 * x[:, 0]
    if x.shape[1] > 1:
        grey = 255 * (x[:, :3] * torch.tensor(GREY, device=x.device)[:, None, None]).sum(1)
        grey = grey + (255 * (1 - x[:, 3]) if x.shape[1] == 4 else 0)
    return (grey - grey.mean((1, 2), keepdim=True)) * _window(x)


def _window(x: Tensor) -> Tensor:
    """The Hann window (H, W) of pictures (B, C, H, W)."""
    return torch.outer(*(torch.hann_window(side + 2, periodic=False, device=x.device)[1:-1] for side in x.shape[2:]))
