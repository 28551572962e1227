"""Decoders rearranged for drawing: the same function of z, in the shapes that a processor multiplies fastest.

Weights that no longer change can be put in another form first. Batch normalisation becomes part of the layer before it.
A transposed convolution with stride 2 becomes ordinary ones: pixel 2q + r of its result, r in {0, 1}, is a sum over the
taps k of the kernel with k ≡ r + p (mod 2) and over the pixels q + (r + p − k) / 2, two or three neighbours in a row,
so each of the four pixels (r_row, r_column) that a pixel becomes has a kernel of its own. To few channels all four are
one convolution. Wide ones are worked out in tiles (Winograd's convolution: Lavin & Gray 2016,
https://arxiv.org/abs/1509.09308): 121 products for 64 pixels of a 5×5 kernel in place of 400. All this is exact but for
rounding.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["fast_decoder"]

FEW = 16  # channels: transposed convolutions to fewer are quicker as one
WIDE = 128  # channels: those from and to at least as many are quicker in tiles
TILES = 256  # that are worked out together, so that what is between stays near the processor
LARGEST = 1 << 25  # numbers that the weights of tiles may have: more take longer to read than they save


@torch.no_grad()
def fast_decoder(decoder: nn.Module, dtype: torch.dtype = torch.float32) -> Callable[[Tensor], Tensor]:
    """Make a function from codes z (B, l) to outputs η (B, C, H, W), float32, without gradients.

    In float32 it is equal to `decoder`, and on other devices than processors `decoder` itself. `decoder` stays as it
    is; make the function anew when its weights have changed.

    Arguments:
        decoder: The network.
        dtype: What it computes in. In bf16 every layer rounds to 8 bits, and convolutions are not worked out in tiles,
            which would round more.
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
    ops = list(_ops(list(_flat(decoder))))

    def draw(z: Tensor) -> Tensor:
        for op in ops:
            z = op(z if single else z.to(dtype))
        return z if single else z.float()

    return draw


