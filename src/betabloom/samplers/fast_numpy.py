"""Draws of every sampler with NumPy alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from betabloom.networks.fast_numpy import silu
from betabloom.networks.spec import FLOW_STEPS, FREQUENCIES, JITTER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Array = np.ndarray

__all__ = ["draw_flow", "draw_mixture", "draw_parzen", "draw_prior"]


def draw_prior(name: str, weights: Mapping[str, Array]) -> Callable[[Array, Array], Array]:
    """The same of p(z)."""
    found = {key: value.astype(np.float32) for key, value in weights.items() if key.startswith("prior.")}
    if name == "standard":
        return lambda noise, choice: noise
    if name == "mixture":
        logits, means, log_vars = found["prior.logits"], found["prior.means"], found["prior.log_vars"]
        weight = np.exp(logits - logits.max(), dtype=np.float64)

        def draw(noise: Array, choice: Array) -> Array:
            k = _component(weight / weight.sum(), choice)
            codes: Array = means[k] + np.exp(0.5 * log_vars[k]) * noise
            return codes

        return draw
    mean, std = found["prior.mean"], np.exp(0.5 * found["prior.log_var"])
    return lambda noise, choice: mean + std * noise


def _component(weight: Array, choice: Array) -> Array:
    """On which component each choice falls."""
    edges = weight.astype(np.float64).cumsum()
    k: Array = np.minimum(np.searchsorted(edges, choice), len(edges) - 1)
    return k


def draw_mixture(weight: Array, mean: Array, factor: Array, noise: Array, choice: Array) -> Array:
    """`aggregate.GaussianMixture.sample`, component by component, so that no factor is copied."""
    k = _component(weight, choice)
    codes: Array = mean[k]
    for each in np.unique(k):
        codes[k == each] += noise[k == each] @ factor[each].T
    return codes


def draw_parzen(found: Mapping[str, Array], centre: Array, noise: Array, choice: Array) -> Array:
    """`parzen.Parzen.sample`; `centre` is the mean of all codes."""
    mean, near, spread = found["mean"], found["near"], found["spread"]
    i = np.minimum((choice * len(mean)).astype(np.int64), len(mean) - 1)
    code, others, k = mean[i].astype(np.float32), mean[near[i]].astype(np.float32), near.shape[1]  # (n, l), (n, k, l)
    own, middle = code - centre, (code + others.sum(1)) / np.float32(k + 1)
    u = (others - middle[:, None]) * (found["bandwidth"] / np.float32(math.sqrt(k)))
    square, wider = np.square(own).sum(1), np.square(u).sum((1, 2))
    a = np.sqrt(np.where(wider > 0, square / np.maximum(square + wider, np.float32(1e-30)), np.float32(1)))
    u = (a[:, None, None] * u / spread).astype(np.float64)
    gram = u @ u.swapaxes(1, 2)
    more = 1 + JITTER * gram.trace(axis1=1, axis2=2)[:, None, None]
    unit = np.eye(k)
    factor = unit + np.linalg.cholesky(gram + more * unit)
    along = u.swapaxes(1, 2) @ np.linalg.solve(factor, u @ noise[:, :, None].astype(np.float64))
    codes: Array = centre + a[:, None] * own + spread * (noise + along[:, :, 0].astype(np.float32))
    return codes


def draw_flow(found: Mapping[str, Array], noise: Array) -> Array:
    """`flow.Flow.sample`."""
    stride, x = np.float32(0.5 * math.pi / FLOW_STEPS), noise
    with np.errstate(over="ignore"):  # as in decoders
        for step in range(FLOW_STEPS):
            middle = x + stride / 2 * _velocity(found, x, step * stride)
            x = x + stride * _velocity(found, middle, (step + 0.5) * stride)
    codes: Array = found["mean"] + x @ found["factor"].T
    return codes


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
