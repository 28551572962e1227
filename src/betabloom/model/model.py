"""Models on disk: safetensors and JSON, never pickle. What the files are called and must hold: `modeldir`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from betabloom.data import Reading, prepare_few
from betabloom.errors import UsageError
from betabloom.model.card import model_card
from betabloom.model.directory import (
    ENLARGERS,
    FORMAT,
    FORMAT_VERSION,
    MODEL,
    as_format_error,
    check_neighbours,
    fingerprint_of,
    read_description,
    sampler_name,
)
from betabloom.networks.build import count_parameters
from betabloom.samplers.choose import empty_sampler, sampler_sizes
from betabloom.samplers.neighbourhood import DRAWN, NEAREST, sisters
from betabloom.samplers.parzen import Parzen
from betabloom.seeds import base_noise, check_count
from betabloom.system.atomic import replacing, write_json
from betabloom.system.tensors import read_tensors, write_tensors
from betabloom.vae import inference
from betabloom.vae.build import channels_last, make_vae
from betabloom.version import __version__

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from torch import Tensor

    from betabloom.config import Config
    from betabloom.data import Pipeline
    from betabloom.model.directory import Description
    from betabloom.vae.prior import Prior
    from betabloom.vae.vae import VAE

__all__ = ["Model", "load", "save_model"]


@dataclass(frozen=True)
class Model:
    """A trained VAE with what belongs to it.

    Attributes:
        vae: The networks and densities, in evaluation mode.
        config: The settings it was trained with.
        pipeline: How its pictures were prepared; pictures given to `encode` must be prepared the same way.
        training: Facts about the training: source, pictures, steps, seconds, versions, final measures.
        samplers: Densities fitted to the codes of the training pictures, by name.
        sampler: The name of the one that `generate` draws from by default, or "prior".
        fingerprint: First 16 hexadecimal digits of a hash of all weights; "" before they are saved.
    """

    vae: VAE
    config: Config
    pipeline: Pipeline
    training: dict[str, Any]
    samplers: Mapping[str, Prior] = dataclasses.field(default_factory=dict)
    sampler: str = "prior"
    fingerprint: str = ""

    def generate(
        self,
        n: int = 16,
        seed: int = 0,
        temperature: float = 1.0,
        start: int = 0,
        sampler: str = "auto",
        precision: str = "fp32",
    ) -> np.ndarray:
        """New pictures, uint8 (n, H, W, C).

        Arguments:
            n: How many.
            seed: Names the series of pictures.
            temperature: Factor on the noise: below 1 more typical, above 1 more unusual.
            start: Number of the first picture in the series.
            sampler: A name of `betabloom.samplers`: "auto", "prior", "gaussian", "mixture", "parzen" or "flow".
            precision: What the decoder computes in, "fp32", "bf16" or "auto": see `betabloom.vae.inference.decode`.
        """
        return inference.generate(self.vae, n, seed, temperature, start, self.density(sampler), precision)

    def density(self, sampler: str = "auto") -> Prior:
        """Where the codes of a sampler come from; "auto" is the one that was found to be best."""
        name = sampler_name(sampler, self.sampler, self.samplers)
        return self.vae.prior if name == "prior" else self.samplers[name]

    def prepare(self, images: Any) -> np.ndarray:
        """Prepare pictures of any size exactly as the training pictures were: uint8 (N, H, W, C).

        `images` are Pillow pictures, paths or arrays, in a list or one alone: see `betabloom.data.prepare_few`.
        """
        return prepare_few(images, self.pipeline, Reading.of(self.config.data))

    def encode(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Posterior means and log-variances (N, l) of prepared pictures, uint8 (N, H, W, C)."""
        return inference.encode(self.vae, self._check(pictures))

    def decode(self, codes: np.ndarray, precision: str = "fp32") -> np.ndarray:
        """Pictures, uint8 (N, H, W, C), that codes (N, l) stand for. See `betabloom.vae.inference.decode`."""
        return inference.decode(self.vae, codes, precision)

    def reconstruct(self, pictures: np.ndarray) -> np.ndarray:
        """Decode the posterior means of prepared pictures, uint8 (N, H, W, C)."""
        return inference.reconstruct(self.vae, self._check(pictures))

    def vary(
        self, picture: np.ndarray, n: int = 8, seed: int = 0, amount: float = 1.0, posterior: bool = False
    ) -> np.ndarray:
        """Variations, uint8 (n, H, W, C), on one prepared picture (H, W, C).

        Arguments:
            picture: uint8 (H, W, C).
            n: How many.
            seed: Names the series of variations.
            amount: 0 is the reconstruction, 1 a sister of the picture, 2 a cousin: see
                `betabloom.samplers.neighbourhood`.
            posterior: Sample the posterior of the picture instead, with `amount` times its σ.
        """
        self._check(picture[None])
        if posterior:
            return inference.sample_posterior(self.vae, picture, n, seed, amount)
        check_count(n)
        (code,), _ = self.encode(picture[None])
        drawn = inference.draw(self.vae, DRAWN, density=self.density())
        return self.decode(sisters(code, drawn, base_noise(seed, n, NEAREST)[0], amount))

    def save(self, path: str | os.PathLike[str], half: bool = False) -> Model:
        """Write the model directory and return the model with its fingerprint.

        Arguments:
            path: The directory. A model that is there is replaced; a link is followed.
            half: Store the weights in 16 bits: half the space, and hardly a grey level's difference.

        Raises:
            UsageError: Something else is there, or a model with files beside it that betabloom did not write.
        """
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return save_model(self, Path(path), half)

    def _check(self, pictures: np.ndarray) -> np.ndarray:
        channels, height, width = self.config.shape
        if pictures.dtype != np.uint8 or pictures.shape[1:] != (height, width, channels):
            raise UsageError(
                f"This model reads uint8 pictures of shape (N, {height}, {width}, {channels}), "
                f"not {pictures.dtype} {pictures.shape}. Use model.prepare(images) to make them."
            )
        return pictures


