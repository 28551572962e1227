"""Samplers and priors as ONNX nodes: noise (n, l) and uniform choices (n,) go in, codes (n, l) come out.

They compute what `betabloom.samplers.fast_numpy` computes, step by step, so that a seed names the same pictures.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from betabloom.samplers.fast_numpy import FLOW_STEPS, FREQUENCIES, JITTER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from betabloom.export.graph import Graph, Port

    Tensors = Mapping[str, np.ndarray]
    Write = Callable[[Graph, Tensors, str, str], str]

__all__ = ["PRIORS", "SAMPLERS"]


def _component(graph: Graph, weight: np.ndarray, choice: str) -> str:
    """On which component, of these weights (K,), each choice falls: how many edges lie below it."""
    edges = graph.constant(weight.astype(np.float64).cumsum()[None], "float64")
    below = graph.add("Less", edges, _column(graph, choice))
    place = graph.add("ReduceSum", graph.cast(below, "int64"), graph.constant([1], "int64"), keepdims=0)
    return graph.add("Min", place, graph.constant(len(weight) - 1, "int64"))


def _column(graph: Graph, x: str, axis: int = 1) -> str:
    return graph.add("Unsqueeze", x, graph.constant([axis], "int64"))


def _mixture(graph: Graph, found: Tensors, noise: str, choice: str) -> str:
    """Mean of a component plus its factor times the noise."""
    k = _component(graph, found["weight"], choice)
    factor = graph.add("Gather", graph.exact(found["factor"]), k)
    moved = graph.add("Squeeze", graph.add("MatMul", factor, _column(graph, noise, 2)), graph.constant([2], "int64"))
    return graph.add("Add", graph.add("Gather", graph.constant(found["mean"]), k), moved)


def _parzen(graph: Graph, found: Tensors, noise: str, choice: str) -> str:
    """Centre of a kernel plus B ε with B = diag(s) (I + Uᵀ (I + L)⁻¹ U): see `betabloom.samplers.parzen`."""
    spread = graph.constant(found["spread"])
    centre, a, directions = _kernel(graph, found, choice)
    u = graph.add("Div", graph.add("Mul", _column(graph, a, 2), directions), spread)
    wide = graph.cast(u, "float64")
    flipped = graph.add("Transpose", wide, perm=[0, 2, 1])
    heights = graph.add("MatMul", wide, _column(graph, graph.cast(noise, "float64"), 2))
    solved = _solved(graph, graph.add("MatMul", wide, flipped), heights, found["near"].shape[1])
    along = graph.add("Squeeze", graph.add("MatMul", flipped, solved), graph.constant([2], "int64"))
    moved = graph.add("Add", noise, graph.cast(along, "float32"))
    return graph.add("Add", centre, graph.add("Mul", spread, moved))


def _kernel(graph: Graph, found: Tensors, choice: str) -> tuple[str, str, str]:
    """Of the kernels that choices fall on: centres (n, l), a (n, 1), and h/√k (m_j − n_i), (n, k, l)."""
    codes, near = graph.table(found["mean"]), graph.table(found["near"])
    count, k = found["near"].shape
    middle = graph.constant(found["mean"].mean(0, dtype=np.float32))
    place = graph.cast(graph.add("Mul", choice, graph.constant(count, "float64")), "int64")
    i = graph.add("Min", place, graph.constant(count - 1, "int64"))
    code = graph.cast(graph.add("Gather", codes, i), "float32")
    others = graph.cast(graph.add("Gather", codes, graph.add("Gather", near, i)), "float32")
    own = graph.add("Sub", code, middle)
    total = graph.add("ReduceSum", others, graph.constant([1], "int64"), keepdims=0)
    around = graph.add("Div", graph.add("Add", code, total), graph.constant(k + 1))
    bandwidth = graph.constant(found["bandwidth"] / np.float32(math.sqrt(k)))
    directions = graph.add("Mul", graph.add("Sub", others, _column(graph, around)), bandwidth)
    a = _shrinking(graph, own, directions)
    return graph.add("Add", middle, graph.add("Mul", a, own)), a, directions


def _shrinking(graph: Graph, own: str, directions: str) -> str:
    """a = √(|own|² / (|own|² + |directions|²)), and 1 where a kernel has no width, (n, 1)."""
    square = graph.add("ReduceSumSquare", own, graph.constant([1], "int64"), keepdims=1)
    wider = graph.add("ReduceSumSquare", directions, graph.constant([1, 2], "int64"), keepdims=0)
    wider = _column(graph, wider)
    both = graph.add("Max", graph.add("Add", square, wider), graph.constant(1e-30))
    has_width = graph.add("Greater", wider, graph.constant(0))
    return graph.add("Sqrt", graph.add("Where", has_width, graph.add("Div", square, both), graph.constant(1)))


def _solved(graph: Graph, gram: str, heights: str, k: int) -> str:
    """(I + L)⁻¹ v with L Lᵀ = I + G the Cholesky factor, for G (n, k, k) and v (n, k, 1).

    Column by column: L_j = A e_j / √A_jj, x_j = v_j / (1 + L_jj), then A ← A − L_j L_jᵀ and v ← v − x_j (L_j + e_j).
    """
    one = np.eye(k)
    trace = graph.add("ReduceSum", graph.add("Mul", gram, graph.constant(one, "float64")),
                      graph.constant([1, 2], "int64"), keepdims=1)  # fmt: skip
    more = graph.add("Add", graph.add("Mul", trace, graph.constant(JITTER, "float64")), graph.constant(1, "float64"))
    square = graph.add("Add", gram, graph.add("Mul", more, graph.constant(one, "float64")))
    units = graph.constant(one[:, :, None], "float64")
    masks = graph.constant(np.triu(np.ones((k, k)))[:, :, None], "float64")
    scan = graph.add(
        "Scan", square, heights, units, masks, outputs=3,
        body=_column_step(graph, k), num_scan_inputs=2, scan_output_axes=[1],
    )  # fmt: skip
    return f"{scan}.2"


def _column_step(outer: Graph, k: int) -> object:
    """One column of `_solved`: the square and the heights that are left, and x_j (n, 1)."""
    graph = outer.body()
    column = graph.add("MatMul", "left", "unit")  # (n, k, 1)
    row = graph.add("Transpose", "unit", perm=[1, 0])
    pivot = graph.add("Sqrt", graph.add("MatMul", row, column))  # (n, 1, 1)
    factor = graph.add("Div", graph.add("Mul", column, "mask"), pivot)
    with_one = graph.add("Add", factor, "unit")
    x = graph.add("Div", graph.add("MatMul", row, "v"), graph.add("MatMul", row, with_one))
    left = graph.add("Sub", "left", graph.add("MatMul", factor, graph.add("Transpose", factor, perm=[0, 2, 1])))
    v = graph.add("Sub", "v", graph.add("Mul", x, with_one))
    flat = graph.add("Squeeze", x, graph.constant([2], "int64"))
    square, column_shape = ("n", k, k), ("n", k, 1)
    inputs: list[Port] = [("left", "float64", square), ("v", "float64", column_shape)]
    inputs += [("unit", "float64", (k, 1)), ("mask", "float64", (k, 1))]
    outputs = {left: ("left_out", "float64", square), v: ("v_out", "float64", column_shape)}
    return graph.part("column", inputs, {**outputs, flat: ("x_out", "float64", ("n", 1))})


def _flow(graph: Graph, found: Tensors, noise: str, choice: str) -> str:
    """A walk from noise to whitened codes by the midpoint rule, then m + L x."""
    stride = 0.5 * math.pi / FLOW_STEPS
    places = [(_times(found, step * stride), _times(found, (step + 0.5) * stride)) for step in range(FLOW_STEPS)]
    times = graph.constant(np.array(places))  # (steps, 2, blocks, width)
    body = _flow_step(graph, found, stride)
    end = graph.add("Scan", noise, times, body=body, num_scan_inputs=1)
    moved = graph.add("MatMul", end, graph.exact(np.ascontiguousarray(found["factor"].T)))
    return graph.add("Add", graph.constant(found["mean"]), moved)


def _times(found: Tensors, angle: float) -> np.ndarray:
    """What each block adds at an angle, (blocks, width)."""
    turns = np.arange(1, FREQUENCIES + 1, dtype=np.float32) * np.float32(angle)
    added: np.ndarray = found["time"] @ np.concatenate([np.cos(turns), np.sin(turns)]) + found["time_bias"]
    return added


def _flow_step(outer: Graph, found: Tensors, stride: float) -> object:
    """One step of `_flow`: two looks at the velocity."""
    blocks, width = found["time_bias"].shape
    latents = len(found["mean"])
    graph = outer.body()
    weights = {name: _turned(outer, found[name]) for name in ("enter", "leave")}
    weights |= {f"{name}{i}": _turned(outer, found[name][i]) for name in ("inner", "outer") for i in range(blocks)}
    first = graph.add("Gather", "times", graph.constant(0, "int64"))
    second = graph.add("Gather", "times", graph.constant(1, "int64"))
    half = graph.add("Mul", _velocity(graph, found, weights, "x", first), graph.constant(stride / 2))
    whole = _velocity(graph, found, weights, graph.add("Add", "x", half), second)
    moved = graph.add("Add", "x", graph.add("Mul", whole, graph.constant(stride)))
    inputs = [("x", "float32", ("n", latents)), ("times", "float32", (2, blocks, width))]
    return graph.part("step", inputs, {moved: ("x_out", "float32", ("n", latents))})


def _turned(graph: Graph, weight: np.ndarray) -> str:
    return graph.exact(np.ascontiguousarray(weight.T))


def _velocity(graph: Graph, found: Tensors, weights: Mapping[str, str], x: str, times: str) -> str:
    """`betabloom.samplers.flow.velocity`, with what the blocks add at this time given."""
    h = graph.add("Add", graph.add("MatMul", x, weights["enter"]), graph.constant(found["enter_bias"]))
    for i in range(len(found["inner"])):
        inside = graph.add("MatMul", _normalised(graph, h, found), weights[f"inner{i}"])
        inside = graph.add("Add", inside, graph.add("Gather", times, graph.constant(i, "int64")))
        step = graph.add("MatMul", _silu(graph, inside), weights[f"outer{i}"])
        h = graph.add("Add", h, graph.add("Add", step, graph.constant(found["outer_bias"][i])))
    leave = graph.add("MatMul", _silu(graph, _normalised(graph, h, found)), weights["leave"])
    return graph.add("Add", leave, graph.constant(found["leave_bias"]))


def _silu(graph: Graph, x: str) -> str:
    return graph.add("Mul", x, graph.add("Sigmoid", x))


def _normalised(graph: Graph, h: str, found: Tensors) -> str:
    """Mean 0 and variance 1 over the features."""
    ones = graph.constant(np.ones(found["inner"].shape[1]))
    return graph.add("LayerNormalization", h, ones, axis=-1, epsilon=1e-5)


SAMPLERS: dict[str, Write] = {"gaussian": _mixture, "mixture": _mixture, "parzen": _parzen, "flow": _flow}
"""By the names of `betabloom.samplers.table.SAMPLERS`: (graph, tensors, noise, choice) → codes."""


def _normal(graph: Graph, found: Tensors, noise: str, choice: str) -> str:
    std = graph.constant(np.exp(0.5 * found["log_var"]))
    return graph.add("Add", graph.constant(found["mean"]), graph.add("Mul", std, noise))


def _diagonal_mixture(graph: Graph, found: Tensors, noise: str, choice: str) -> str:
    """Priors with components, by their weights, means and log-variances."""
    k = _component(graph, np.exp(found["log_weight"].astype(np.float64)), choice)
    std = graph.add("Gather", graph.constant(np.exp(0.5 * found["log_var"])), k)
    return graph.add("Add", graph.add("Gather", graph.constant(found["mean"]), k), graph.add("Mul", std, noise))


PRIORS: dict[str, Write] = {
    "standard": lambda graph, found, noise, choice: graph.add("Identity", noise),
    "normal": _normal,
    "normal-learned": _normal,
    "mixture": _diagonal_mixture,
    "vamp": _diagonal_mixture,
}
"""By the names of `betabloom.vae.prior.PRIORS`; those with components by `log_weight`, `mean` and `log_var`."""
