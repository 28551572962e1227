"""A run: all that changes while a model trains, and what it changes with. How it is set up, and what it tells."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from betabloom.errors import BetabloomError
from betabloom.system.console import times
from betabloom.training.trackers import Trackers
from betabloom.vae.objective import Objective, normalised_beta

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from torch import Tensor

    from betabloom.config import Config
    from betabloom.data import Store
    from betabloom.training.optimiser import Muon
    from betabloom.training.plan import Plan
    from betabloom.training.threads import ThreadTeam
    from betabloom.vae.vae import VAE

__all__ = ["Run", "Sums", "check_finite", "fail", "learning_rate", "record", "summary"]

log = logging.getLogger(__name__)

SMALLER = 1 / 3  # factor on the learning rate for every time that the loss was not a finite number


class Sums:
    """Running sums of the terms since the last line of the log, kept on the device so that steps need not wait."""

    names = ("loss", "distortion", "rate", "gradient_norm", "distortion_floor")

    def __init__(self, device: torch.device) -> None:
        self.values = torch.zeros(len(self.names), device=device)
        self.skipped_steps = torch.zeros((), device=device)  # steps that were not taken
        self.count = 0

    def clear(self) -> None:
        """Start again at nothing."""
        self.values.zero_()
        self.count = 0

    def add(self, good: Tensor, *values: Tensor) -> None:
        """Add the values of a step, unless it was not `good` and left out."""
        self.values[: len(values)] += torch.where(good, torch.stack(values).detach(), 0.0)
        self.skipped_steps += ~good
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
    team: ThreadTeam | None = None  # who works through a batch side by side
    graphed_step: Callable[[Tensor, Tensor], tuple[Tensor, ...]] | None = None  # what takes the steps, on a GPU
    step: int = 0
    micro_batches: int = 1  # in which a batch is worked through, where memory does not hold it at once
    seconds: float = 0.0
    rollbacks: int = 0  # how often the loss was not a finite number
    reported: set[str] = field(default_factory=set)  # illnesses that were reported
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


def learning_rate(run: Run) -> float:
    """Linear warm-up, then constant, then half a cosine to 0; a third of it for every rollback."""
    config, t = run.config.train, run.plan.t
    peak = config.learning_rate * SMALLER**run.rollbacks
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
    tried = f", and smaller steps did not help ({times(run.rollbacks)})" if run.rollbacks else ""
    raise BetabloomError(
        f"The loss is no longer a finite number at step {run.step}{tried}: {hint}train again with a smaller step: "
        f"--set learning_rate={run.config.train.learning_rate * SMALLER ** (run.rollbacks + 1):.1g}"
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
