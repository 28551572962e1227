"""The powers that `betabloom.metrics.spectrum` measures, of tensors, for teachers to lead: with gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from betabloom.metrics.spectrum import COMBS, GREY, comb_places, lattice_places, rounding
from betabloom.refine.student import TINY

__all__ = ["log_combs", "log_lattice", "powers"]


def powers(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """P_x (B, W // 2 + 1), P_y (B, H // 2 + 1) and P at a checkerboard's places (B, P, 9), as `power_spectra` has them.

    Arguments:
        x: Pictures (B, C, H, W) in [0, 1].
    """
    window = torch.outer(*(torch.hann_window(side + 2, periodic=False, device=x.device)[1:-1] for side in x.shape[2:]))
    grey = _grey(x)
    tapered = (grey - grey.mean((1, 2), keepdim=True)) * window
    along_rows = torch.fft.rfft(tapered, dim=2)
    rows, columns = (torch.from_numpy(each).to(x.device) for each in lattice_places((x.shape[2], x.shape[3])))
    lattice = torch.fft.fft(along_rows, dim=1)[:, rows, columns].abs().square() + rounding(window)
    return along_rows.abs().square().mean(1), torch.fft.rfft(tapered, dim=1).abs().square().mean(2), lattice


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


def _grey(x: Tensor) -> Tensor:
    """Grey levels 0 … 255 (B, H, W); premultiplied pictures of four channels are laid over white."""
    if x.shape[1] == 1:
        return 255 * x[:, 0]
    grey = 255 * (x[:, :3] * torch.tensor(GREY, device=x.device)[:, None, None]).sum(1)
    return grey + 255 * (1 - x[:, 3]) if x.shape[1] == 4 else grey
