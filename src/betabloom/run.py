"""A run: all that changes while a model trains, and what it changes with. How it is set up, and what it tells."""

from __future__ import annotations

import copy
import json
import logging
import math
import mmap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch

from betabloom.checkpoint import make_vae
from betabloom.crew import gather
from betabloom.data import Store
from betabloom.doctor import times
from betabloom.errors import BetabloomError, UsageError
from betabloom.factored import large_layers
from betabloom.hardware import choose_device, choose_precision, keep_memory
from betabloom.objective import Capacity, Elbo, FreeBits, Objective, TotalCorrelation, normalised_beta
from betabloom.optimiser import make_optimiser
from betabloom.plan import Plan
from betabloom.schedule import Linear, make_schedule
from betabloom.trackers import Trackers, check_trackers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

    from betabloom.config import Config
    from betabloom.crew import Crew
    from betabloom.data import Streamed
    from betabloom.objective import Regulariser
    from betabloom.optimiser import Muon
    from betabloom.vae import VAE

__all__ = [
    "Run",
    "Sums",
    "check_finite",
    "check_settings",
    "fail",
    "learning_rate",
    "record",
    "set_up",
    "some",
    "summary",
    "usual_batch",
]

log = logging.getLogger(__name__)

BATCH = 32  # pictures in a step, where neither the settings nor a time budget say otherwise
BATCH_ON_GPU = 128  # with CUDA, which takes hardly longer (docs/log.md)
VALIDATION_PICTURES = 1024
SMALLER = 1 / 3  # factor on the learning rate for every time that the loss was not a finite number
LARGE_BUFFER = 1 << 25  # bytes; networks with large layers have some of these, and memory is what they are short of
IN_MEMORY = 2 << 30  # bytes of prepared pictures that are kept in memory; larger stores are read from disk


class Sums:
    """Running sums of the terms since the last line of the log, kept on the device so that steps need not wait."""

    names = ("loss", "distortion", "rate", "gradient_norm", "distortion_floor")

    def __init__(self, device: torch.device) -> None:
        self.values = torch.zeros(len(self.names), device=device)
        self.left_out = torch.zeros((), device=device)  # steps that were not taken
        self.count = 0

    def clear(self) -> None:
        """Start again at nothing."""
        self.values.zero_()
        self.count = 0

    def add(self, good: Tensor, *values: Tensor) -> None:
        """Add the values of a step, unless it was not `good` and left out."""
        self.values[: len(values)] += torch.where(good, torch.stack(values).detach(), 0.0)
        self.left_out += ~good
        self.count += 1

    def means(self) -> dict[str, float]:
        means = (self.values / max(self.count, 1)).tolist()
        return {
            name: value for name, value in zip(self.names, means, strict=True) if name != "distortion_floor" or value
        }


@dataclass
class Run:
    """All that changes while training, and what it changes with."""

    config: Config
    store: Store
    train_rows: np.ndarray
    validation_rows: np.ndarray
    device: torch.device
    dtype: torch.dtype
    vae: VAE
    averaged: VAE
    optimiser: Muon
    objective: Objective
    plan: Plan
    pictures: Tensor | np.ndarray | None  # to learn from; all there are if an array; None where they come from a stream
    feed: Iterator[np.ndarray] | None  # batches of a stream
    out: Path | None
    sums: Sums
    crew: Crew | None = None  # who works through a batch side by side
    replay: Callable[[Tensor, Tensor], tuple[Tensor, ...]] | None = None  # what takes the steps, on a GPU
    step: int = 0
    parts: int = 1  # in which a batch is worked through, where memory does not hold it at once
    seconds: float = 0.0
    setbacks: int = 0  # how often the loss was not a finite number
    told: set[str] = field(default_factory=set)  # illnesses that were reported
    trackers: Trackers = field(default_factory=lambda: Trackers({}))
    rehearsed: float | None = None  # seconds that what comes after the last step will take, once they are measured
    validated: dict[str, float] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def batch(self) -> int:
        """Pictures in a step: the setting, or all there are if they are fewer."""
        return self.config.train.batch if self.feed else min(self.config.train.batch, len(self.train_rows))

    @property
    def ended(self) -> bool:
        """Whether the planned steps are done."""
        return self.plan.t >= 1


