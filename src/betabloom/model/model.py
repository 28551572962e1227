"""A trained model: what it can do, and how it is saved and loaded, as safetensors and JSON, never by pickle.

What the files are called and must hold is written in `directory`.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from betabloom.arguments import path_of
from betabloom.data import Reading, prepare_few
from betabloom.errors import FormatError, UsageError
from betabloom.model.card import model_card
from betabloom.model.directory import (
    ENLARGERS,
    FORMAT,
    FORMAT_VERSION,
    MODEL,
    as_format_error,
    fingerprint_of,
    read_description,
    sampler_name,
)
from betabloom.model.generator import check_pictures
from betabloom.networks.build import count_parameters
from betabloom.samplers.choose import empty_sampler, sampler_sizes
from betabloom.samplers.neighbourhood import DRAWN, NEAREST, sisters
from betabloom.samplers.table import SAMPLERS
from betabloom.seeds import base_noise, check_count, new_seed
from betabloom.system.atomic import replacing, write_json, write_text
from betabloom.system.tensors import read_tensors, write_tensors
from betabloom.vae import inference
from betabloom.vae.build import channels_last, make_vae
from betabloom.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from PIL import Image
    from torch import Tensor

    from betabloom.config import Config
    from betabloom.data import Pipeline
    from betabloom.model.directory import Description
    from betabloom.vae.prior import Prior
    from betabloom.vae.vae import VAE

    Picture = str | os.PathLike[str] | Image.Image | np.ndarray
    Pictures = Picture | Iterable[Picture]

__all__ = ["Model", "check_model", "load", "save_model"]


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
        seed: int | None = 0,
        temperature: float = 1.0,
        start: int = 0,
        sampler: str = "auto",
        precision: str = "fp32",
    ) -> np.ndarray:
        """New pictures, uint8 (n, H, W, C).

        Arguments:
            n: How many, ≥ 1.
            seed: Names the series of pictures, ≥ 0; None for a new one in each call.
            temperature: Factor on the noise: below 1 more typical, above 1 more unusual.
            start: Number of the first picture in the series.
            sampler: A name of `betabloom.samplers`: "auto", "prior", "gaussian", "mixture", "parzen" or "flow".
            precision: What the decoder computes in, "fp32", "bf16" or "auto": see `betabloom.vae.inference.decode`.

        Returns:
            uint8 (n, H, W, C).

        Examples:
            >>> import betabloom
            >>> model = betabloom.load()
            >>> pictures = model.generate(n=2, seed=7)
            >>> pictures.shape, pictures.dtype
            ((2, 64, 64, 3), dtype('uint8'))
        """
        seed = new_seed() if seed is None else seed
        return inference.generate(self.vae, n, seed, temperature, start, self.density(sampler), precision)

    def draw(
        self, n: int, seed: int = 0, temperature: float = 1.0, start: int = 0, sampler: str = "auto"
    ) -> np.ndarray:
        """The codes, float32 (n, l), of the pictures that `generate` makes with the same arguments.

        Arguments:
            n: How many, ≥ 1.
            seed: Names the series, ≥ 0.
            temperature: Factor on the noise.
            start: Number of the first code in the series.
            sampler: As for `generate`.

        Returns:
            float32 (n, l).
        """
        return inference.draw(self.vae, n, seed, temperature, start, self.density(sampler))

    @property
    def first_layer(self) -> np.ndarray:
        """Weights (F, l) of the linear layer that the decoder begins with."""
        layers = [layer for layer in self.vae.decoder.modules() if isinstance(layer, torch.nn.Linear)]
        if not layers:
            raise UsageError("The decoder of this model does not begin with a linear layer.")
        weights: np.ndarray = layers[0].weight.detach().float().cpu().numpy()
        return weights

    def density(self, sampler: str = "auto") -> Prior:
        """Where the codes of a sampler come from; "auto" is the one that was found to be best."""
        name = sampler_name(sampler, self.sampler, self.samplers)
        return self.vae.prior if name == "prior" else self.samplers[name]

    def prepare(self, images: Pictures) -> np.ndarray:
        """Prepare pictures of any size exactly as the training pictures were: uint8 (N, H, W, C).

        Arguments:
            images: A picture or several: files, or pictures of PIL. Arrays are taken to be prepared.

        Raises:
            PictureError: One cannot be read.
            UsageError: There are none, or one is something else.
        """
        several: list[Any] = [images] if _is_one(images) else list(images)  # type: ignore[arg-type]
        if not several:
            raise UsageError("There is no picture.")
        return np.stack([self._prepared(each) for each in several])

    def encode(self, pictures: Pictures) -> tuple[np.ndarray, np.ndarray]:
        """Posterior means and log-variances (N, l) of pictures: uint8 (N, H, W, C), or what `prepare` takes.

        Examples:
            >>> import betabloom
            >>> model = betabloom.load()
            >>> mean, log_var = model.encode(model.generate(n=2))
            >>> mean.shape
            (2, 256)
        """
        return inference.encode(self.vae, self._pictures(pictures))

    def decode(self, codes: np.ndarray, precision: str = "fp32") -> np.ndarray:
        """Pictures, uint8 (N, H, W, C), that codes (N, l) stand for. See `betabloom.vae.inference.decode`.

        Examples:
            >>> import betabloom
            >>> model = betabloom.load()
            >>> codes = model.draw(n=2, seed=7)
            >>> model.decode(codes).shape
            (2, 64, 64, 3)
        """
        return inference.decode(self.vae, codes, precision)

    def reconstruct(self, pictures: Pictures) -> np.ndarray:
        """Decode the posterior means of pictures: uint8 (N, H, W, C), or what `prepare` takes.

        Examples:
            >>> import betabloom
            >>> model = betabloom.load()
            >>> drawn = betabloom.data.Drawn(2, size=100)
            >>> photos = [drawn.read(i) for i in range(2)]
            >>> model.reconstruct(model.prepare(photos)).shape
            (2, 64, 64, 3)
        """
        return inference.reconstruct(self.vae, self._pictures(pictures))

    def vary(
        self, picture: Picture, n: int = 8, seed: int | None = 0, amount: float = 1.0, posterior: bool = False
    ) -> np.ndarray:
        """Variations, uint8 (n, H, W, C), on one picture.

        Arguments:
            picture: Prepared, uint8 (H, W, C), or a file or a picture of PIL.
            n: How many, ≥ 1.
            seed: Names the series of variations, ≥ 0; None for a new one in each call.
            amount: 0 is the reconstruction, 1 a close relative of the picture, 2 a distant one: see
                `betabloom.samplers.neighbourhood`.
            posterior: Sample the posterior of the picture instead, with `amount` times its σ.

        Returns:
            uint8 (n, H, W, C).

        Examples:
            >>> import betabloom
            >>> model = betabloom.load()
            >>> picture = model.generate(n=1, seed=7)[0]
            >>> model.vary(picture, n=3, seed=0).shape
            (3, 64, 64, 3)
        """
        seed = new_seed() if seed is None else seed
        prepared = self.prepare([picture])
        if posterior:
            return inference.sample_posterior(self.vae, prepared[0], n, seed, amount)
        check_count(n)
        (code,), _ = self.encode(prepared)
        drawn = self.draw(DRAWN)
        return self.decode(sisters(code, drawn, base_noise(seed, n, NEAREST)[0], amount))

    def save(self, path: str | os.PathLike[str], half: bool = False) -> Model:
        """Write the model directory and return the model with its fingerprint.

        Arguments:
            path: The directory. A model that is there is replaced; a link is followed.
            half: Store the weights in 16 bits: half the space, and hardly a grey level's difference.

        Raises:
            UsageError: Something else is there, or a model with files beside it that betabloom did not write.
        """
        folder = path_of(path, "The directory of the model")
        folder.parent.mkdir(parents=True, exist_ok=True)
        return save_model(self, folder, half)

    def _pictures(self, pictures: Pictures) -> np.ndarray:
        return self._check(pictures if isinstance(pictures, np.ndarray) else self.prepare(pictures))

    def _prepared(self, picture: Any) -> np.ndarray:
        if isinstance(picture, np.ndarray):
            return self._check(picture[None])[0]  # type: ignore[no-any-return]
        if isinstance(picture, str | os.PathLike) and not Path(picture).is_file():
            raise UsageError(f"There is no picture {os.fspath(picture)}.")
        if isinstance(picture, str | os.PathLike) or hasattr(picture, "convert"):
            (prepared,) = prepare_few([picture], self.pipeline, Reading.of(self.config.data))
            return prepared  # type: ignore[no-any-return]
        raise UsageError(f"A picture must be a file, a PIL image or an array, not {type(picture).__name__}.")

    def _check(self, pictures: np.ndarray) -> np.ndarray:
        channels, height, width = self.config.shape
        check_pictures(pictures, (height, width, channels))
        if not len(pictures):
            raise UsageError("There is no picture.")
        return pictures


def _is_one(images: Any) -> bool:
    """Whether it is one picture, a file or one of PIL, rather than several; what has no parts is taken for one, too."""
    several = hasattr(images, "__iter__") and getattr(images, "ndim", 1) > 0
    return isinstance(images, str | bytes | os.PathLike) or hasattr(images, "convert") or not several


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
            "samplers": {name: sampler_sizes(name, density) for name, density in model.samplers.items()},
        }
        write_json(part / "config.json", facts, synced=False)
        card = model_card(model.config, model.training, count_parameters(model.vae), fingerprint_of(digests))
        write_text(part / "README.md", card, synced=False)
    return dataclasses.replace(model, fingerprint=fingerprint_of(digests))


def _halved(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same in float16, where it is float32."""
    return {name: value.half() if value.dtype == torch.float32 else value for name, value in weights.items()}


