"""Detail that repeats with the pixels of a decoder's coarser maps: how much there is, and which way leads off it.

The cheapest detail for a decoder is a pattern that each of its coarse pixels brings along: stripes, a grid. It is the
first thing that a decoder finds when it is asked for detail.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Repetition", "fine_detail", "repeated_detail"]

REMEMBERED = 0.98  # decay of the running average over pictures


def fine_detail(x: Tensor) -> Tensor:
    """What of pictures (B, C, H, W) differs from a mean of 5×5 pixels that has no part in periods of 2 and 4."""
    along = torch.tensor([1.0, 2.0, 2.0, 2.0, 1.0], device=x.device) / 8
    kernel = torch.outer(along, along).expand(x.shape[1], 1, 5, 5)
    return x - F.conv2d(F.pad(x, (2,) * 4, mode="reflect"), kernel, groups=x.shape[1])


def repeated_detail(x: Tensor) -> Tensor:
    """The logarithm of the share of detail in pictures (B, C, H, W) that is the same at every 4th or 8th pixel.

    Of `fine_detail` the means over 4×4 pixels that lie 4 or 8 apart are taken: a 16th is left of detail that does not
    repeat, all of a pattern. Pictures with sides of fewer than 32 pixels have too few such pixels, and get 0.
    """
    height, width = (side // 8 * 8 for side in x.shape[2:])
    if min(height, width) < 32:
        return x.new_zeros(())
    detail = fine_detail(x[:, :, :height, :width])
    same = [F.avg_pool2d(F.pixel_unshuffle(detail, period), 4, 2).flatten() for period in (4, 8)]
    tiny = 1e-12
    share: Tensor = (torch.cat(same).square().mean() + tiny) / (detail.square().mean() + tiny)
    return share.log()


class Repetition:
    """Compares generated pictures with real ones.

    Attributes:
        usual: The running average of `repeated_detail` over real pictures.
    """

    def __init__(self) -> None:
        self.usual: float | None = None

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Take real pictures (B, C, H, W) into the average."""
        now = repeated_detail(x).item()
        self.usual = now if self.usual is None else REMEMBERED * self.usual + (1 - REMEMBERED) * now

    def gradient(self, made: Tensor) -> Tensor:
        """The gradient that leads generated pictures off their excess, of norm min(excess, 1); 0 where is none."""
        y = made.detach().requires_grad_()
        excess = repeated_detail(y) - (self.usual or 0.0)
        if not excess > 0:
            return torch.zeros_like(made)
        gradient: Tensor = torch.autograd.grad(excess, y)[0]
        gradient *= excess.detach().clamp_max(1.0) / gradient.norm().clamp_min(1e-12)
        return gradient
