"""Model directories as files: where they are, what their config.json says, what their tensors must be. Without torch.

A *model directory* holds `model.safetensors` (the weights), `enlargers.safetensors` (those of its enlargers, if it has
any), `sampler-NAME.safetensors` (densities fitted to the codes), `config.json` (format version, settings, pipeline,
training facts, hashes of the weights), `README.md` (the model card) and `samples.png`. It needs no code to load and can
run none. One may take all but the enlargers from a model that comes with betabloom, its `base`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from betabloom.arguments import path_of
from betabloom.config import Config
from betabloom.data import Pipeline
from betabloom.errors import FormatError, UsageError
from betabloom.model.hub import download, is_hub_name
from betabloom.samplers.table import sampler_entries
from betabloom.system.ownership import FolderKind
from betabloom.system.paths import guess_path
from betabloom.version import __version__

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

__all__ = [
    "BUNDLED",
    "ENLARGERS",
    "FORMAT",
    "FORMAT_VERSION",
    "MODEL",
    "MODELS",
    "Description",
    "as_format_error",
    "describe",
    "fingerprint_of",
    "is_bundled",
    "read_description",
    "sampler_name",
]  # fmt: skip

FORMAT = "betabloom-model"
FORMAT_VERSION = 1
MODEL = FolderKind(
    "a model",
    r"(model|enlargers|sampler-[a-z0-9-]+)\.safetensors|config\.json|README\.md|samples\.png|hub\.json",
    lambda folder: _is_model(folder / "config.json"),
)
KEYS = {
    "format", "format_version", "betabloom", "config", "pipeline", "training", "parameters", "half", "sha256",
    "sampler", "samplers", "base",
}  # fmt: skip
ENLARGERS = "decoder.enlargers."  # so begin the names of the weights in enlargers.safetensors
MODELS = Path(__file__).parents[1] / "bundled"
BUNDLED = "flowers64"  # the model that is meant where none is named
LARGEST_CONFIG = 1 << 20  # bytes; a real one has some thousand


@dataclass(frozen=True)
class Description:
    """What the config.json of a model says.

    Attributes:
        folder: Where the model is.
        base: Where the weights of all but the enlargers are, and the samplers.
        config: The settings it was trained with.
        pipeline: How its pictures were prepared.
        training: Facts about the training.
        half: Whether the weights are kept in 16 bits.
        digests: SHA-256 of the weights, and of each sampler by its name.
        samplers: The sizes of each fitted sampler by their names.
        sampler: The name of the one to draw from by default, or "prior".
    """

    folder: Path
    base: Path
    config: Config
    pipeline: Pipeline
    training: dict[str, Any]
    half: bool
    digests: dict[str, str]
    samplers: dict[str, dict[str, int]]
    sampler: str

    @property
    def fingerprint(self) -> str:
        """One short name for all weights: pictures are the same wherever it is."""
        return fingerprint_of(self.digests)

    def files(self, names: Collection[str]) -> dict[str, tuple[Path, set[str]]]:
        """The files of the weights of these names: path, and which it holds, by the names of their hashes."""
        own = {name for name in names if name.startswith(ENLARGERS)}
        found = {"model": (self.base / "model.safetensors", set(names) - own)}
        return found | ({"enlargers": (self.folder / "enlargers.safetensors", own)} if own else {})


def read_description(path: str | os.PathLike[str] | None) -> Description:
    """Read what the model at `path` says of itself; the weights are not looked at.

    Arguments:
        path: A model directory, a run directory, or the name of a bundled model; None for "flowers64". Where there is
            none, "user/model" or "user/model@revision" is one of the Hugging Face Hub: see `betabloom.model.hub`.

    Raises:
        UsageError: There is no model there.
        FormatError: There is one, but its config.json is damaged, foreign or of a newer version.
    """
    folder = _model_folder(path)
    facts = _read_facts(folder)
    with as_format_error(folder):
        config = Config.from_dict(facts["config"])
        pipeline = Pipeline.from_dict(facts["pipeline"])
        if (pipeline.channels, pipeline.height, pipeline.width) != config.shape:
            raise ValueError(f"its pipeline makes pictures of {pipeline.width}x{pipeline.height} pixels")
        samplers = {str(name): dict(sizes) for name, sizes in facts["samplers"].items()}
        for name, sizes in samplers.items():
            sampler_entries(name, sizes, config.model.latents)
        if facts["sampler"] not in ("prior", *samplers):
            raise ValueError(f"it has no sampler {facts['sampler']!r}")
        digests = {str(name): str(digest) for name, digest in facts["sha256"].items()}
        training, half = dict(facts["training"]), bool(facts["half"])
        base = _base(facts["base"]) if "base" in facts else folder
        return Description(folder, base, config, pipeline, training, half, digests, samplers, str(facts["sampler"]))


def _base(name: Any) -> Path:
    """The folder of a model that comes with betabloom and is whole."""
    if name not in [folder.name for folder in MODELS.iterdir() if (folder / "model.safetensors").is_file()]:
        raise ValueError(f"it is made from a model {name!r}, which is not bundled with betabloom")
    return MODELS / str(name)


def is_bundled(path: Path) -> bool:
    """Whether this is the name of a model that comes with betabloom."""
    return len(path.parts) == 1 and (MODELS / path / "config.json").is_file()


@contextlib.contextmanager
def as_format_error(folder: Path) -> Iterator[None]:
    """Turn what goes wrong with a config.json into a sentence about it."""
    try:
        yield
    except (UsageError, KeyError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
        raise FormatError(f"{folder / 'config.json'} does not describe a model: {str(error)[:500]}") from error


def sampler_name(asked: str, default: str, fitted: Collection[str]) -> str:
    """The name of the sampler to use; "auto" is the one that was found to be best."""
    name = default if asked == "auto" else asked
    if not isinstance(name, str) or (name != "prior" and name not in fitted):
        known = ", ".join(dict.fromkeys(["auto", "prior", *fitted]))
        raise UsageError(f"This model has no sampler {asked!r}. It has: {known}.")
    return name


def fingerprint_of(digests: Mapping[str, str]) -> str:
    """One short name for all weights, from their hashes."""
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:16]


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
        "fingerprint": fingerprint_of(facts["sha256"]),
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
    path = path_of(BUNDLED if given is None else given, "A model")
    if not path.exists() and is_bundled(path):
        return MODELS / path
    if given is not None and is_hub_name(os.fspath(given)):
        return download(os.fspath(given)).folder
    for folder in (path / "model", path):
        if (folder / "config.json").is_file():
            return folder
    if (path / "checkpoints").is_dir():
        raise UsageError(f"The training in {path} is not finished. Type: betabloom train --resume {path}")
    if not path.exists():
        raise UsageError(f"There is no model at {path}.{guess_path(path)} Train one: betabloom train drawn -o {path}")
    raise UsageError(
        f"{path} is not a model directory: it has no config.json. To look at a folder of pictures, type: "
        f"betabloom inspect {shlex.quote(str(path))}"
    )


def _is_model(file: Path) -> bool:
    """Whether a config.json is that of a model, of any version."""
    try:
        if file.stat().st_size > LARGEST_CONFIG:
            return False
        facts = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError):
        return False
    return isinstance(facts, dict) and facts.get("format") == FORMAT


def _read_facts(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if path.stat().st_size > LARGEST_CONFIG:
        raise FormatError(f"{path} has {path.stat().st_size:,} bytes; that of a model has a few thousand.")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise FormatError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise FormatError(f"{path} does not belong to a betabloom model.")
    version = facts.get("format_version")
    if version != FORMAT_VERSION:
        raise FormatError(
            f"{path} has format version {version!r}; betabloom {__version__} reads version "
            f"{FORMAT_VERSION}. Type: pip install --upgrade betabloom"
        )
    if unknown := facts.keys() - KEYS:
        raise FormatError(f"{path} has {min(unknown)[:100]!r}, which no model of format version {version} has.")
    return facts
