"""Generation without torch: `generate` from the start of a program to pictures in a few tenths of a second.

A model directory is data, the noise of a picture is NumPy's, and a decoder is matrix products: torch, whose import
takes a second, is not needed to draw. `open_lean` reads the same files as `betabloom.load`, with the same checks, and
`Lean.generate` draws what `Model.generate` draws: nearly all values are equal, and none differs by more than one grey
level, which comes from adding in another order.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom import modeldir
from betabloom.errors import FormatError
from betabloom.header import check_file
from betabloom.layers import FLOW_STEPS, FREQUENCIES, JITTER, decoder_layers, vae_entries
from betabloom.lean_decoder import decoder, mean_of, silu
from betabloom.noise import base_noise, check

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from betabloom.config import Config
    from betabloom.data import Pipeline
    from betabloom.header import Entry

__all__ = ["Lean", "cores", "open_lean"]

AT_ONCE = 8  # small pictures that a thread works on, so that what it computes stays in the processor's cache
Array = np.ndarray


@dataclass(frozen=True)
class Lean:
    """A model that can only generate.

    Attributes:
        config: The settings it was trained with.
        pipeline: How its pictures were prepared.
        training: Facts about the training.
        fingerprint: That of the model.
        sampler: Name of the sampler to draw from by default.
        samplers: What each fitted sampler, and the prior, makes of noise (n, l) and choices (n,): codes (n, l).
        decode: Codes (n, l) → pictures, uint8 (n, H, W, C).
    """

    config: Config
    pipeline: Pipeline
    training: Mapping[str, Any]
    fingerprint: str
    sampler: str
    samplers: Mapping[str, Callable[[Array, Array], Array]]
    decode: Callable[[Array], Array] = field(repr=False)

    def generate(
        self, n: int = 16, seed: int = 0, temperature: float = 1.0, start: int = 0, sampler: str = "auto"
    ) -> Array:
        """New pictures, uint8 (n, H, W, C): see `Model.generate`."""
        draw = self.samplers[modeldir.sampler_name(sampler, self.sampler, self.samplers)]
        check(n, temperature)
        m = self.config.model
        latents, at_once = m.latents, max(1, AT_ONCE >> 2 * len(m.enlargers))

        def few(first: int) -> Array:
            count = min(at_once, n - first)
            noise, choice = base_noise(seed, count, latents, start + first)
            return self.decode(draw(np.float32(temperature) * noise, choice))

        if n <= at_once:
            return few(0)
        with ThreadPoolExecutor(cores()) as pool:  # NumPy lets go of the interpreter while it computes
            return np.concatenate(list(pool.map(few, range(0, n, at_once))))


def cores() -> int:
    """How many cores this program may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_lean(path: str | os.PathLike[str] | None = None) -> Lean | None:
    """Open a model for generating without torch; None where its network or prior is not known here.

    Arguments:
        path: As for `betabloom.load`.

    Raises:
        UsageError: There is no model there.
        FormatError: There is one, but it is damaged, foreign or of a newer version.
    """
    about = modeldir.read_description(path)
    m, shape = about.config.model, about.config.shape
    with modeldir.refusing(about.folder):
        network = (m.family, shape, m.latents, m.widths, m.kernel)
        layers = decoder_layers(*network, m.enlargers)
        entries = vae_entries(*network, m.likelihood, m.prior, m.prior_components, about.half, m.enlargers)
    if layers is None or entries is None or not _known(m):
        return None
    weights = dict[str, Array]()
    for name, (file, held) in about.files(entries).items():
        weights |= _read(file, {key: entries[key] for key in held}, about.digests.get(name, ""))
    samplers = {name: _load_sampler(name, about) for name in about.samplers}
    finish = mean_of(m.likelihood, float(weights.get("likelihood.log_scale", 0)))
    return Lean(
        about.config,
        about.pipeline,
        about.training,
        about.fingerprint,
        about.sampler,
        {"prior": _prior(m.prior, weights), **samplers},
        decoder(layers, weights, finish),
    )


LIKELIHOODS = {
    "bernoulli", "continuous-bernoulli", "gaussian", "gaussian-learned", "gaussian-optimal", "laplace",
    "laplace-learned", "discretised-logistic",
}  # fmt: skip
PRIORS = {"standard", "normal", "normal-learned", "mixture"}  # "vamp" needs the encoder
POSTERIORS = {"normal", "point"}


def _known(m: Any) -> bool:
    return m.likelihood in LIKELIHOODS and m.prior in PRIORS and m.posterior in POSTERIORS


def _read(path: Path, entries: Mapping[str, Entry], digest: str) -> dict[str, Array]:
    """The tensors of a file, which must be these and have this hash: see `tensors.read_tensors`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    check_file(path, entries, digest)
    try:
        arrays = load_file(path)
    except (SafetensorError, OSError) as error:
        raise FormatError(f"{path} is damaged: {error}") from error
    for name, value in arrays.items():
        if not _finite(value):
            raise FormatError(f"{path} is damaged: {name!r} has values that no training leaves.")
    return arrays


def _finite(value: Array) -> bool:
    if (
        value.dtype == np.float16
    ):  # NumPy tells it of 16 bits one by one: infinite and NaN have all bits of the exponent
        return not bool(((value.view(np.uint16) & 0x7C00) == 0x7C00).any())
    return bool(np.isfinite(value).all())


def _load_sampler(name: str, about: modeldir.Description) -> Callable[[Array, Array], Array]:
    """What a fitted sampler makes of noise (n, l) and choices (n,), as its torch namesake does."""
    file = about.base / f"sampler-{name}.safetensors"
    found = _read(file, about.samplers[name], about.digests.get(name, ""))
    if "enter" in found:
        return lambda noise, choice: _flow(found, noise)
    if "factor" in found:
        return lambda noise, choice: _mixture(found["weight"], found["mean"], found["factor"], noise, choice)
    near = found["near"]
    modeldir.check_neighbours(int(near.min()), int(near.max()), len(found["mean"]), file)
    centre = found["mean"].mean(0, dtype=np.float32)
    return lambda noise, choice: _parzen(found, centre, noise, choice)


def _prior(name: str, weights: Mapping[str, Array]) -> Callable[[Array, Array], Array]:
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


def _mixture(weight: Array, mean: Array, factor: Array, noise: Array, choice: Array) -> Array:
    """`aggregate.GaussianMixture.sample`, component by component, so that no factor is copied."""
    k = _component(weight, choice)
    codes: Array = mean[k]
    for each in np.unique(k):
        codes[k == each] += noise[k == each] @ factor[each].T
    return codes


def _parzen(found: Mapping[str, Array], centre: Array, noise: Array, choice: Array) -> Array:
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


def _flow(found: Mapping[str, Array], noise: Array) -> Array:
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
