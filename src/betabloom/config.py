"""The settings: each once, with its default and its one-line help beside it; presets are short differences.

A `Config` has four sections (data, model, objective, train). Setting names are unique across sections, so `beta` and
`objective.beta` mean the same, in Python (`Config.preset("tiny", beta=4)`), on the command line (`--set beta=4`) and
in `config.yaml`.
"""

from __future__ import annotations

import dataclasses
import functools
import numbers
import os
import re
import types
import typing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from betabloom.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["PRESETS", "Config", "guess", "parse_duration", "parse_size"]


def _setting(
    default: Any, meaning: str, between: tuple[float, float] | None = None, choices: tuple[Any, ...] = ()
) -> Any:
    """A setting with what a person should know of it.

    Arguments:
        default: Its value where no preset and no person says otherwise.
        meaning: One line, with the unit.
        between: The least and the largest value, of a number.
        choices: The values it can have, where there are few.
    """
    return field(default=default, metadata={"help": meaning, "between": between, "choices": choices})


@dataclass(frozen=True)
class DataConfig:
    """Which pictures, and how they are prepared."""

    source: str = _setting("flowers102", "flowers102, drawn, drawn:COUNT, a folder, archive, table, hf:NAME or shards")
    min_size: int = _setting(0, "leave out pictures with a side of fewer pixels", between=(0, 65536))
    source_note: str = _setting("", "where the pictures come from, for the model card")
    licence: str = _setting("", "licence of the pictures, for the model card")
    background: str = _setting("white", "colour behind transparent pictures")
    levels: str = _setting(
        "", "stored values of black and white, as LOW,HIGH; auto; empty for what is usual for the kind of file"
    )
    pages: str = _setting(
        "first", "first page or frame of a file, or all as pictures of their own", choices=("first", "all")
    )
    exclude: str = _setting("", "patterns of file names to leave out, such as *_mask.png,old/*")
    pipeline: str = _setting("square", "preprocessing: square, justcrop, enhance, a chain of steps, or a file with one")
    height: int = _setting(64, "height of the prepared pictures in pixels", between=(1, 4096))
    width: int = _setting(64, "width of the prepared pictures in pixels", between=(1, 4096))
    channels: int = _setting(3, "3 for colour, 1 for grey, 4 for colour with transparency", choices=(1, 3, 4))
    split: str = _setting("auto", "official splits to train on (train+test …), auto, or all")
    holdout: float = _setting(
        0.1, "share of pictures held out for validation where there is no official split", between=(0.001, 0.9)
    )
    flip: bool = _setting(True, "mirror training pictures left to right at random")
    shift: float = _setting(0.0, "largest random shift of training pictures, as a part of the side", between=(0, 0.5))
    rotate: float = _setting(0.0, "largest random rotation of training pictures in degrees", between=(0, 180))
    colour: float = _setting(0.0, "largest random change of their brightness and saturation, as a part", between=(0, 1))


@dataclass(frozen=True)
class ModelConfig:
    """Posterior, likelihood and prior."""

    family: str = _setting("residual", "network: seed, burgess, conv or residual")
    latents: int = _setting(128, "number of latent dimensions", between=(1, 65536))
    widths: tuple[int, ...] = _setting(
        (),
        "channels of each level, such as 32,64,128; empty for the family's own, or half of them in a short time budget",
    )
    kernel: int = _setting(0, "kernel size in pixels; 0 for the family's own", between=(0, 65))
    head: int = _setting(
        0, "channels of a layer at full size that corrects what the decoder draws; 0 for none", between=(0, 4096)
    )
    enlargers: tuple[int, ...] = _setting((), "channels of the networks that each double the size of what is drawn")
    likelihood: str = _setting(
        "gaussian-optimal",
        "bernoulli, continuous-bernoulli, gaussian, gaussian-learned, gaussian-optimal, laplace, laplace-learned "
        "or discretised-logistic",
    )
    prior: str = _setting("standard", "standard, normal, normal-learned, mixture or vamp")
    prior_mean: float = _setting(0.0, "m of the prior N(m, s²)", between=(-1e3, 1e3))
    prior_std: float = _setting(1.0, "s of the prior N(m, s²)", between=(1e-3, 1e3))
    prior_components: int = _setting(32, "components of the mixture and vamp priors", between=(1, 65536))
    posterior: str = _setting("normal", "normal, full or low-rank covariances, or point for a plain auto-encoder")


