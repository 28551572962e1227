"""Networks in NumPy: what `build` computes with torch, for a program that starts, draws and ends.

Maps are (B, H, W, C): a convolution is one matrix product of patches, copied side by side, and weights. Everything is
float32.
"""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from betabloom.networks.spec import Layer, Named

    Op = Callable[["Array"], "Array"]

__all__ = ["decoder", "encoder", "is_known", "silu"]

Array = np.ndarray


def is_known(layers: Named) -> bool:
    """Whether all layers of a network can be computed here."""
    kinds = ["", *(layer.kind for _, layer in layers)]
    if any(kind == "shuffle" and before != "conv" for before, kind in itertools.pairwise(kinds)):
        return False  # channels have to come in the order that `_shuffle` takes
    return all(layer.kind in OPS and _fits(layer) and is_known(layer.parts(name)) for name, layer in layers)


def _fits(layer: Layer) -> bool:
    """Whether a transposed convolution doubles the size."""
    return layer.kind != "transposed" or (layer.stride == 2 and layer.kernel == 2 * layer.padding + 2)


def decoder(layers: Named, weights: Mapping[str, Array], finish: Op) -> Op:
    """Make a function from codes (B, l) to pictures. Best with few at a time, so that patches stay in the cache.

    Arguments:
        layers: From `Network.decoder_layers`, known here.
        weights: Arrays by name, of 16 or 32 bits; put in form once, here.
        finish: From outputs η (B, H, W, C) to what is wanted of them.
    """
    ops = _ops(layers, weights)

    def decode(z: Array) -> Array:
        with np.errstate(over="ignore"):  # exp(−x) of a very negative x: SiLU and sigmoid are then 0, as they should
            for op in ops:
                z = op(z)
            return finish(z)

    return decode