def check_model(value: object) -> None:
    """Say what to pass where a trained model is wanted.

    Raises:
        UsageError: It is something else.
    """
    if not isinstance(value, Model):
        found = type(value).__name__
        raise UsageError(f"'model' should be a betabloom.Model, as betabloom.load(…) gives it, not {found}.")


def load(path: str | os.PathLike[str] | None = None, device: str = "cpu") -> Model:
    """Load a model directory, or the `model/` in a run directory, in evaluation mode.

    Nothing that is loaded can run code: weights are safetensors, everything else is JSON, and names, shapes and types
    are compared with the settings before any weight is read.

    Arguments:
        path: The directory, or the name of a model that comes with betabloom; None for "flowers64". "oxford128"
            draws the same at twice the size, "flowers128" flowers of other photos. Where there is none of that name,
            "user/model" or "user/model@revision" is one of the Hugging Face Hub (the extra `hub`).
        device: Where the weights go.

    Raises:
        UsageError: There is no model there.
        FormatError: There is one, but it is damaged, foreign or of a newer version.

    Examples:
        >>> import betabloom
        >>> model = betabloom.load()
        >>> model.config.shape
        (3, 64, 64)
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
        density = empty_sampler(name, about.samplers[name], about.config.model.latents)
    tensors = read_tensors(file, density.state_dict(), about.digests.get(name, ""))
    if flaw := SAMPLERS[name].flaw(tensors):
        raise FormatError(f"{file} is damaged: {flaw}.")
    density.load_state_dict(tensors, assign=True)
    return density.requires_grad_(False).eval()
