"""A run in three parts: the task, which is fixed; the state, which checkpoints hold; the tools that work on it."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from betabloom.errors import BetabloomError
from betabloom.system.console import times
from betabloom.training.learning_rate import SMALLER, scheduled
from betabloom.training.plan import Plan
from betabloom.training.trackers import Trackers
from betabloom.vae.objective import Objective, normalised_beta

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    from torch import Tensor

    from betabloom.config import Config
    from betabloom.data import Store, Streamed
    from betabloom.data.store.lanes import LanedBatches
    from betabloom.data.store.passes import StreamBatches
    from betabloom.training.group import Group
    from betabloom.training.optimiser import Muon
    from betabloom.training.threads import ThreadTeam
    from betabloom.vae.vae import VAE

__all__ = [
    "Executor",
    "Run",
    "State",
    "Sums",
    "Task",
    "Tools",
    "check_finite",
    "fail",
    "learning_rate",
    "record",
    "summary",
]

log = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class Task:
    """What is to be learned, from what and where: nothing of it changes while a model trains.

    Attributes:
        config: The settings.
        store: The prepared pictures; of a stream, its first ones.
        stream: Where the pictures come from without a store; None where they are in `pictures`.
        train_rows: Rows of the store to learn from.
        validation_rows: Rows of the store that are held out.
        pictures: What batches are made from: a tensor of those of `train_rows` alone, or the array of all.
        device: Where the model computes.
        dtype: In which precision.
        objective: What is minimised.
        out: The run directory; None keeps everything in memory.
        share: Part of the steps or of the time of the settings that this training takes: the rest is for other stages.
        result: Where the model and its curves go, if not to the run directory.
        group: The processes that train together; None for one.
    """

    config: Config
    store: Store
    stream: Streamed | None
    train_rows: np.ndarray
    validation_rows: np.ndarray
    pictures: Tensor | np.ndarray | None
    device: torch.device
    dtype: torch.dtype
    objective: Objective
    out: Path | None
    share: float = 1.0
    result: Path | None = None
    group: Group | None = None

    def changed(self, settings: Mapping[str, Any]) -> Task:
        """The same task with other settings of the network or of a step; pictures and objective are shared."""
        return replace(self, config=self.config.replace(settings))

    @property
    def budget(self) -> float:
        """Seconds that the training may take; 0 for none."""
        return self.share * self.config.train.budget

    @property
    def batch(self) -> int:
        """Pictures in a step, of all processes: the setting, or all there are if they are fewer."""
        return self.config.train.batch if self.stream else min(self.config.train.batch, len(self.train_rows))


@dataclass
class State:
    """All that changes while a model trains, and nothing else: with it a run goes on as if it had not stopped.

    Attributes:
        vae: The model.
        averaged: The running average of its weights; `vae` itself where the settings ask for none.
        optimiser: With what it remembers of every weight.
        plan: How far along the run is.
        sums: Sums of the terms since the last line of the log.
        feed: Batches of a stream, if the pictures come from one.
        step: Steps that are done.
        seconds: Seconds that are spent.
        micro_batches: Parts in which a batch is worked through, where memory does not hold it at once.
        rollbacks: How often the loss was not a finite number.
        validated: Results of the last validation.
        records: The lines of the log.
    """

    vae: VAE
    averaged: VAE
    optimiser: Muon
    plan: Plan
    sums: Sums
    feed: StreamBatches | LanedBatches | None = None
    step: int = 0
    seconds: float = 0.0
    micro_batches: int = 1
    rollbacks: int = 0
    validated: dict[str, float] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Whether the planned steps are done."""
        return self.plan.t >= 1

    def weights(self) -> dict[str, Tensor]:
        """The tensors that every checkpoint has: weights, their average where there is one, and sums."""
        weights = {f"vae.{name}": value for name, value in self.vae.state_dict().items()}
        if self.averaged is not self.vae:
            weights |= {f"averaged.{name}": value for name, value in self.averaged.state_dict().items()}
        return weights | {"sums": self.sums.values}

    def numbers(self) -> dict[str, Any]:
        """All that is not a tensor, as values for JSON."""
        return {
            **{name: getattr(self, name) for name in NUMBERS},
            "plan": vars(self.plan),
            "summed": self.sums.count,
            "skipped_steps": self.sums.skipped_steps.item(),
            "records": len(self.records),
            **({"stream": self.feed.position} if self.feed else {}),
        }

    def set_numbers(self, numbers: Mapping[str, Any]) -> None:
        """Put back what `numbers` returned, but for the records."""
        for name in NUMBERS:
            setattr(self, name, type(getattr(self, name))(numbers.get(name, getattr(self, name))))
        self.plan = Plan(**{**numbers["plan"], "first": (0, 0.0)})  # the pace is that of now
        self.sums.count = int(numbers["summed"])
        self.sums.skipped_steps.fill_(float(numbers.get("skipped_steps", 0)))