def save_model(model: Model, path: Path, half: bool = False) -> Model:
    """Write a model directory; an existing one is replaced at once, never in part. `half`: weights in 16 bits."""
    with replacing(path, MODEL.check) as part:
        weights = _halved(model.vae.state_dict()) if half else model.vae.state_dict()
        enlargers = {name: value for name, value in weights.items() if name.startswith(ENLARGERS)}
        rest = {name: value for name, value in weights.items() if name not in enlargers}
        digests = {"model": write_tensors(rest, part / "model.safetensors")}
        if enlargers:
            digests["enlargers"] = write_tensors(enlargers, part / "enlargers.safetensors")
        for name, density in model.samplers.items():
            digests[name] = write_tensors(density.state_dict(), part / f"sampler-{name}.safetensors")
        facts = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "betabloom": __version__,
            "config": model.config.to_dict(),
            "pipeline": model.pipeline.to_dict(),
            "training": model.training,
            "parameters": count_parameters(model.vae),
            "half": half,
            "sha256": digests,
            "sampler": model.sampler,
            "samplers": {name: sampler_sizes(density) for name, density in model.samplers.items()},
        }
        write_json(part / "config.json", facts, synced=False)
        card = model_card(model.config, model.training, count_parameters(model.vae), fingerprint_of(digests))
        (part / "README.md").write_text(card, encoding="utf-8")
    return dataclasses.replace(model, fingerprint=fingerprint_of(digests))


def _halved(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same in float16, where it is float32."""
    return {name: value.half() if value.dtype == torch.float32 else value for name, value in weights.items()}


def load(path: str | os.PathLike[str] | None = None, device: str = "cpu") -> Model:
    """Load a model directory, or the `model/` in a run directory, in evaluation mode.

    Nothing that is loaded can run code: weights are safetensors, everything else is JSON, and names, shapes and types
    are compared with the settings before any weight is read.

    Arguments:
        path: The directory, or the name of a model that comes with betabloom; None for "flowers64". "oxford128"
            draws the same at twice the size, "flowers128" flowers of other photos.
        device: Where the weights go.

    Raises:
        UsageError: There is no model there.
        FormatError: There is one, but it is damaged, foreign or of a newer version.
    """
    about = read_description(path)
    with as_format_error(about.folder), torch.device("meta"):
        expected = make_vae(about.config).state_dict()
        expected = _halved(expected) if about.half else expected
    weights = dict[str, torch.Tensor]()
    for name, (file, held) in about.files(expected).items():
        weights |= read_tensors(file, {key: expected[key] for key in held}, about.digests.get(name, ""))
    vae = make_vae(about.config)  # after its file is found to be as large: settings can ask for terabytes
    vae.load_state_dict(weights)
    channels_last(vae.requires_grad_(False).eval().to(device))
    densities = {name: _load_sampler(name, about).to(device) for name in about.samplers}
    return Model(vae, about.config, about.pipeline, about.training, densities, about.sampler, about.fingerprint)


def _load_sampler(name: str, about: Description) -> Prior:
    """A fitted sampler of a model."""
    file = about.base / f"sampler-{name}.safetensors"
    with torch.device("meta"):
        density = empty_sampler(about.samplers[name])
    density.load_state_dict(read_tensors(file, density.state_dict(), about.digests.get(name, "")), assign=True)
    if isinstance(density, Parzen):
        check_neighbours(int(density.near.min()), int(density.near.max()), len(density.mean), file)
    return density.requires_grad_(False).eval()
