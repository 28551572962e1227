"""Layers that torch computes slowly on a CPU, computed in other ways: equal but for rounding.

What was measured is in docs/log.md. On other devices convolutions are left to torch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Transposed", "View", "flat", "in_blocks", "steady", "to_last"]

LAST = torch.channels_last
LARGE = 1 << 17  # numbers in a map that are worth a loop over pictures
FEW = 4  # output channels that leave most lanes of a processor empty
BLOCK = 2  # side of the blocks of pixels that are then computed together


class Transposed(nn.ConvTranspose2d):
    """A transposed convolution; its bias' gradient is a sum of its own.

    With the bias within, oneDNN takes another way through the backward pass, which takes twice as long in bf16. Few
    output channels are drawn in blocks, see `in_blocks`.
    """

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        plain = self.groups == 1 and self.dilation == (1, 1) and self.padding_mode == "zeros"
        if x.device.type != "cpu" or self.bias is None or output_size is not None or not plain:
            return super().forward(x, output_size)
        weight, bias, dtype = self.weight, self.bias, x.dtype
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
        y: Tensor = _TransposedConvolution.apply(  # type: ignore[no-untyped-call]
            x.to(dtype), weight.to(dtype), bias.to(dtype), self.stride, self.padding, self.output_padding
        )
        return y


class _TransposedConvolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        stride: tuple[int, int],
        padding: tuple[int, int],
        extra: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how = stride, padding, extra
        square = len({*stride}) == len({*padding}) == len({*weight.shape[2:]}) == 1
        with torch.autocast("cpu", enabled=False):
            if weight.shape[1] <= FEW and square and not any(extra):
                y = in_blocks(x, weight, bias, stride[0], padding[0])
                if y is not None:
                    return y
            return F.conv_transpose2d(x, weight, bias, stride, padding, extra)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        stride, padding, extra = ctx.how
        needs = ctx.needs_input_grad
        for_x, for_weight, _ = torch.ops.aten.convolution_backward(
            gradient, x, weight, None, stride, padding, (1, 1), True, extra, 1, (needs[0], needs[1], False)
        )
        for_bias = gradient.sum((0, 2, 3)) if needs[2] else None
        return for_x, for_weight, for_bias, None, None, None


def in_blocks(x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor | None:
    """A transposed convolution of square kernels as a plain one that computes blocks of pixels as its channels.

    Output pixel n·q + r of block q and place r in it sums x_i w_k over k = n·q + r + p − s·i, for stride s, padding p
    and blocks of n a multiple of s: a convolution of stride n/s over i = (n/s)·q + d − l with l = ⌊(K − 1 − p)/s⌋,
    whose kernel for place r has w at k = r + p + s·(l − d), and zeros where there is no such k.

    Arguments:
        x: (B, C, H, W).
        weight: (C, C', K, K).
        bias: (C',).
        stride: s.
        padding: p.

    Returns:
        (B, C', H', W') in channels_last; None where the blocks do not fill the output.
    """
    n, (before, after, kernel, _) = BLOCK, weight.shape
    left = (kernel - 1 - padding) // stride
    size = (n - 1 + padding) // stride + left + 1
    height, width = (stride * (side - 1) + kernel - 2 * padding for side in x.shape[2:])
    blocks = [(side + 2 * left - size) // (n // stride or 1) + 1 for side in x.shape[2:]]
    if n % stride or left < 0 or [height, width] != [n * count for count in blocks]:
        return None
    laid = torch.zeros(n, n, after, before, size, size, dtype=weight.dtype)
    spots = [[(d, k) for d in range(size) if 0 <= (k := r + padding + stride * (left - d)) < kernel] for r in range(n)]
    for i, rows in enumerate(spots):
        for j, columns in enumerate(spots):
            for dy, ky in rows:
                for dx, kx in columns:
                    laid[i, j, :, :, dy, dx] = weight[:, :, ky, kx].T
    laid = laid.flatten(0, 2).contiguous(memory_format=LAST)
    y = F.conv2d(x, laid, bias.repeat(n * n), n // stride, left)
    y = y.permute(0, 2, 3, 1).reshape(len(x), *blocks, n, n, after).transpose(2, 3)
    return y.reshape(len(x), height, width, after).permute(0, 3, 1, 2)


def flat(h: Tensor) -> Tensor:
    """A map (B, C, H, W) as features (B, F), in the order of (C, H, W) however it lies in memory."""
    if h.ndim == 4 and h.device.type == "cpu" and h.is_contiguous(memory_format=LAST):
        rows: Tensor = _Flat.apply(h)  # type: ignore[no-untyped-call]
        return rows
    return h.flatten(1)


class _Flat(torch.autograd.Function):
    """Flatten a map that lies in channels_last; its gradient comes back so too.

    Left to itself it comes back in the order of (C, H, W), and an activation that meets both orders at once takes
    ten times as long.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        ctx.shape = h.shape
        return h.flatten(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return to_last(gradient.reshape(ctx.shape))


class View(nn.Unflatten):
    """Features (B, C·H·W) → a map (B, C, H, W) that lies in channels_last, as convolutions want it."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__(1, shape)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _View.apply(super().forward(x))  # type: ignore[no-untyped-call]
        return y


class _View(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return to_last(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.contiguous()


def to_last(x: Tensor) -> Tensor:
    """The same map in channels_last; a large one picture by picture, since torch transposes matrices faster."""
    if x.shape[1:].numel() < LARGE or x.device.type != "cpu" or not x.is_contiguous():
        return x.contiguous(memory_format=LAST)
    y = torch.empty_like(x, memory_format=LAST)
    for one, other in zip(y.permute(0, 2, 3, 1).flatten(1, 2), x.flatten(2), strict=True):
        one.copy_(other.T)
    return y


def steady(x: Tensor) -> Tensor:
    """The same map in channels_last, whose gradient lies so too, whatever comes after."""
    y: Tensor = _Steady.apply(x)  # type: ignore[no-untyped-call]
    return y


class _Steady(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return to_last(gradient)
