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
from betabloom.model.generator import check_pictures
from betabloom.networks.fast_numpy import decoder, encoder, is_known
from betabloom.networks.spec import make_network
from betabloom.samplers.table import SAMPLERS, sampler_entries
from betabloom.seeds import base_noise, check, new_seed
from betabloom.system.cores import cores
from betabloom.system.header import check_file
from betabloom.vae.fast_numpy import LIKELIHOODS, PRIORS, as_codes, pictures_of
from betabloom.vae.posterior import LOG_VAR_LIMIT, POSTERIORS

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from betabloom.config import Config
    from betabloom.data import Pipeline
    from betabloom.samplers.fast_numpy import Draw
    from betabloom.system.header import Entry

__all__ = ["ENCODED", "NumpyModel", "open_without_torch"]

ENCODED = ("normal", "point")  # posteriors whose variances are what the heads say
AT_ONCE = 8  # small pictures that a thread works on, so that what it computes stays in the processor's cache
Array = np.ndarray


@dataclass(frozen=True)
class NumpyModel:
    """A model that draws and encodes pictures with NumPy.

    Attributes:
        config: The settings it was trained with.
        pipeline: How its pictures were prepared.
        training: Facts about the training.
        fingerprint: That of the model.
        sampler: Name of the sampler to draw from by default.
        samplers: What each fitted sampler, and the prior, makes of noise (n, l) and choices (n,): codes (n, l).
        encoder: Pictures, float32 (n, H, W, C) in [0, 1] → mean and log-variance of their codes, each (n, l), and more
            where the posterior has more.
        network: Codes (n, l) → pictures, uint8 (n, H, W, C); best with few at a time.
        first_layer: Weights of the decoder's first layer, (F, l), of 16 or 32 bits.
    """

    config: Config
    pipeline: Pipeline
    training: Mapping[str, Any]
    fingerprint: str
    sampler: str
    samplers: Mapping[str, Draw]
    network: Callable[[Array], Array] = field(repr=False)
    encoder: Callable[[Array], list[Array]] = field(repr=False)
    first_layer: Array = field(repr=False)

    def generate(
        self,
        n: int = 16,
        seed: int | None = 0,
        temperature: float = 1.0,
        start: int = 0,
        sampler: str = "auto",
        precision: str = "fp32",
    ) -> Array:
        """New pictures, uint8 (n, H, W, C): see `Model.generate`. NumPy computes in fp32 only."""
        if precision != "fp32":
            raise UsageError(f"Without torch pictures are computed in fp32, not in {precision!r}.")
        seed = new_seed() if seed is None else seed
        return self.decode(self.draw(n, seed, temperature, start, sampler))

    def draw(self, n: int, seed: int = 0, temperature: float = 1.0, start: int = 0, sampler: str = "auto") -> Array:
        """The codes (n, l) of the pictures that `generate` makes with the same arguments."""
        from_noise = self.samplers[directory.sampler_name(sampler, self.sampler, self.samplers)]
        check(n, temperature)

        def few(rows: range) -> Array:
            noise, choice = base_noise(seed, len(rows), self.config.model.latents, start + rows[0])
            return from_noise(np.float32(temperature) * noise, choice)

        return _in_threads(few, n, AT_ONCE)

    def encode(self, pictures: Array) -> tuple[Array, Array]:
        """Posterior means and log-variances (N, l) of prepared pictures, uint8 (N, H, W, C): see `Model.encode`."""
        channels, height, width = self.config.shape
        check_pictures(pictures, (height, width, channels))
        posterior = self.config.model.posterior
        if posterior not in ENCODED:
            raise UsageError(
                f"Without torch, pictures cannot be encoded with a {posterior!r} posterior. Use betabloom.load(…)."
            )

        def few(rows: range) -> Array:
            mean, log_var, *_ = self.encoder(pictures[rows[0] : rows[-1] + 1].astype(np.float32) / np.float32(255))
            limited = np.clip(log_var, -LOG_VAR_LIMIT, LOG_VAR_LIMIT)
            return np.stack([mean, np.full_like(mean, -np.inf) if posterior == "point" else limited], 1)

        both = _in_threads(few, len(pictures), AT_ONCE)
        return both[:, 0], both[:, 1]

    def decode(self, codes: Array) -> Array:
        """Pictures, uint8 (N, H, W, C), that codes (N, l) stand for."""
        codes = as_codes(codes, self.config.model.latents)
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
    m = about.config.model
    if not (m.likelihood in LIKELIHOODS and m.prior in PRIORS and m.posterior in POSTERIORS):
        return None
    likelihood, prior = LIKELIHOODS[m.likelihood], PRIORS[m.prior]
    with directory.as_format_error(about.folder):
        network = make_network(m.family, about.config.shape, m.latents, m.widths, m.kernel, m.enlargers, m.head)
        heads = POSTERIORS[m.posterior].heads(m.latents)
        shapes = network.tensors(heads) | prior.tensors(m.latents, m.prior_components)
    if not is_known(network.decoder_layers()) or not is_known(network.encoder_layers(heads)):
        return None
    shapes |= {"likelihood.log_scale": ()} if likelihood.has_scale else {}
    entries: dict[str, Entry] = {name: (shape, "F16" if about.half else "F32") for name, shape in shapes.items()}
    weights = dict[str, Array]()
    for name, (file, held) in about.files(entries).items():
        weights |= _read(file, {key: entries[key] for key in held}, about.digests.get(name, ""))
    finish = pictures_of(likelihood, float(weights.get("likelihood.log_scale", 0)))
    of_prior = {key: value.astype(np.float32) for key, value in weights.items() if key.startswith("prior.")}
    return NumpyModel(
        about.config,
        about.pipeline,
        about.training,
        about.fingerprint,
        about.sampler,
        {"prior": prior.draw(of_prior), **{name: _load_sampler(name, about) for name in about.samplers}},
        decoder(network.decoder_layers(), weights, finish),
        encoder(network.encoder_layers(heads), len(heads), weights, len(m.enlargers)),
        weights[f"{network.decoder_layers()[0][0]}.weight"],
    )


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
            raise FormatError(f"{path} is damaged: {name!r} contains NaN or infinite values.")
    return arrays


def _finite(value: Array) -> bool:
    if (
        value.dtype == np.float16
    ):  # NumPy tells it of 16 bits one by one: infinite and NaN have all bits of the exponent
        return not bool(((value.view(np.uint16) & 0x7C00) == 0x7C00).any())
    return bool(np.isfinite(value).all())


def _load_sampler(name: str, about: directory.Description) -> Draw:
    """What a fitted sampler makes of noise (n, l) and choices (n,), as its torch namesake does."""
    file = about.base / f"sampler-{name}.safetensors"
    entries = sampler_entries(name, about.samplers[name], about.config.model.latents)
    found = _read(file, entries, about.digests.get(name, ""))
    if flaw := SAMPLERS[name].flaw(found):
        raise FormatError(f"{file} is damaged: {flaw}.")
    return SAMPLERS[name].draw(found)