def _flat(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of networks in networks, in order."""
    from betabloom.networks.build import Decoder

    if isinstance(module, (Decoder, nn.Sequential, nn.ModuleList)):
        for child in module.children():
            yield from _flat(child)
    else:
        yield module


def _ops(layers: list[nn.Module]) -> Iterator[Callable[[Tensor], Tensor]]:
    """What the layers do, in order."""
    at, fresh = 0, False
    while at < len(layers):
        layer = layers[at]
        at += 1
        if at < len(layers) and _folds(layer, layers[at]):
            layer = _folded(layer, layers[at])
            at += 1
        if fresh and isinstance(layer, (nn.ReLU, nn.LeakyReLU, nn.SiLU)):
            layer = copy.copy(layer)
            layer.inplace = True  # what comes in belongs to no one else
        fresh = fresh or isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d))
        yield _doubled(layer) or layer


def _folds(layer: nn.Module, following: nn.Module) -> bool:
    return (
        isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))
        and layer.groups == 1
        and isinstance(following, nn.BatchNorm2d)
        and following.running_mean is not None
        and not following.training
    )


def _folded(layer: Any, norm: Any) -> nn.Module:
    """W·x + b, then (y − m)·s + c: the same as (s·W)·x + (b − m)·s + c."""
    scale = torch.rsqrt(norm.running_var + norm.eps)
    scale = scale if norm.weight is None else scale * norm.weight
    bias = layer.bias if layer.bias is not None else 0.0
    shift = (bias - norm.running_mean) * scale + (0.0 if norm.bias is None else norm.bias)
    along = (1, -1, 1, 1) if isinstance(layer, nn.ConvTranspose2d) else (-1, 1, 1, 1)
    weight = layer.weight * scale.view(along)
    layer = copy.copy(layer)  # with parameters of its own
    layer._parameters = {
        "weight": nn.Parameter(weight, requires_grad=False),
        "bias": nn.Parameter(shift, requires_grad=False),
    }
    folded: nn.Module = layer
    return folded


def _doubled(layer: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """The same transposed convolution in a quicker form; None where there is none (docs/log.md has the times)."""
    if not isinstance(layer, nn.ConvTranspose2d):
        return None
    plain = layer.stride == (2, 2) and layer.dilation == (1, 1) and layer.groups == 1
    alike = (layer.kernel_size, layer.padding, layer.output_padding)
    if not plain or any(len(set(each)) > 1 for each in alike):
        return None
    before, after, kernel, _ = layer.weight.shape
    if after < FEW and kernel > 1:
        return _together(layer)
    if kernel in (3, 4, 5) and min(before, after) >= WIDE and layer.weight.dtype != torch.bfloat16:
        sizes = ((m, sum(map(len, _used(kernel, int(layer.padding[0]), m))) ** 2) for m in (4, 2))
        return next((_in_tiles(layer, m) for m, n in sizes if n * before * after <= LARGEST), None)
    return None


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


# Of Winograd's convolution F(m, 3) the matrices that bring m + 2 pixels and 3 taps to m + 2 products, and these to m
# pixels. Larger tiles save more, and round more.
_MATRICES = {
    2: (
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
        [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
        [[1, 1, 1, 0], [0, 1, -1, -1]],
    ),
    4: (
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ],
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ],
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    ),
}


def _used(kernel: int, padding: int, m: int) -> list[list[int]]:
    """For r = 0 and 1, which of the m + 2 products count: not the first or the last where there is no outer tap."""
    phases = _phases(kernel, padding)
    first = min(start for start, _ in phases)
    ends = [(start - first, start - first + len(own)) for start, own in phases]
    return [list(range(int(begin > 0), m + 1 + int(end == 3))) for begin, end in ends]


def _in_tiles(layer: nn.ConvTranspose2d, m: int) -> Callable[[Tensor], Tensor]:
    """The same in tiles: m + 2 pixels and all taps to sums, a matrix product for each, these to 2m pixels."""
    before, after, kernel, _ = layer.weight.shape
    padding = int(layer.padding[0])
    pixels, taps, back = (layer.weight.new_tensor(matrix) for matrix in _MATRICES[m])
    phases, used = _phases(kernel, padding), _used(kernel, padding, m)
    first, n = min(start for start, _ in phases), sum(map(len, used))
    of_weight, of_products, at = taps.new_zeros(n, kernel), taps.new_zeros(m, 2, n), 0
    for r, ((start, own), rows) in enumerate(zip(phases, used, strict=True)):
        of_weight[at : at + len(rows), own] = taps[rows, start - first :][:, : len(own)]
        of_products[:, r, at : at + len(rows)] = back[:, rows]
        at += len(rows)
    of_products = of_products.view(2 * m, n)
    place = [i for rows in used for i in rows]
    matrices = torch.kron(of_weight, of_weight) @ layer.weight.reshape(-1, kernel * kernel).T
    matrices = matrices.view(n, n, before, after)

    def some(x: Tensor) -> Tensor:
        patches = x.permute(0, 2, 3, 1).unfold(1, m + 2, m).unfold(2, m + 2, m)  # (B, rows, columns, C, m+2, m+2)
        sums = _both(pixels, patches.permute(4, 5, 0, 1, 2, 3)).flatten(2, 4)
        products = x.new_empty((n, n, sums.shape[2], after))
        for a, i in enumerate(place):
            for b, j in enumerate(place):
                torch.mm(sums[i, j], matrices[a, b], out=products[a, b])
        count, rows, columns = patches.shape[:3]
        y = _both(of_products, products).view(2 * m, 2 * m, count, rows, columns, after).permute(2, 3, 0, 4, 1, 5)
        y = y.reshape(count, 2 * m * rows, 2 * m * columns, after)
        return y if layer.bias is None else y.add_(layer.bias)

    def tiled(x: Tensor) -> Tensor:
        height, width = _size(layer, x)
        rows, columns = (-(-side // (2 * m)) for side in (height, width))
        below, right = (m * t + 2 + first - side for t, side in zip((rows, columns), x.shape[2:], strict=True))
        x = F.pad(x, (-first, right, -first, below))
        at_once = max(1, TILES // (rows * columns))
        y = torch.cat([some(part) for part in torch.split(x, at_once)])
        return y[:, :height, :width].permute(0, 3, 1, 2)

    return tiled


def _both(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply the first two axes of x (k, k, …) by a matrix (m, k): (m, m, …)."""
    k, rest = matrix.shape[1], x.shape[2:]
    x = (matrix @ x.reshape(k, -1)).view(len(matrix), k, -1)
    return torch.matmul(matrix, x).view(len(matrix), len(matrix), *rest)
