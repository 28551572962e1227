"""Models on disk: safetensors and JSON, never pickle.

A *model directory* holds `model.safetensors` (the weights), `sampler-NAME.safetensors` (densities fitted to
the codes), `config.json` (format version, settings, pipeline, training facts, hashes of the weights), `README.md` (the
model card) and `samples.png`. It needs no code to load and can run none.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import betabloom
from betabloom import sample
from betabloom.config import Config
from betabloom.data import Pipeline
from betabloom.durable import replacing, write_json
from betabloom.errors import FormatError, UsageError
from betabloom.nn import count_parameters
from betabloom.parzen import Parzen
from betabloom.samplers import SAMPLERS, empty_sampler, sampler_sizes
from betabloom.tensors import read_tensors, write_tensors
from betabloom.vae import build_vae

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

    from PIL import Image
    from torch import Tensor

    from betabloom.prior import Prior
    from betabloom.vae import VAE

__all__ = [
    "Model",
    "describe",
    "load",
    "make_vae",
    "save_model",
]

FORMAT = "betabloom-model"
FORMAT_VERSION = 1
KEYS = {
    "format", "format_version", "betabloom", "config", "pipeline", "training", "parameters", "half", "sha256",
    "sampler", "samplers",
}  # fmt: skip
MODELS = Path(__file__).parent / "models"
BUNDLED = "flowers64"  # the model that comes with betabloom
LARGEST_CONFIG = 1 << 20  # bytes; a real one has some thousand


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
        self, n: int = 16, seed: int = 0, temperature: float = 1.0, start: int = 0, sampler: str = "auto"
    ) -> np.ndarray:
        """New pictures, uint8 (n, H, W, C).

        Arguments:
            n: How many.
            seed: Names the series of pictures.
            temperature: Factor on the noise: below 1 more typical, above 1 more unusual.
            start: Number of the first picture in the series.
            sampler: A name of `betabloom.samplers`: "auto", "prior", "gaussian", "mixture" or "parzen".
        """
        return sample.generate(self.vae, n, seed, temperature, start, self.density(sampler))

    def density(self, sampler: str = "auto") -> Prior:
        """Where the codes of a sampler come from; "auto" is the one that was found to be best."""
        name = self.sampler if sampler == "auto" else sampler
        if name == "prior":
            return self.vae.prior
        if name in self.samplers:
            return self.samplers[name]
        known = ", ".join(["auto", "prior", *self.samplers])
        raise UsageError(f"This model has no sampler {sampler!r}. It has: {known}.")

    def prepare(self, images: Iterable[Image.Image]) -> np.ndarray:
        """Prepare pictures of any size as the training pictures were: uint8 (N, H, W, C)."""
        return np.stack([self.pipeline(image) for image in images])

    def encode(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Posterior means and log-variances (N, l) of prepared pictures, uint8 (N, H, W, C)."""
        return sample.encode(self.vae, self._check(pictures))

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Pictures, uint8 (N, H, W, C), that codes (N, l) stand for."""
        return sample.decode(self.vae, codes)

    def reconstruct(self, pictures: np.ndarray) -> np.ndarray:
        """Decode the posterior means of prepared pictures, uint8 (N, H, W, C)."""
        return sample.reconstruct(self.vae, self._check(pictures))

    def vary(self, picture: np.ndarray, n: int = 8, seed: int = 0, amount: float = 1.0) -> np.ndarray:
        """Variations, uint8 (n, H, W, C), on one prepared picture (H, W, C). See `betabloom.sample.vary`."""
        return sample.vary(self.vae, self._check(picture[None])[0], n, seed, amount)

    def save(self, path: str | os.PathLike[str], half: bool = False) -> Model:
        """Write the model directory and return the model with its fingerprint.

        Arguments:
            path: The directory; one that exists is replaced.
            half: Store the weights in 16 bits: half the space, and hardly a grey level's difference.
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


def make_vae(config: Config) -> VAE:
    """Build the untrained VAE that the settings describe."""
    m = config.model
    return build_vae(
        config.shape,
        m.latents,
        m.family,
        m.widths,
        m.kernel,
        m.likelihood,
        m.prior,
        m.prior_mean,
        m.prior_std,
        m.prior_components,
        m.posterior,
    )


