"""The samplers in NumPy: functions that draw codes from the tensors of a file, as their torch namesakes do.

Each `draw_…` takes the arrays of a sampler by name, and returns a function of standard normal noise (n, l) and uniform
choices (n,) in [0, 1) that returns codes (n, l).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from betabloom.networks.fast_numpy import silu
from betabloom.vae.fast_numpy import component

Array = np.ndarray
Draw = Callable[[Array, Array], Array]

__all__ = ["FLOW_STEPS", "FREQUENCIES", "JITTER", "Draw", "draw_flow", "draw_mixture", "draw_parzen", "flow_shapes"]

FREQUENCIES = 8  # cosines and sines that tell a flow where on its path it is
FLOW_STEPS = 16  # from noise to code
JITTER = 1e-13  # part of the trace added to squares of Parzen windows: more than double rounds away, less than matters


def draw_mixture(found: Mapping[str, Array]) -> Draw:
    """`mixture.GaussianMixture.sample`, component by component, so that no factor is copied."""
    weight, mean, factor = found["weight"], found["mean"], found["factor"]

    def draw(noise: Array, choice: Array) -> Array:
        k = component(weight, choice)
        codes: Array = mean[k]
        for each in np.unique(k):
            codes[k == each] += noise[k == each] @ factor[each].T
        return codes

    return draw


def draw_parzen(found: Mapping[str, Array]) -> Draw:
    """`parzen.Parzen.sample`."""
    mean, near, spread = found["mean"], found["near"], found["spread"]
    centre, k = mean.mean(0, dtype=np.float32), near.shape[1]
    bandwidth, unit = found["bandwidth"] / np.float32(math.sqrt(k)), np.eye(k)

    def draw(noise: Array, choice: Array) -> Array:
        i = np.minimum((choice * len(mean)).astype(np.int64), len(mean) - 1)
        code, others = mean[i].astype(np.float32), mean[near[i]].astype(np.float32)  # (n, l), (n, k, l)
        own, middle = code - centre, (code + others.sum(1)) / np.float32(k + 1)
        u = (others - middle[:, None]) * bandwidth
        square, wider = np.square(own).sum(1), np.square(u).sum((1, 2))
        a = np.sqrt(np.where(wider > 0, square / np.maximum(square + wider, np.float32(1e-30)), np.float32(1)))
        u = (a[:, None, None] * u / spread).astype(np.float64)
        gram = u @ u.swapaxes(1, 2)
        more = 1 + JITTER * gram.trace(axis1=1, axis2=2)[:, None, None]
        factor = unit + np.linalg.cholesky(gram + more * unit)
        along = u.swapaxes(1, 2) @ np.linalg.solve(factor, u @ noise[:, :, None].astype(np.float64))
        codes: Array = centre + a[:, None] * own + spread * (noise + along[:, :, 0].astype(np.float32))
        return codes

    return draw


def flow_shapes(latents: int, width: int, blocks: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a rectified flow, by name: see `betabloom.samplers.flow`."""
    return {
        "mean": (latents,), "factor": (latents, latents), "enter": (width, latents), "enter_bias": (width,),
        "inner": (blocks, width, width), "time": (blocks, width, 2 * FREQUENCIES), "time_bias": (blocks, width),
        "outer": (blocks, width, width), "outer_bias": (blocks, width), "leave": (latents, width),
        "leave_bias": (latents,),
    }  # fmt: skip


def draw_flow(found: Mapping[str, Array]) -> Draw:
    """`flow.Flow.sample`."""
    stride = np.float32(0.5 * math.pi / FLOW_STEPS)

    def draw(noise: Array, choice: Array) -> Array:
        x = noise
        with np.errstate(over="ignore"):  # as in decoders
            for step in range(FLOW_STEPS):
                middle = x + stride / 2 * _velocity(found, x, step * stride)
                x = x + stride * _velocity(found, middle, (step + 0.5) * stride)
        codes: Array = found["mean"] + x @ found["factor"].T
        return codes

    return draw


def _velocity(found: Mapping[str, Array], x: Array, angle: np.float32) -> Array:
    """`flow.velocity`, all codes at the same angle."""
    turns = np.arange(1, FREQUENCIES + 1, dtype=np.float32) * np.float32(angle)
    place = np.concatenate([np.cos(turns), np.sin(turns)])
    h = x @ found["enter"].T + found["enter_bias"]
    parts = (found[name] for name in ("inner", "time", "time_bias", "outer", "outer_bias"))
    for inner, time, time_bias, outer, outer_bias in zip(*parts, strict=True):
        inside = _normalised(h) @ inner.T + (time @ place + time_bias)
        h = h + silu(inside) @ outer.T + outer_bias
    velocity: Array = silu(_normalised(h)) @ found["leave"].T + found["leave_bias"]
    return velocity


def _normalised(h: Array) -> Array:
    """Mean 0 and variance 1 over the features; the small number is that of torch's layer normalisation."""
    centred = h - h.mean(1, keepdims=True)
    normalised: Array = centred / np.sqrt(np.square(centred).mean(1, keepdims=True) + np.float32(1e-5))
    return normalised
