"""Networks as ONNX nodes: the layers of `betabloom.networks.spec`, the means of likelihoods, the posteriors.

Maps are (n, C, H, W), as torch has them; pictures go in and come out as uint8 (n, H, W, C).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from betabloom.vae.posterior import LOG_VAR_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from betabloom.export.graph import Graph
    from betabloom.networks.spec import Layer, Named

    Weights = Mapping[str, np.ndarray]
    Write = Callable[[Graph, Layer, str, Weights, str], str]

__all__ = ["LAYERS", "LIKELIHOODS", "POSTERIORS", "apply", "from_pictures", "to_pictures"]


def apply(graph: Graph, layers: Named, weights: Weights, x: str) -> str:
    """What comes out of layers, one after the other, if x goes in."""
    for name, layer in layers:
        x = LAYERS[layer.kind](graph, layer, name, weights, x)
    return x


def _linear(graph: Graph, layer: Layer, name: str, weights: Weights, x: str) -> str:
    weight, bias = graph.weight(weights[f"{name}.weight"]), graph.weight(weights[f"{name}.bias"])
    return graph.add("Gemm", x, weight, bias, transB=1)


def _conv(graph: Graph, layer: Layer, name: str, weights: Weights, x: str) -> str:
    weight, bias = graph.weight(weights[f"{name}.weight"]), graph.weight(weights[f"{name}.bias"])
    return graph.add("Conv", x, weight, bias, strides=[layer.stride] * 2, pads=[layer.padding] * 4)


def _transposed(graph: Graph, layer: Layer, name: str, weights: Weights, x: str) -> str:
    weight, bias = graph.weight(weights[f"{name}.weight"], axis=1), graph.weight(weights[f"{name}.bias"])
    return graph.add("ConvTranspose", x, weight, bias, strides=[layer.stride] * 2, pads=[layer.padding] * 4)


def _view(graph: Graph, layer: Layer, name: str, weights: Weights, x: str) -> str:
    return graph.add("Reshape", x, graph.constant([-1, *layer.shape], "int64"))


def _residual(graph: Graph, layer: Layer, name: str, weights: Weights, x: str) -> str:
    return graph.add("Add", x, apply(graph, layer.parts(name), weights, x))


def _enlarger(graph: Graph, layer: Layer, name: str, weights: Weights, x: str) -> str:
    """shuffle(x, each channel four times, + the result of its layers for tanh(x / 2))."""
    small = graph.add("Tanh", graph.add("Mul", x, graph.constant(0.5)))
    detail = apply(graph, layer.parts(name), weights, small)
    fourfold = graph.constant(np.repeat(np.arange(layer.inputs), 4), "int64")
    return _shuffled(graph, graph.add("Add", graph.add("Gather", x, fourfold, axis=1), detail))


def _shuffled(graph: Graph, x: str) -> str:
    return graph.add("DepthToSpace", x, blocksize=2, mode="CRD")


def _centred(graph: Graph, x: str) -> str:
    return graph.add("Sub", graph.add("Mul", x, graph.constant(2)), graph.constant(1))


def _silu(graph: Graph, x: str) -> str:
    return graph.add("Mul", x, graph.add("Sigmoid", x))


def _plain(write: Callable[[Graph, str], str]) -> Write:
    """A layer without weights."""
    return lambda graph, layer, name, weights, x: write(graph, x)


LAYERS: dict[str, Write] = {
    "linear": _linear,
    "conv": _conv,
    "transposed": _transposed,
    "view": _view,
    "residual": _residual,
    "enlarger": _enlarger,
    "flatten": _plain(lambda graph, x: graph.add("Flatten", x)),
    "centre": _plain(_centred),
    "shuffle": _plain(_shuffled),
    "relu": _plain(lambda graph, x: graph.add("Relu", x)),
    "silu": _plain(_silu),
    "gelu": _plain(lambda graph, x: graph.add("Gelu", x, approximate="tanh")),
}
"""How a layer of each kind is written: (graph, layer, name, weights, what goes in) → what comes out."""


def from_pictures(graph: Graph, pictures: str, halvings: int) -> str:
    """Pictures, uint8 (n, H, W, C) → floats in [0, 1], (n, C, H, W), halved by means of 2×2 pixels."""
    x = graph.add("Div", graph.cast(pictures, "float32"), graph.constant(255))
    x = graph.add("Transpose", x, perm=[0, 3, 1, 2])
    for _ in range(halvings):
        x = graph.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    return x


def to_pictures(graph: Graph, x: str) -> str:
    """Floats (n, C, H, W) → pictures, uint8 (n, H, W, C), rounded to the nearest level."""
    x = graph.add("Clip", x, graph.constant(0), graph.constant(1))
    x = graph.add("Round", graph.add("Mul", x, graph.constant(255)))
    return graph.add("Transpose", graph.cast(x, "uint8"), perm=[0, 2, 3, 1])


def _sigmoid(graph: Graph, eta: str, scale: float) -> str:
    return graph.add("Sigmoid", eta)


def _discretised_logistic(graph: Graph, eta: str, scale: float) -> str:
    """scale · (softplus(μ / scale) − softplus((μ − 1) / scale)) with μ = sigmoid(η)."""
    mu, s = graph.add("Sigmoid", eta), graph.constant(scale)
    low = graph.add("Softplus", graph.add("Div", mu, s))
    high = graph.add("Softplus", graph.add("Div", graph.add("Sub", mu, graph.constant(1)), s))
    return graph.add("Mul", s, graph.add("Sub", low, high))


def _continuous_bernoulli(graph: Graph, eta: str, scale: float) -> str:
    """1/2 + 1 / (2 tanh(η / 2)) − 1/η, and near 0 its series 1/2 + η/12 − η³/720."""
    half, one = graph.constant(0.5), graph.constant(1)
    small = graph.add("Less", graph.add("Abs", eta), graph.constant(0.1))
    safe = graph.add("Where", small, one, eta)
    slope = graph.add("Div", half, graph.add("Tanh", graph.add("Mul", safe, half)))
    away = graph.add("Sub", graph.add("Add", half, slope), graph.add("Div", one, safe))
    cube = graph.add("Mul", graph.add("Mul", eta, eta), graph.add("Mul", eta, graph.constant(-1 / 720)))
    near = graph.add("Add", graph.add("Add", half, graph.add("Mul", eta, graph.constant(1 / 12))), cube)
    return graph.add("Where", small, near, away)


LIKELIHOODS: dict[str, Callable[[Graph, str, float], str]] = {
    "continuous-bernoulli": _continuous_bernoulli,
    "discretised-logistic": _discretised_logistic,
    **dict.fromkeys(
        ("bernoulli", "gaussian", "gaussian-learned", "gaussian-optimal", "laplace", "laplace-learned"), _sigmoid
    ),
}
"""E[x|η] of the likelihoods by their names: (graph, η, scale)."""


def _limited(graph: Graph, log_var: str) -> str:
    return graph.add("Clip", log_var, graph.constant(-LOG_VAR_LIMIT), graph.constant(LOG_VAR_LIMIT))


def _point(graph: Graph, heads: Sequence[str], latents: int) -> str:
    """−∞: all mass lies on the mean."""
    return graph.add("Add", graph.add("Mul", heads[0], graph.constant(0)), graph.constant(-math.inf))


def _full(graph: Graph, heads: Sequence[str], latents: int) -> str:
    """log Σ_j L_ij² with L_ii = σ_i and the third head, divided by √l, below the diagonal."""
    rows, _ = np.tril_indices(latents, -1)
    of_row = np.zeros((len(rows), latents), np.float32)
    of_row[np.arange(len(rows)), rows] = 1 / latents
    below = graph.add("MatMul", graph.add("Mul", heads[2], heads[2]), graph.constant(of_row))
    return graph.add("Log", graph.add("Add", graph.add("Exp", _limited(graph, heads[1])), below))


def _low_rank(graph: Graph, heads: Sequence[str], latents: int) -> str:
    """log σ_i² + log(1 + Σ_j U_ij²) with U the third head, divided by √r."""
    u = graph.add("Reshape", heads[2], graph.constant([0, latents, -1], "int64"))
    mean = graph.add("ReduceMean", graph.add("Mul", u, u), graph.constant([2], "int64"), keepdims=0)
    wider = graph.add("Log", graph.add("Add", mean, graph.constant(1)))
    return graph.add("Add", _limited(graph, heads[1]), wider)


POSTERIORS: dict[str, Callable[[Graph, Sequence[str], int], str]] = {
    "normal": lambda graph, heads, latents: _limited(graph, heads[1]),
    "full": _full,
    "low-rank": _low_rank,
    "point": _point,
}
"""The log-variance of each latent by the names of posteriors: (graph, what the heads say, latents)."""