def check_settings(config: Config) -> None:
    """Raise `UsageError` for settings that no run can use, before any picture is looked at."""
    _beta(config)
    _regulariser(config, images=1)
    if not any((config.train.steps, config.train.epochs, config.train.budget)):
        raise UsageError("There is nothing to train: 'steps', 'epochs' and 'budget' are all 0. Type: --epochs 60")
    choose_precision(config.train.precision, choose_device(config.train.device))
    check_trackers(config.train.log)
    with torch.device("meta"):  # costs no memory and no time
        make_vae(config)


def sized(pictures: Store | Streamed, config: Config) -> Config:
    """Return the settings with the size, channels and pipeline of the pictures."""
    store = pictures if isinstance(pictures, Store) else pictures.store
    _, height, width, channels = store.pictures.shape
    return config.replace({"height": height, "width": width, "channels": channels, "pipeline": store.pipeline.name})


def set_up(pictures: Store | Streamed, config: Config, out: Path | None) -> Run:
    """Make the untrained model, its optimiser and its plan, on the device and in the precision that fit the machine."""
    check_trackers(config.train.log)
    stream = None if isinstance(pictures, Store) else pictures
    store = pictures if isinstance(pictures, Store) else pictures.store
    device = choose_device(config.train.device)
    config = sized(pictures, config).replace({"batch": config.train.batch or usual_batch(device)})
    train_rows, validation_rows = store.split("all" if stream else config.data.split, config.data.holdout)
    keep_memory()
    dtype = choose_precision(config.train.precision, device)
    torch.manual_seed(config.train.seed)
    vae = make_vae(config)
    vae.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = copy.deepcopy(vae).requires_grad_(False).eval() if config.train.ema else vae
    t = config.train
    vae.decoder.requires_grad_(not t.keep_decoder)
    crew = gather(vae, t.batch if stream else min(t.batch, len(train_rows)), device)
    if large_layers(vae):
        keep_memory(below=LARGE_BUFFER)
    fused = device.type in ("cpu", "cuda")
    optimiser = make_optimiser(t.optimiser, vae, t.learning_rate, t.weight_decay, fused, crew.share if crew else None)
    return Run(
        config=config,
        store=store,
        train_rows=train_rows,
        validation_rows=some(validation_rows if len(validation_rows) else train_rows, VALIDATION_PICTURES),
        device=device,
        dtype=dtype,
        vae=vae,
        averaged=averaged,
        optimiser=optimiser,
        objective=Objective(_beta(config), _regulariser(config, 0 if stream else len(train_rows))),
        plan=Plan(_planned_steps(config, None if stream else len(train_rows)), config.train.budget),
        pictures=None if stream else _resident(store.pictures, train_rows, device),
        feed=stream.batches(config.train.batch, config.train.seed, config.data.holdout) if stream else None,
        out=out,
        sums=Sums(device),
        crew=crew,
    )


def usual_batch(device: torch.device) -> int:
    """Pictures in a step where nobody says how many."""
    return BATCH_ON_GPU if device.type == "cuda" else BATCH


def some(rows: np.ndarray, count: int) -> np.ndarray:
    """At most `count` rows, evenly spread, so that every class of a sorted source is among them."""
    chosen: np.ndarray = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]
    return chosen


def _beta(config: Config) -> Callable[[float], float]:
    o = config.objective
    return make_schedule(o.beta_schedule, o.beta, o.beta_warmup)