@dataclass(frozen=True)
class ObjectiveConfig:
    """What is minimised: distortion + β · rate, or a variant of it."""

    beta: float = _setting(1.0, "weight β of the rate; 1 is the VAE", between=(0, 1e9))
    beta_schedule: str = _setting("linear", "how β rises: constant, linear, cosine or cyclical")
    beta_warmup: float = _setting(0.1, "part of the training during which β rises", between=(0, 1))
    regulariser: str = _setting(
        "elbo",
        "elbo, capacity, free-bits, total-correlation, mmd or jensen-shannon",
    )
    capacity: float = _setting(
        25.0, "nats per image that the capacity regulariser reaches at the end", between=(0, 1e9)
    )
    free_bits: float = _setting(
        0.1, "nats per dimension that the free-bits regulariser does not charge for", between=(0, 1e9)
    )
    skew: float = _setting(
        0.5,
        "skew of the jensen-shannon regulariser: 0 is the rate KL(q||p), 1 is KL(p||q)",
        between=(0, 1),
    )


@dataclass(frozen=True)
class TrainConfig:
    """How long, how fast, on what."""

    init_from: str = _setting("", "a model to start from, whose network is used; empty for none")
    keep_decoder: bool = _setting(False, "keep the decoder of that model as it is and train the rest")
    epochs: float = _setting(
        60.0, "passes over the training pictures; used when neither steps nor budget is set", between=(0, 1e9)
    )
    steps: int = _setting(
        0, "number of training steps, or the largest if there is a budget too; 0 to use epochs", between=(0, 10**12)
    )
    budget: float = _setting(0.0, "seconds that the whole training may take; 0 for none", between=(0, 1e9))
    batch: int = _setting(
        0,
        "pictures in a step; 0 for the usual: 32, fewer if the time budget is short, 128 with CUDA",
        between=(0, 65536),
    )
    micro_batches: int = _setting(
        1, "parts in which a batch is worked through one after the other, for want of memory", between=(1, 65536)
    )
    lanes: int = _setting(
        0, "parts that a stream is read in, which processes share; 0 for one each", between=(0, 65536)
    )
    optimiser: str = _setting("muon", "muon (hidden layers; Adam for the rest) or adam", choices=("muon", "adam"))
    learning_rate: float = _setting(1e-3, "peak learning rate of Adam; Muon's is 20 times as large", between=(0, 10))
    warmup_steps: int = _setting(
        200, "steps during which the learning rate rises (at most a tenth of the training)", between=(0, 10**9)
    )
    decay_from: float = _setting(
        0.5, "part of the training after which the learning rate falls to 0; 1 for never", between=(0, 1)
    )
    weight_decay: float = _setting(0.0, "decoupled weight decay (AdamW)", between=(0, 10))
    clip: float = _setting(
        1.0, "largest gradient norm in nats per pixel and channel; 0 for no clipping", between=(0, 1e12)
    )
    ema: float = _setting(
        0.999, "decay of the averaged weights that are saved; 0 for the last weights", between=(0, 0.999999)
    )
    seed: int = _setting(
        42, "seed of everything random: the same seed and settings give the same model", between=(0, 2**63 - 1)
    )
    device: str = _setting("auto", "where to train: auto, cpu, cuda, cuda:1, mps …")
    precision: str = _setting("auto", "what training computes in: auto, fp32 or bf16", choices=("auto", "fp32", "bf16"))
    flow: int = _setting(
        0,
        "steps to fit a rectified flow to the codes after training, as one more sampler; 0 for none",
        between=(0, 10**9),
    )
    validations: int = _setting(10, "how often during the training to validate and draw samples", between=(1, 10**6))
    stages: bool = _setting(
        False, "a training in stages: the best start, likelihood, a teacher, enlarging; each kept if it helps"
    )
    compare_starts: bool = _setting(
        True, "whether stages try a start from the bundled model beside one from nothing; without, it is from nothing"
    )
    doublings: int = _setting(0, "how often a model is taught to draw at twice its size, in stages", between=(0, 2))
    teacher: str = _setting(
        "auto",
        "what the decoder learns from after the likelihood, in stages: moments of features, or a critic (eye, patches)",
        choices=("auto", "moments", "eye", "patches"),
    )
    critic_rate: float = _setting(
        0.0, "learning rate of the decoder with the teacher, in stages; 0 for that of its kind", between=(0, 1)
    )
    critic_pixels: float = _setting(
        1.0,
        "weight of the verdict on pixels beside those on feature maps, in stages with the teacher eye",
        between=(0, 100),
    )
    log: str = _setting(
        "", "where to log besides metrics.jsonl: tensorboard, mlflow, wandb or csv, or several, such as csv,wandb"
    )


