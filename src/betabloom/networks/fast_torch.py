"""Decoders rearranged for drawing: the same function of z, in the shapes that a processor multiplies fastest.

A transposed convolution with stride 2 becomes an ordinary one: pixel 2q + r of its result, r in {0, 1}, is a sum over
the taps k of the kernel with k ≡ r + p (mod 2) and over the pixels q + (r + p − k) / 2, two or three neighbours in a
row, so each of the four pixels (r_row, r_column) that a pixel becomes has a kernel of its own. To few channels all four
are one convolution. All this is exact but for rounding.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from betabloom.networks.spec import Network

__all__ = ["fast_decoder"]

FEW = 16  # channels: transposed convolutions to fewer are quicker as one
FRESH = ("linear", "conv", "transposed")  # kinds of layers whose result belongs to no one else


@torch.no_grad()
def fast_decoder(decoder: nn.Module, dtype: torch.dtype = torch.float32) -> Callable[[Tensor], Tensor]:
    """Make a function from codes z (B, l) to outputs η (B, C, H, W), float32, without gradients.

    In float32 it is equal to `decoder`, and `decoder` itself on other devices than processors and where `make_networks`
    did not make it. `decoder` stays as it is; make the function again when its weights have changed.

    Arguments:
        decoder: The network.
        dtype: What it computes in. In bf16 every layer rounds to 8 bits.
    """
    single = dtype == torch.float32
    device = next((weight.device.type for weight in decoder.parameters() if weight.device.type != "cpu"), "cpu")
    if device != "cpu":

        def on_device(z: Tensor) -> Tensor:
            with torch.autocast(device, dtype):
                eta: Tensor = decoder(z)
            return eta.float()

        return decoder if single else on_device
    if not single:
        decoder = copy.deepcopy(decoder).to(dtype)
    network: Network | None = getattr(decoder, "network", None)
    ops = list(_ops(decoder, network)) if network else [decoder]

    def draw(z: Tensor) -> Tensor:
        for op in ops:
            z = op(z if single else z.to(dtype))
        return z if single else z.float()

    return draw


def _ops(decoder: nn.Module, network: Network) -> Iterator[Callable[[Tensor], Tensor]]:
    """What the layers do, in order."""
    fresh = False
    modules = [*decoder.body, *decoder.head, *decoder.enlargers]  # type: ignore[misc]
    for (_, layer), module in zip(network.decoder_layers(), modules, strict=True):
        fresh = fresh or layer.kind in FRESH
        if layer.kind in ("relu", "silu") and fresh:
            in_place = copy.copy(module)
            in_place.inplace = True
            yield in_place
        elif layer.kind == "transposed" and layer.stride == 2 and layer.outputs < FEW and layer.kernel > 1:
            yield _together(module)
        else:
            yield module


def _size(layer: nn.ConvTranspose2d, x: Tensor) -> list[int]:
    """Height and width of what a transposed convolution with stride 2 makes of x."""
    more = layer.kernel_size[0] - 2 * int(layer.padding[0]) + layer.output_padding[0]
    return [2 * (side - 1) + more for side in x.shape[2:]]


def _phases(kernel: int, padding: int) -> list[tuple[int, list[int]]]:
    """For the pixels 2q + r, r = 0 and 1: from which pixel q + start on, and the taps that these meet."""
    taps = [range((r + padding) % 2, kernel, 2)[::-1] for r in (0, 1)]
    return [((r + padding - own[0]) // 2, list(own)) for r, own in enumerate(taps)]


def _together(layer: nn.ConvTranspose2d) -> Callable[[Tensor], Tensor]:
    """All four phases as the channels of one convolution: the 2×2 pixels of a cell, and the cells side by side.

    Where the second phase begins a pixel later than the first, a cell is the pixels 2q − 1 and 2q, and the outermost
    rows and columns are cut off.
    """
    before, after, kernel, _ = layer.weight.shape
    (first, _), (second, _) = phases = _phases(kernel, int(layer.padding[0]))
    late = second - first  # 0 or 1: of the last two taps of a kernel one belongs to each phase
    window = (kernel + 1) // 2
    taps = [own + [kernel] * (window - len(own)) for _, own in (phases[::-1] if late else phases)]
    whole = F.pad(layer.weight, (0, 1, 0, 1))  # there is no tap `kernel`: 0
    four = torch.stack([whole[:, :, rows][:, :, :, columns] for rows in taps for columns in taps])
    weight = four.transpose(1, 2).reshape(4 * after, before, window, window)
    weight = weight.contiguous(memory_format=torch.channels_last)
    bias = None if layer.bias is None else layer.bias.repeat(4)

    def together(x: Tensor) -> Tensor:
        height, width = _size(layer, x)
        below, right = (
            (n + late + 1) // 2 + window - 1 + first - side
            for n, side in zip((height, width), x.shape[2:], strict=True)
        )
        edges = (-first, right, -first, below)
        even = len(set(edges)) == 1 and edges[0] >= 0  # then the convolution sees to them, without a copy
        padded = x if even else F.pad(x, edges)
        cells = F.conv2d(padded, weight, bias, padding=edges[0] if even else 0).permute(0, 2, 3, 1)
        count, rows, columns, _ = cells.shape
        # The two pixels of a cell that lie side by side are moved together, as numbers of as many bytes as fit.
        pieces = cells.contiguous().view(torch.int32 if 2 * after * cells.element_size() % 8 else torch.int64)
        y = pieces.reshape(count, rows, columns, 2, -1).transpose(2, 3).reshape(count, 2 * rows, -1)
        y = y.view(cells.dtype).view(count, 2 * rows, 2 * columns, after)
        return y[:, late : late + height, late : late + width].permute(0, 3, 1, 2)

    return together