def save_model(model: Model, path: Path, half: bool = False) -> Model:
    """Write a model directory; an existing one is replaced at once, never in part. `half`: weights in 16 bits."""
    with replacing(path) as part:
        weights = _halved(model.vae.state_dict()) if half else model.vae.state_dict()
        digests = {"model": write_tensors(weights, part / "model.safetensors")}
        for name, density in model.samplers.items():
            digests[name] = write_tensors(density.state_dict(), part / f"sampler-{name}.safetensors")
        facts = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "betabloom": betabloom.__version__,
            "config": model.config.to_dict(),
            "pipeline": model.pipeline.to_dict(),
            "training": model.training,
            "parameters": count_parameters(model.vae),
            "half": half,
            "sha256": digests,
            "sampler": model.sampler,
            "samplers": {name: sampler_sizes(density) for name, density in model.samplers.items()},
        }
        write_json(part / "config.json", facts)
        (part / "README.md").write_text(_card(model, _fingerprint(digests)), encoding="utf-8")
    return dataclasses.replace(model, fingerprint=_fingerprint(digests))


def _halved(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same in float16, where it is float32."""
    return {name: value.half() if value.dtype == torch.float32 else value for name, value in weights.items()}


def _fingerprint(digests: Mapping[str, str]) -> str:
    """One short name for all weights: pictures are the same wherever it is."""
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:16]


def load(path: str | os.PathLike[str] | None = None, device: str = "cpu") -> Model:
    """Load a model directory, or the `model/` in a run directory, in evaluation mode.

    Nothing that is loaded can run code: weights are safetensors, everything else is JSON, and names, shapes and types
    are compared with the settings before any weight is read.

    Arguments:
        path: The directory, or the name of a model that comes with betabloom; None for "flowers64", which does.
        device: Where the weights go.

    Raises:
        UsageError: There is no model there.
        FormatError: There is one, but it is damaged, foreign or of a newer version.
    """
    folder = _model_folder(path)
    facts = _read_facts(folder)
    try:
        config = Config.from_dict(facts["config"])
        pipeline = Pipeline.from_dict(facts["pipeline"])
        training, digests = dict(facts["training"]), {str(k): str(v) for k, v in facts["sha256"].items()}
        if (pipeline.channels, pipeline.height, pipeline.width) != config.shape:
            raise ValueError(f"its pipeline makes pictures of {pipeline.width}x{pipeline.height} pixels")
        with torch.device("meta"):
            expected = make_vae(config).state_dict()
            expected = _halved(expected) if facts["half"] else expected
            densities = _empty_samplers(facts, config.model.latents)
    except (UsageError, KeyError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
        raise FormatError(f"{folder / 'config.json'} does not describe a model: {str(error)[:500]}") from error
    weights = read_tensors(folder / "model.safetensors", expected, digests.get("model", ""))
    vae = make_vae(config)  # after its file is found to be as large: settings can ask for terabytes
    vae.load_state_dict(weights)
    vae.requires_grad_(False).eval().to(device)
    for name, density in densities.items():
        file = folder / f"sampler-{name}.safetensors"
        weights = read_tensors(file, density.state_dict(), digests.get(name, ""))
        density.load_state_dict(weights, assign=True)
        if isinstance(density, Parzen) and not _within(density.near, len(density.mean)):
            raise FormatError(f"{file} is damaged: it names neighbours that are not there.")
        density.requires_grad_(False).eval().to(device)
    return Model(vae, config, pipeline, training, densities, str(facts["sampler"]), _fingerprint(digests))


def _empty_samplers(facts: Mapping[str, Any], latents: int) -> dict[str, Prior]:
    """The fitted samplers of a model, without memory."""
    densities = {str(name): empty_sampler(dict(sizes), latents) for name, sizes in facts["samplers"].items()}
    unknown = sorted(densities.keys() - set(SAMPLERS[2:]))
    if unknown or facts["sampler"] not in ("prior", *densities):
        raise ValueError(f"it has no sampler {unknown[0] if unknown else facts['sampler']!r}")
    return densities


def _within(places: Tensor, count: int) -> bool:
    return int(places.min()) >= 0 and int(places.max()) < count


def describe(path: str | os.PathLike[str] | None) -> dict[str, Any]:
    """Facts about the model at `path`, without loading its weights."""
    facts = _read_facts(_model_folder(path))
    try:
        return _described(path, facts)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"The config.json of {path} does not describe a model: it lacks {error}.") from error


def _described(path: str | os.PathLike[str] | None, facts: Mapping[str, Any]) -> dict[str, Any]:
    config, training = facts["config"], facts["training"]
    return {
        "model": str(path or BUNDLED),
        "fingerprint": _fingerprint(facts["sha256"]),
        "parameters": facts["parameters"],
        "sampler": facts["sampler"],
        "samplers": ", ".join(["prior", *facts["samplers"]]),
        "size": f"{config['data']['width']}x{config['data']['height']}x{config['data']['channels']}",
        "pipeline": facts["pipeline"]["name"],
        **config["model"],
        **config["objective"],
        **training,
        "betabloom": facts["betabloom"],
    }


def _model_folder(given: str | os.PathLike[str] | None) -> Path:
    path = Path(given or BUNDLED)
    if not path.exists() and len(path.parts) == 1 and (MODELS / path / "config.json").is_file():
        return MODELS / path
    for folder in (path / "model", path):
        if (folder / "config.json").is_file():
            return folder
    if (path / "checkpoints").is_dir():
        raise UsageError(f"The training in {path} is not finished. Type: betabloom train --resume {path}")
    if not path.exists():
        raise UsageError(f"There is no model at {path}. Train one: betabloom train drawn -o {path}")
    raise UsageError(
        f"{path} is not a model directory: it has no config.json. To look at a folder of pictures, type: "
        f"betabloom inspect {shlex.quote(str(path))}"
    )


def _read_facts(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if path.stat().st_size > LARGEST_CONFIG:
        raise FormatError(f"{path} has {path.stat().st_size:,} bytes; a model's has some thousand.")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise FormatError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise FormatError(f"{path} does not belong to a betabloom model.")
    version = facts.get("format_version")
    if version != FORMAT_VERSION:
        raise FormatError(
            f"{path} has format version {version!r}; betabloom {betabloom.__version__} reads version "
            f"{FORMAT_VERSION}. Type: pip install --upgrade betabloom"
        )
    if unknown := facts.keys() - KEYS:
        raise FormatError(f"{path} has {min(unknown)[:100]!r}, which no model of format version {version} has.")
    return facts


def _card(model: Model, fingerprint: str) -> str:
    """Model card."""
    t, c = model.training, model.config
    measures = "\n".join(f"| {name} | {value} |" for name, value in t.get("validation", {}).items())
    return f"""---
library_name: betabloom
tags: [beta-vae, variational-autoencoder, image-generation]
---

# A β-VAE trained on {t.get("source", "pictures")}

Made by betabloom {betabloom.__version__}; fingerprint `{fingerprint}`; {count_parameters(model.vae):,} parameters;
{c.data.width}×{c.data.height} pixels, {c.data.channels} channels, {c.model.latents} latents.

```python
import betabloom

model = betabloom.load("path/to/this/folder")
pictures = model.generate(n=16, seed=7)  # uint8, (16, {c.data.height}, {c.data.width}, {c.data.channels})
```

## Training

{t.get("images") or "A stream of"} pictures, {t.get("steps", 0):,} steps, {t.get("images_seen", 0):,} pictures seen
in {t.get("seconds", 0):.0f} s on {t.get("device", "?")} in {t.get("precision", "?")}.

Likelihood {c.model.likelihood}, prior {c.model.prior},
β = {c.objective.beta:g} (normalised {t.get("beta_normalised", 0):.3g}).

| validation (nats per image) | |
|---|---|
{measures}

The pictures it learned from belong to their authors. What it draws can resemble them.
"""