def encoder(
    layers: Named, heads: int, weights: Mapping[str, Array], halvings: int = 0
) -> Callable[[Array], list[Array]]:
    """Make a function from pictures, float32 (B, H, W, C) in [0, 1], to what each head says, (B, outputs).

    Arguments:
        layers: From `Network.encoder_layers`, known here; the heads are the last.
        heads: How many of them.
        weights: Arrays by name, of 16 or 32 bits; put in form with the first pictures, since most programs only draw.
        halvings: How often pictures are halved first, by means of 2×2 pixels.
    """

    @functools.cache
    def ops() -> tuple[Sequence[Op], Sequence[Op]]:
        return _ops(layers[:-heads], weights), _ops(layers[-heads:], weights)

    def encode(x: Array) -> list[Array]:
        body, last = ops()
        for _ in range(halvings):
            count, height, width, channels = x.shape
            x = x.reshape(count, height // 2, 2, width // 2, 2, channels).mean((2, 4))
        with np.errstate(over="ignore"):
            for op in body:
                x = op(x)
        features = _flatten(x)
        return [head(features) for head in last]

    return encode


def _flatten(x: Array) -> Array:
    """Features (B, F) in the order of torch's maps, (C, H, W)."""
    return x if x.ndim == 2 else x.transpose(0, 3, 1, 2).reshape(len(x), -1)


def _centre(x: Array) -> Array:
    """2x − 1."""
    y: Array = 2 * x - 1
    return y


def _ops(layers: Named, weights: Mapping[str, Array], shuffled: bool = False) -> Sequence[Op]:
    """What the layers do, in order; `shuffled`: what comes after the last is a pixel shuffle."""
    kinds = [layer.kind for _, layer in layers[1:]] + ["shuffle" if shuffled else ""]
    return [OPS[layer.kind](layer, name, weights, after) for (name, layer), after in zip(layers, kinds, strict=True)]


def _linear(layer: Layer, name: str, weights: Mapping[str, Array], after: str) -> Op:
    weight, bias = _floats(weights[f"{name}.weight"]), _floats(weights[f"{name}.bias"])

    def linear(x: Array) -> Array:
        y: Array = x @ weight.T
        y += bias
        return y

    return linear


def _view(layer: Layer, name: str, weights: Mapping[str, Array], after: str) -> Op:
    channels, height, width = layer.shape
    return lambda x: np.ascontiguousarray(x.reshape(-1, channels, height, width).transpose(0, 2, 3, 1))


def _residual(layer: Layer, name: str, weights: Mapping[str, Array], after: str) -> Op:
    ops = _ops(layer.parts(name), weights)

    def residual(x: Array) -> Array:
        y = x
        for op in ops:
            y = op(y)
        y += x
        return y

    return residual


def _enlarger(layer: Layer, name: str, weights: Mapping[str, Array], after: str) -> Op:
    ops = _ops(layer.parts(name), weights, shuffled=True)

    def enlarged(eta: Array) -> Array:
        detail: Array = np.tanh(eta / 2)
        for op in ops:
            detail = op(detail)
        detail += np.tile(eta, 4)
        return _shuffle(detail)

    return enlarged


def _floats(weight: Array) -> Array:
    return np.ascontiguousarray(weight, np.float32)


def silu(x: Array) -> Array:
    """x · sigmoid(x) = x / (1 + exp(−x))."""
    y: Array = np.negative(x)
    np.exp(y, out=y)
    y += 1
    np.divide(x, y, out=y)
    return y


def _relu(x: Array) -> Array:
    y: Array = np.maximum(x, 0)
    return y


def _conv(layer: Layer, name: str, weights: Mapping[str, Array], after: str) -> Op:
    """Convolution with zeros beyond the edge; before a shuffle with the order of channels that it takes."""
    weight, bias = weights[f"{name}.weight"], _floats(weights[f"{name}.bias"])
    outputs, inputs, kernel, _ = weight.shape
    matrix = _floats(weight.reshape(outputs, inputs, -1).transpose(0, 2, 1)).reshape(outputs, -1)
    if after == "shuffle":
        matrix, bias = (np.ascontiguousarray(_by_pixel(each)) for each in (matrix, bias))

    def convolved(x: Array) -> Array:
        patches = x if kernel == 1 and layer.stride == 1 and not layer.padding else _patches(x, layer)
        y: Array = patches.reshape(-1, matrix.shape[1]) @ matrix.T
        y += bias
        return y.reshape(*patches.shape[:3], outputs)

    return convolved


def _by_pixel(rows: Array) -> Array:
    """Rows in the order of `torch.nn.PixelShuffle` (channel, pixel of four) → (pixel of four, channel)."""
    by_pixel: Array = rows.reshape(-1, 4, *rows.shape[1:]).swapaxes(0, 1).reshape(rows.shape)
    return by_pixel


def _patches(x: Array, layer: Layer) -> Array:
    """The k×k surroundings that a convolution looks at, zeros beyond the edge: (B, H, W, C) → (B, H', W', k, k·C)."""
    count, height, width, channels = x.shape
    kernel, edge, step = layer.kernel, layer.padding, layer.stride
    padded = np.zeros((count, height + 2 * edge, width + 2 * edge, channels), np.float32)
    padded[:, edge : edge + height, edge : edge + width] = x
    of_picture, of_row, of_pixel, of_channel = padded.strides
    rows = np.lib.stride_tricks.as_strided(  # k neighbours in a row lie side by side already
        padded,
        (count, *((side + 2 * edge - kernel) // step + 1 for side in (height, width)), kernel, kernel * channels),
        (of_picture, step * of_row, step * of_pixel, of_row, of_channel),
        writeable=False,
    )
    return np.ascontiguousarray(rows)


def _shuffle(x: Array) -> Array:
    """Four channels (row, column, C) of a pixel → four pixels: (B, H, W, 4·C) → (B, 2·H, 2·W, C)."""
    count, height, width, channels = x.shape
    pixels = x.reshape(count, height, width, 2, channels // 2).swapaxes(2, 3)
    return np.ascontiguousarray(pixels).reshape(count, 2 * height, 2 * width, channels // 4)


def _transposed(layer: Layer, name: str, weights: Mapping[str, Array], after: str) -> Op:
    """Transposed convolution with stride 2 that doubles the size: each pixel adds a k×k patch to the result.

    Few channels are worked out as planes, many as pixels: what NumPy adds has to lie side by side.
    """
    weight, bias = _floats(weights[f"{name}.weight"]), _floats(weights[f"{name}.bias"])
    inputs, outputs, kernel, _ = weight.shape
    planes = np.ascontiguousarray(weight.transpose(2, 3, 1, 0)).reshape(-1, inputs)  # (k·k·C, C_in)
    edge = (kernel - 2) // 2

    def doubled(x: Array) -> Array:
        count, height, width, _ = x.shape
        size = (count, 2 * height + 2 * edge, 2 * width + 2 * edge)
        flat, steps = x.reshape(-1, inputs), [(i, j) for i in range(kernel) for j in range(kernel)]
        if outputs < 16:
            added = (planes @ flat.T).reshape(kernel, kernel, outputs, count, height, width)
            whole = np.zeros((outputs, *size), np.float32)
            for i, j in steps:
                whole[:, :, i : i + 2 * height : 2, j : j + 2 * width : 2] += added[i, j]
            whole = whole.transpose(1, 2, 3, 0)
        else:
            added = (flat @ planes.T).reshape(count, height, width, kernel, kernel, outputs)
            whole = np.zeros((*size, outputs), np.float32)
            for i, j in steps:
                whole[:, i : i + 2 * height : 2, j : j + 2 * width : 2] += added[:, :, :, i, j]
        inner = whole[:, edge : edge + 2 * height, edge : edge + 2 * width]
        y: Array = np.add(inner, bias, order="C")
        return y

    return doubled


def _plain(function: Op) -> Callable[..., Op]:
    """A layer without weights."""
    return lambda *_: function


OPS: dict[str, Callable[[Layer, str, Mapping[str, Array], str], Op]] = {
    "linear": _linear,
    "conv": _conv,
    "transposed": _transposed,
    "view": _view,
    "flatten": _plain(_flatten),
    "centre": _plain(_centre),
    "shuffle": _plain(_shuffle),
    "relu": _plain(_relu),
    "silu": _plain(silu),
    "residual": _residual,
    "enlarger": _enlarger,
}
"""How a layer of each kind becomes a function: (layer, name, weights, kind of the layer after it)."""