MOST_NUMBERS = 64  # in a setting that is a list of numbers

SECTIONS: dict[str, type[Any]] = {
    "data": DataConfig,
    "model": ModelConfig,
    "objective": ObjectiveConfig,
    "train": TrainConfig,
}
SECTION_OF = {f.name: name for name, section in SECTIONS.items() for f in dataclasses.fields(section)}
FORMER_NAMES = {"start": "init_from"}  # in files of models and runs that were written before the name changed

PRESETS: dict[str, dict[str, Any]] = {
    # The default: 64×64 colour pictures. A small β buys sharper pictures with more nats of code, and the samplers that
    # are fitted to the codes make up for the prior that they then follow less (docs/log.md).
    "flowers64": {"latents": 256, "beta": 0.2},
    # Larger pictures, 128×128: half the widths, one more level, and β for four times as many pixels.
    "flowers128": {"height": 128, "width": 128, "latents": 256, "widths": (8, 16, 32, 64, 64), "beta": 0.5},
    # Seconds, not minutes: for a first look, for tests and for lessons.
    "tiny": {
        "height": 32,
        "width": 32,
        "family": "conv",
        "latents": 32,
        "widths": (32, 64, 128),
        "epochs": 10.0,
        "warmup_steps": 50,
    },
    # The student project's network and settings: 136×136, BCE + 4·KL, Adam 3e-4, 30 epochs of the official train split.
    "seed": {
        "pipeline": "enhance",
        "height": 136,
        "width": 136,
        "split": "train",
        "flip": False,
        "family": "seed",
        "latents": 64,
        "likelihood": "bernoulli",
        "beta": 4.0,
        "beta_schedule": "constant",
        "epochs": 30.0,
        "optimiser": "adam",
        "batch": 32,
        "learning_rate": 3e-4,
        "warmup_steps": 0,
        "decay_from": 1.0,
        "clip": 0.0,
        "ema": 0.0,
    },
}


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    train: TrainConfig = TrainConfig()

    @classmethod
    def preset(cls, name: str = "flowers64", **settings: Any) -> Config:
        """Make a preset's settings, changed by `settings`.

        Examples:
            >>> from betabloom import Config
            >>> config = Config.preset("tiny", beta=4, steps=100)
            >>> config.objective.beta, config.train.steps
            (4.0, 100)
        """
        if not isinstance(name, str) or name not in PRESETS:
            raise UsageError(
                f"Unknown preset {name!r}.{guess(str(name), PRESETS)} Choose one of: {', '.join(PRESETS)}."
            )
        config = cls().replace(PRESETS[name]).replace(settings)
        for key in settings:
            section, setting = _locate(key)
            if config.train.init_from and section == "model":
                raise UsageError(f"The network is that of the model to start from: leave out '{setting}'.")
        return config

    def replace(self, settings: Mapping[str, Any]) -> Config:
        """Return these settings with some changed: {"beta": 4} or {"objective.beta": "4"}; text is converted."""
        changes: dict[str, dict[str, Any]] = {}
        for key, value in settings.items():
            section, name = _locate(key)
            changes.setdefault(section, {})[name] = _convert(name, value)
        sections = {name: dataclasses.replace(getattr(self, name), **new) for name, new in changes.items()}
        return dataclasses.replace(self, **sections).check()

    def check(self) -> Config:
        """Return self, or raise `UsageError` for a value that no run can use."""
        for section in SECTIONS:
            for setting in dataclasses.fields(SECTIONS[section]):
                _check(setting, getattr(getattr(self, section), setting.name))
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """Picture shape (C, H, W)."""
        return self.data.channels, self.data.height, self.data.width

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain nested values, as JSON and YAML have them."""
        values = dataclasses.asdict(self)
        for name in ("widths", "enlargers"):
            values["model"][name] = list(values["model"][name])
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Mapping[str, Any]]) -> Config:
        """Read what `to_dict` wrote; missing settings get their defaults, unknown ones raise `UsageError`."""
        if not isinstance(values, dict) or not all(isinstance(section, dict) for section in values.values()):
            raise UsageError(f"Settings must be a mapping of the sections {', '.join(SECTIONS)}.")
        return cls().replace({f"{section}.{k}": v for section, entries in values.items() for k, v in entries.items()})


def _check(setting: dataclasses.Field[Any], value: Any) -> None:
    """Refuse a value outside of the setting's range or choices."""
    between, choices = setting.metadata["between"], setting.metadata["choices"]
    if between and not between[0] <= value <= between[1]:
        raise UsageError(f"'{setting.name}' must lie between {between[0]:g} and {between[1]:g}, not {str(value)[:20]}.")
    if choices and value not in choices:
        known = ", ".join(map(str, choices))
        if isinstance(value, str):
            raise UsageError(f"Unknown {setting.name} {value[:40]!r}.{guess(value, choices)} Choose one of: {known}.")
        raise UsageError(f"'{setting.name}' must be one of {known}, not {str(value)[:20]}.")


