"""Generation without torch: from the start of a program to pictures in a few tenths of a second.

A model directory is data, the noise of a picture is NumPy's, and a decoder is matrix products, so torch, whose import
takes a second, is not needed to draw. `open_without_torch` reads the files that `betabloom.load` reads, with the same
checks. `NumpyModel.generate` draws what `Model.generate` draws, within one grey level: sums are added in another order.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.errors import FormatError, UsageError
from betabloom.model import directory
from betabloom.networks.fast_numpy import decoder, mean_of
from betabloom.networks.spec import decoder_layers, vae_entries
from betabloom.samplers.fast_numpy import draw_flow, draw_mixture, draw_parzen, draw_prior
from betabloom.seeds import base_noise, check
from betabloom.system.cores import cores
from betabloom.system.header import check_file

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from betabloom.config import Config
    from betabloom.data import Pipeline
    from betabloom.system.header import Entry

__all__ = ["NumpyModel", "open_without_torch"]

AT_ONCE = 8  # small pictures that a thread works on, so that what it computes stays in the processor's cache
Array = np.ndarray


@dataclass(frozen=True)
class NumpyModel:
    """A model that can only generate.

    Attributes:
        config: The settings it was trained with.
        pipeline: How its pictures were prepared.
        training: Facts about the training.
        fingerprint: That of the model.
        sampler: Name of the sampler to draw from by default.
        samplers: What each fitted sampler, and the prior, makes of noise (n, l) and choices (n,): codes (n, l).
        network: Codes (n, l) → pictures, uint8 (n, H, W, C); best with few at a time.
        first_layer: Weights of the decoder's first layer, (F, l).
    """

    config: Config
    pipeline: Pipeline
    training: Mapping[str, Any]
    fingerprint: str
    sampler: str
    samplers: Mapping[str, Callable[[Array, Array], Array]]
    network: Callable[[Array], Array] = field(repr=False)
    first_layer: Array = field(repr=False)

    def generate(
        self,
        n: int = 16,
        seed: int = 0,
        temperature: float = 1.0,
        start: int = 0,
        sampler: str = "auto",
        precision: str = "fp32",
    ) -> Array:
        """New pictures, uint8 (n, H, W, C): see `Model.generate`. NumPy computes in fp32 only."""
        if precision != "fp32":
            raise UsageError(f"Without torch pictures are computed in fp32, not in {precision!r}.")
        return self.decode(self.draw(n, seed, temperature, start, sampler))

    def draw(self, n: int, seed: int = 0, temperature: float = 1.0, start: int = 0, sampler: str = "auto") -> Array:
        """The codes (n, l) of the pictures that `generate` makes with the same arguments."""
        from_noise = self.samplers[directory.sampler_name(sampler, self.sampler, self.samplers)]
        check(n, temperature)

        def few(rows: range) -> Array:
            noise, choice = base_noise(seed, len(rows), self.config.model.latents, start + rows[0])
            return from_noise(np.float32(temperature) * noise, choice)

        return _in_threads(few, n, AT_ONCE)

    def decode(self, codes: Array) -> Array:
        """Pictures, uint8 (N, H, W, C), that codes (N, l) stand for."""
        latents = self.config.model.latents
        if codes.ndim != 2 or codes.shape[1] != latents:
            raise UsageError(f"This model decodes codes of shape (N, {latents}), not {codes.shape}.")
        codes = np.ascontiguousarray(codes, np.float32)
        at_once = max(1, AT_ONCE >> 2 * len(self.config.model.enlargers))
        return _in_threads(lambda rows: self.network(codes[rows[0] : rows[-1] + 1]), len(codes), at_once)


def _in_threads(work: Callable[[range], Array], n: int, at_once: int) -> Array:
    """The results for 0 … n − 1, one after the other, `at_once` of them at a time."""
    parts = [range(first, min(first + at_once, n)) for first in range(0, n, at_once)]
    if len(parts) == 1:
        return work(parts[0])
    with ThreadPoolExecutor(cores()) as pool:  # NumPy lets go of the interpreter while it computes
        return np.concatenate(list(pool.map(work, parts)))


def open_without_torch(path: str | os.PathLike[str] | None = None) -> NumpyModel | None:
    """Open a model for generating without torch; None where its network or prior is not known here.

    Arguments:
        path: As for `betabloom.load`.

    Raises:
        UsageError: There is no model there.
        FormatError: There is one, but it is damaged, foreign or of a newer version.
    """
    about = directory.read_description(path)
    m, shape = about.config.model, about.config.shape
    with directory.as_format_error(about.folder):
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
    return NumpyModel(
        about.config,
        about.pipeline,
        about.training,
        about.fingerprint,
        about.sampler,
        {"prior": draw_prior(m.prior, weights), **samplers},
        decoder(layers, weights, finish),
        np.asarray(weights[f"{layers[0][0]}.weight"], np.float32),
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


def _load_sampler(name: str, about: directory.Description) -> Callable[[Array, Array], Array]:
    """What a fitted sampler makes of noise (n, l) and choices (n,), as its torch namesake does."""
    file = about.base / f"sampler-{name}.safetensors"
    found = _read(file, about.samplers[name], about.digests.get(name, ""))
    if "enter" in found:
        return lambda noise, choice: draw_flow(found, noise)
    if "factor" in found:
        return lambda noise, choice: draw_mixture(found["weight"], found["mean"], found["factor"], noise, choice)
    near = found["near"]
    directory.check_neighbours(int(near.min()), int(near.max()), len(found["mean"]), file)
    centre = found["mean"].mean(0, dtype=np.float32)
    return lambda noise, choice: draw_parzen(found, centre, noise, choice)