def _regulariser(config: Config, images: int) -> Regulariser:
    o = config.objective
    kinds: dict[str, Regulariser] = {
        "elbo": Elbo(),
        "capacity": Capacity(Linear(0.0, o.capacity, until=0.8)),
        "free-bits": FreeBits(o.free_bits),
        "total-correlation": TotalCorrelation(images),
    }
    if o.regulariser == "total-correlation" and not images:
        raise UsageError("The total-correlation objective needs the number of pictures, which a stream does not tell.")
    if o.regulariser not in kinds:
        raise UsageError(f"Unknown regulariser {o.regulariser!r}. Choose one of: {', '.join(kinds)}.")
    return kinds[o.regulariser]


def _planned_steps(config: Config, images: int | None) -> int:
    """Steps of the whole training; 0 if only a time budget decides. `images` is None for a stream."""
    t = config.train
    if t.budget:
        return t.steps
    if images is None and not t.steps:
        raise UsageError("Nobody knows how long a stream is. Say how long to train: --steps 20000 or --budget 1h")
    if images is None:
        return t.steps
    return t.steps or max(1, math.ceil(t.epochs * images / min(t.batch, images)))


def _resident(pictures: np.ndarray, rows: np.ndarray, device: torch.device) -> Tensor | np.ndarray:
    """Put the pictures where batches are made from: a tensor of those of `rows` alone, on the device or in memory.

    If they are too many, all are left on disk, as the array that they are.
    """
    if len(rows) * pictures[0].nbytes > IN_MEMORY:
        return pictures
    learned = torch.from_numpy(np.asarray(pictures[rows]))
    if device.type == "cuda" and learned.nbytes < torch.cuda.mem_get_info(device)[0] // 4:
        return learned.to(device)
    file: Any = pictures.base
    if isinstance(file, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        file.madvise(mmap.MADV_DONTNEED)  # what was copied need not stay in memory twice
    return learned


def learning_rate(run: Run) -> float:
    """Linear warm-up, then constant, then half a cosine to 0; a third of it for every setback."""
    config, t = run.config.train, run.plan.t
    peak = config.learning_rate * SMALLER**run.setbacks
    rise = min(1.0, max((run.step + 1) / config.warmup_steps, 10 * t)) if config.warmup_steps else 1.0
    if config.decay_from >= 1 or t <= config.decay_from:
        return peak * rise
    fall = (t - config.decay_from) / (1 - config.decay_from)
    return peak * rise * 0.5 * (1 + math.cos(math.pi * fall))


def check_finite(run: Run, values: Mapping[str, float]) -> None:
    """Raise `BetabloomError` with advice if a term of the loss is not a finite number."""
    if not all(math.isfinite(value) for value in values.values()):
        fail(run)


def fail(run: Run) -> NoReturn:
    """Raise `BetabloomError`: the loss is not a finite number, and nothing helped."""
    saved = run.out / "checkpoints" if run.out else None
    hint = f"a checkpoint from before is in {saved}; " if saved and saved.exists() else ""
    tried = f", and smaller steps did not help ({times(run.setbacks)})" if run.setbacks else ""
    raise BetabloomError(
        f"The loss is no longer a finite number at step {run.step}{tried}: {hint}train again with a smaller step: "
        f"--set learning_rate={run.config.train.learning_rate * SMALLER ** (run.setbacks + 1):.1g}"
    )


def record(run: Run, split: str, values: dict[str, Any]) -> None:
    """Append one line to the metrics."""
    beta = run.objective.beta(run.plan.t)
    record = {
        "step": run.step,
        "split": split,
        **values,
        "beta": beta,
        "beta_normalised": normalised_beta(beta, run.vae.latents, run.config.shape),
        "learning_rate": learning_rate(run),
        "images": run.step * run.batch,
        "seconds": round(run.seconds, 3),
    }
    run.records.append(record)
    if run.out:
        with (run.out / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
    run.trackers.numbers(record)


def summary(run: Run) -> str:
    """How the run does, in a few words."""
    if not run.validated:
        return f"β {run.objective.beta(run.plan.t):.3g}"
    v = run.validated
    return f"distortion {v['distortion']:.0f}, rate {v['rate']:.1f}, active {v['active_units']:.0f}/{run.vae.latents}"