def guess(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word: " Did you mean 'beta'?", or nothing if none is like it."""
    import difflib  # here, since most words are known

    near = difflib.get_close_matches(word, list(known), 1, 0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def _locate(key: str) -> tuple[str, str]:
    """Section and name of a setting given as "beta" or "objective.beta"."""
    section, _, name = key.rpartition(".")
    name = FORMER_NAMES.get(name, name)
    if name not in SECTION_OF or section not in ("", SECTION_OF[name]):
        known = ", ".join(sorted(SECTION_OF))
        raise UsageError(f"Unknown setting {key!r}.{guess(name, SECTION_OF)} The settings are: {known}.")
    return SECTION_OF[name], name


@functools.cache
def _types(section: str) -> dict[str, Any]:
    return typing.get_type_hints(SECTIONS[section])


def _convert(name: str, value: Any) -> Any:
    """Convert a value, often text from a command line, to the setting's type."""
    kind = _types(SECTION_OF[name])[name]
    if name == "budget" and isinstance(value, str):
        return _time_limit(value)
    try:
        if isinstance(kind, types.GenericAlias):  # tuple[int, ...]
            parts = value.split(",") if isinstance(value, str) else value
            if len(parts) > MOST_NUMBERS:
                raise ValueError
            return tuple(int(part) for part in parts if str(part).strip())
        if kind is bool:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[str(value).lower()]
        if not isinstance(value, str | numbers.Real | os.PathLike):
            raise TypeError
        if kind is int and isinstance(value, float) and value % 1:
            raise ValueError
        return kind(value)
    except (ValueError, TypeError, KeyError, OverflowError):
        wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}.get(
            kind, "numbers like 32,64,128"
        )
        raise UsageError(f"'{name}' must be {wanted}, not {repr(value)[:100]}.") from None


def _time_limit(text: str) -> float:
    """Seconds of a time limit as it is typed; "0s" is refused, since 0 stands for no limit."""
    seconds = parse_duration(text)
    if seconds == 0:
        raise UsageError("A budget of 0 seconds leaves no time to train. Give more time, or leave it out for no limit.")
    return seconds


def parse_duration(text: str) -> float:
    """Seconds in "90", "90s", "20m", "1.5h" or "1h30m"."""
    match = re.fullmatch(r"(?:(\d+\.?\d*)h)?(?:(\d+\.?\d*)m)?(?:(\d+\.?\d*)s?)?", text.strip().lower())
    if not match or not any(match.groups()):
        raise UsageError(f"Cannot read {text!r} as a duration. Write it like 90s, 20m or 1h30m.")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) in "64" (square) or "96x64" (width × height)."""
    match = re.fullmatch(r"(\d+)(?:[x×](\d+))?", text.strip().lower())
    if not match:
        raise UsageError(f"Cannot read {text!r} as a size. Write it like 64, or WIDTHxHEIGHT like 96x64.")
    width = int(match[1])
    return int(match[2] or width), width
