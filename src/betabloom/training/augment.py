"""Random changes to training pictures: on the device, a batch at a time, as a function of given random numbers."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["DRAWS", "augment", "mirror"]

DRAWS = 6  # uniform random numbers that each picture takes, whatever is switched on
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def augment(
    x: Tensor, draws: Tensor, flip: bool = True, shift: float = 0.0, rotate: float = 0.0, colour: float = 0.0
) -> Tensor:
    """Mirror, shift, rotate and tint pictures; what comes from beyond an edge is mirrored at it.

    Arguments:
        x: Pictures (B, C, H, W) in [0, 1].
        draws: Uniform random numbers in [0, 1), shape (B, 6): mirroring, angle, shift across, shift down,
            brightness, saturation.
        flip: Mirror left to right with probability ½.
        shift: Largest shift each way, as a part of the side.
        rotate: Largest angle each way, in degrees.
        colour: Brightness and saturation are multiplied by factors in [1 − colour, 1 + colour].

    Returns:
        Pictures of the same shape, in [0, 1], on 8-bit grey levels if they were changed by more than mirroring.
    """
    if flip:
        x = mirror(x, draws)
    if shift or rotate:
        x = _move(x, math.radians(rotate) * _centred(draws[:, 1]), 2 * shift * _centred(draws[:, 2:4]))
    if colour:
        x = _tint(x, 1 + colour * _centred(draws[:, 4:6]))
    if shift or rotate or colour:
        x = x.clamp(0, 1).mul(255).round().div(255)
    return x


def mirror(x: Tensor, draws: Tensor) -> Tensor:
    """Mirror pictures x (B, C, H, W) of any type left to right, those whose first number of `draws` is below ½."""
    return torch.where((draws[:, 0] < 0.5)[:, None, None, None], x.flip(3), x)


def _centred(draws: Tensor) -> Tensor:
    """[0, 1) → [−1, 1)."""
    return 2 * draws - 1


def _move(x: Tensor, angle: Tensor, offset: Tensor) -> Tensor:
    """Rotate by `angle` (B,) in radians and shift by `offset` (B, 2) in half sides; bilinear."""
    height, width = x.shape[2:]
    cos, sin = angle.cos(), angle.sin()
    across = torch.stack([cos, -sin * height / width, offset[:, 0]], 1)
    down = torch.stack([sin * width / height, cos, offset[:, 1]], 1)
    places = F.affine_grid(torch.stack([across, down], 1).to(x.dtype), list(x.shape), align_corners=False)
    return F.grid_sample(x, places, padding_mode="reflection", align_corners=False)


def _tint(x: Tensor, factors: Tensor) -> Tensor:
    """Multiply brightness and saturation by `factors` (B, 2); grey pictures have no saturation.

    A fourth channel, alpha, stays as it is, and no premultiplied colour exceeds it.
    """
    if x.shape[1] == 4:
        alpha = x[:, 3:]
        return torch.cat([_tint(x[:, :3], factors).clamp(min=0).minimum(alpha), alpha], 1)
    brightness, saturation = factors.to(x.dtype)[:, :, None, None, None].unbind(1)
    if x.shape[1] == 3:
        grey = torch.einsum("bchw,c->bhw", x, x.new_tensor(LUMA))[:, None]
        x = grey + saturation * (x - grey)
    return brightness * x