NUMBERS = ("step", "seconds", "micro_batches", "rollbacks", "validated")


@dataclass
class Tools:
    """What works on the state, made for this machine and made anew when a run is resumed.

    Attributes:
        gradients: What works through a batch; see `betabloom.training.step.gradients`.
        team: Threads that share the work of a step, where there are any.
        graphed_step: What takes the steps on a GPU.
        trackers: Where the run is logged beside its own folder.
        reported: Illnesses that the log has named.
        watch: Called after each validation.
        rehearsed: Seconds that what comes after the last step will take, once they are measured.
        kept: Whether the run has a directory, which process 0 writes.
        stream: Where a stream of several processes goes on, from a checkpoint.
    """

    gradients: Executor
    team: ThreadTeam | None = None
    graphed_step: Callable[[Tensor, Tensor], tuple[Tensor, ...]] | None = None
    trackers: Trackers = field(default_factory=lambda: Trackers({}))
    reported: set[str] = field(default_factory=set)
    rehearsed: float | None = None
    watch: Callable[[Run], None] | None = None
    kept: bool = False
    stream: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Run:
    """A task, its state, and the tools that work on it."""

    task: Task
    state: State
    tools: Tools


if TYPE_CHECKING:
    Executor = Callable[[Run, Tensor, Tensor], tuple[Tensor, ...]]
    """(run, x, noise) → loss, distortion, rate and, if there is one, floor; gradients are added to the weights'."""


def learning_rate(run: Run) -> float:
    """The learning rate of the next step: see `betabloom.training.learning_rate`."""
    return scheduled(run.task.config.train, run.state.plan.t, run.state.step, run.state.rollbacks)


def check_finite(run: Run, values: Mapping[str, float]) -> None:
    """Raise `BetabloomError` with advice if a term of the loss is not a finite number."""
    if not all(math.isfinite(value) for value in values.values()):
        fail(run)


def fail(run: Run) -> NoReturn:
    """Raise `BetabloomError`: the loss is not a finite number, and nothing helped."""
    task, state = run.task, run.state
    saved = task.out / "checkpoints" if task.out else None
    hint = f"a checkpoint from before is in {saved}; " if saved and saved.exists() else ""
    tried = f", and smaller steps did not help ({times(state.rollbacks)})" if state.rollbacks else ""
    raise BetabloomError(
        f"The loss is no longer a finite number at step {state.step}{tried}: {hint}train again with a smaller step: "
        f"--set learning_rate={task.config.train.learning_rate * SMALLER ** (state.rollbacks + 1):.1g}"
    )


def record(run: Run, split: str, values: dict[str, Any]) -> None:
    """Append one line to the metrics."""
    task, state = run.task, run.state
    beta = task.objective.beta(state.plan.t)
    record = {
        "step": state.step,
        "split": split,
        **values,
        "beta": beta,
        "beta_normalised": normalised_beta(beta, state.vae.latents, task.config.shape),
        "learning_rate": learning_rate(run),
        "images": state.step * task.batch,
        "seconds": round(state.seconds, 3),
    }
    state.records.append(record)
    if task.out:
        with (task.out / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
    run.tools.trackers.numbers(record)


def summary(run: Run) -> str:
    """How the run is doing, in a few words."""
    v, latents = run.state.validated, run.state.vae.latents
    if not v:
        return f"β {run.task.objective.beta(run.state.plan.t):.3g}"
    return f"distortion {v['distortion']:.0f}, rate {v['rate']:.1f}, active {v['active_units']:.0f}/{latents}"
