"""Decoders in NumPy: what `nn` computes with torch, for a program that starts, draws and ends.

Maps are (B, H, W, C): a convolution is one matrix product of patches, copied side by side, and weights. Everything is
float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from betabloom.networks.spec import SHUFFLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from betabloom.networks.spec import Layer

__all__ = ["decoder", "mean_of", "silu"]

Array = np.ndarray


def decoder(
    layers: Sequence[tuple[str, Layer]], weights: Mapping[str, Array], finish: Callable[[Array], Array]
) -> Callable[[Array], Array]:
    """Make a function from codes (B, l) to pictures. Best with few at a time, so that patches stay in the cache.

    Arguments:
        layers: From `betabloom.networks.spec.decoder_layers`.
        weights: Arrays by name, of 16 or 32 bits; put in form once, here.
        finish: From outputs η (B, H, W, C) to what is wanted of them.
    """
    ops = [_op(name, layer, weights, layers[i + 1 : i + 2]) for i, (name, layer) in enumerate(layers)]

    def decode(z: Array) -> Array:
        with np.errstate(over="ignore"):  # exp(−x) of a very negative x: SiLU and sigmoid are then 0, as they should
            for op in ops:
                z = op(z)
            return finish(z)

    return decode


def _op(
    name: str, layer: Layer, weights: Mapping[str, Array], following: Sequence[tuple[str, Layer]]
) -> Callable[[Array], Array]:
    """What a layer does. `following`: the next layer, if there is one."""
    shuffled = bool(following) and following[0][1] == SHUFFLE
    if layer.kind == "linear":
        weight, bias = _floats(weights[f"{name}.weight"]), _floats(weights[f"{name}.bias"])

        def linear(x: Array) -> Array:
            y: Array = x @ weight.T
            y += bias
            return y

        return linear
    if layer.kind == "view":
        channels, height, width = layer.shape
        return lambda x: np.ascontiguousarray(x.reshape(-1, channels, height, width).transpose(0, 2, 3, 1))
    if layer.kind == "conv":
        return _conv(weights, name, shuffled)
    if layer.kind == "transposed":
        return _transposed(weights, name)
    if layer.kind == "block":
        first, second = (_conv(weights, f"{name}.body.{part}") for part in (1, 3))

        def block(x: Array) -> Array:
            y = second(silu(first(silu(x))))
            y += x
            return y

        return block
    if layer.kind == "enlarger":
        return _enlarger(layer.parts(name), weights)
    return {"silu": silu, "relu": _relu, "shuffle": _shuffle}[layer.kind]


def _enlarger(parts: Sequence[tuple[str, Layer]], weights: Mapping[str, Array]) -> Callable[[Array], Array]:
    """η (B, H, W, C) → η (B, 2H, 2W, C): see `nn.Enlarger`."""
    last, _ = parts[-1]
    ops = [_op(name, layer, weights, ()) for name, layer in parts[:-1]] + [_conv(weights, last, shuffled=True)]

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
    np.maximum(x, 0, out=x)
    return x


def _conv(weights: Mapping[str, Array], name: str, shuffled: bool = False) -> Callable[[Array], Array]:
    """Convolution with stride 1 that keeps the size; `shuffled`: with the order of channels that `_shuffle` takes."""
    weight, bias = weights[f"{name}.weight"], _floats(weights[f"{name}.bias"])
    after, before, kernel, _ = weight.shape
    matrix = _floats(weight.reshape(after, before, -1).transpose(0, 2, 1)).reshape(after, -1)
    if shuffled:
        matrix, bias = (np.ascontiguousarray(_by_pixel(each)) for each in (matrix, bias))

    def convolved(x: Array) -> Array:
        size = x.shape[:3]
        y: Array = (x if kernel == 1 else _patches(x, kernel)).reshape(-1, matrix.shape[1]) @ matrix.T
        y += bias
        return y.reshape(*size, after)

    return convolved


def _by_pixel(rows: Array) -> Array:
    """Rows in the order of `torch.nn.PixelShuffle` (channel, pixel of four) → (pixel of four, channel)."""
    return rows.reshape(-1, 4, *rows.shape[1:]).swapaxes(0, 1).reshape(rows.shape)


def _patches(x: Array, kernel: int) -> Array:
    """The k×k surroundings of every pixel, zeros beyond the edge: (B, H, W, C) → (B, H, W, k, k·C)."""
    count, height, width, channels = x.shape
    edge = kernel // 2
    padded = np.zeros((count, height + 2 * edge, width + 2 * edge, channels), np.float32)
    padded[:, edge : edge + height, edge : edge + width] = x
    of_picture, of_row, of_pixel, of_channel = padded.strides
    rows = np.lib.stride_tricks.as_strided(  # k neighbours in a row lie side by side already
        padded,
        (count, height, width, kernel, kernel * channels),
        (of_picture, of_row, of_pixel, of_row, of_channel),
        writeable=False,
    )
    return np.ascontiguousarray(rows)


def _shuffle(x: Array) -> Array:
    """Four channels (row, column, C) of a pixel → four pixels: (B, H, W, 4·C) → (B, 2·H, 2·W, C)."""
    count, height, width, channels = x.shape
    pixels = x.reshape(count, height, width, 2, channels // 2).swapaxes(2, 3)
    return np.ascontiguousarray(pixels).reshape(count, 2 * height, 2 * width, channels // 4)


def _transposed(weights: Mapping[str, Array], name: str) -> Callable[[Array], Array]:
    """Transposed convolution with stride 2 that doubles the size: each pixel adds a k×k patch to the result.

    Few channels are worked out as planes, many as pixels: what NumPy adds has to lie side by side.
    """
    weight, bias = _floats(weights[f"{name}.weight"]), _floats(weights[f"{name}.bias"])
    before, after, kernel, _ = weight.shape
    planes = np.ascontiguousarray(weight.transpose(2, 3, 1, 0)).reshape(-1, before)  # (k·k·C, C_before)
    edge = (kernel - 2) // 2

    def doubled(x: Array) -> Array:
        count, height, width, _ = x.shape
        size = (count, 2 * height + 2 * edge, 2 * width + 2 * edge)
        flat, steps = x.reshape(-1, before), [(i, j) for i in range(kernel) for j in range(kernel)]
        if after < 16:
            added = (planes @ flat.T).reshape(kernel, kernel, after, count, height, width)
            whole = np.zeros((after, *size), np.float32)
            for i, j in steps:
                whole[:, :, i : i + 2 * height : 2, j : j + 2 * width : 2] += added[i, j]
            whole = whole.transpose(1, 2, 3, 0)
        else:
            added = (flat @ planes.T).reshape(count, height, width, kernel, kernel, after)
            whole = np.zeros((*size, after), np.float32)
            for i, j in steps:
                whole[:, i : i + 2 * height : 2, j : j + 2 * width : 2] += added[:, :, :, i, j]
        inner = whole[:, edge : edge + 2 * height, edge : edge + 2 * width]
        y: Array = np.add(inner, bias, order="C")
        return y

    return doubled


def _sigmoid(x: Array) -> Array:
    y: Array = np.negative(x)
    np.exp(y, out=y)
    y += 1
    np.reciprocal(y, out=y)
    return y


def _softplus(x: Array) -> Array:
    y: Array = np.logaddexp(np.float32(0), x)
    return y


def _continuous_bernoulli(eta: Array) -> Array:
    """E[x] of `likelihood.ContinuousBernoulli`."""
    small = np.abs(eta) < 0.1
    safe = np.where(small, np.float32(1), eta)
    away = 0.5 + 0.5 / np.tanh(safe / 2) - 1 / safe
    x: Array = np.where(small, 0.5 + eta / 12 - eta**3 / 720, away)
    return x


def mean_of(likelihood: str, log_scale: float) -> Callable[[Array], Array]:
    """E[x|η] of a likelihood by its name, as uint8: rounded to the nearest level, as `sample.to_pictures` does."""
    scale = np.float32(np.exp(np.float32(log_scale)))

    def mean(eta: Array) -> Array:
        if likelihood == "continuous-bernoulli":
            return _continuous_bernoulli(eta)
        mu = _sigmoid(eta)
        if likelihood == "discretised-logistic":
            mu = scale * (_softplus(mu / scale) - _softplus((mu - 1) / scale))
        return mu

    def pictures(eta: Array) -> Array:
        x: Array = np.clip(mean(eta), 0, 1)
        x *= 255
        levels: Array = np.rint(x, out=x).astype(np.uint8)
        return levels

    return pictures
