"""Logs that people use beside metrics.jsonl: TensorBoard, MLflow, Weights & Biases, CSV.

A `Tracker` is three functions. None of them can stop a run: a tracker that fails is left out from then on, with one
warning. Nothing leaves the machine unless its owner says so: Weights & Biases runs offline unless WANDB_MODE is set,
MLflow writes to a file beside the run unless MLFLOW_TRACKING_URI is set.
"""

from __future__ import annotations

import csv
import importlib
import importlib.util
import json
import logging
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from betabloom.errors import UsageError
from betabloom.imaging.output import on_white
from betabloom.system.atomic import write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from PIL import Image

__all__ = ["TRACKERS", "Tracker", "Trackers", "check_trackers", "open_trackers"]

log = logging.getLogger(__name__)

Record = dict[str, Any]


@dataclass(frozen=True)
class Tracker:
    """Where a run is logged.

    Attributes:
        numbers: Called with every new line of metrics.jsonl.
        picture: Called as picture(step, name, image).
        close: Called at the end.
    """

    numbers: Callable[[Record], None]
    picture: Callable[[int, str, Image.Image], None]
    close: Callable[[], None]


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of a line of metrics.jsonl, named "train/rate" and so on."""
    return {
        f"{record['split']}/{key}": float(value)
        for key, value in record.items()
        if key != "step" and isinstance(value, (int, float)) and math.isfinite(value)
    }


def _csv(out: Path, settings: Mapping[str, Any], past: Sequence[Record]) -> Tracker:
    """RUN/metrics.csv, a row for every line of metrics.jsonl; a resumed run writes it anew."""
    columns = (
        "step", "split", "loss", "distortion", "rate", "beta", "active_units", "spread", "learning_rate",
        "gradient_norm", "images", "seconds",
    )  # fmt: skip
    file = (out / "metrics.csv").open("w", encoding="utf-8", newline="")
    writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(past)

    def numbers(record: Record) -> None:
        writer.writerow(record)
        file.flush()

    return Tracker(numbers, lambda step, name, image: None, file.close)


def _tensorboard(out: Path, settings: Mapping[str, Any], past: Sequence[Record]) -> Tracker:
    """RUN/tensorboard; what was written after the checkpoint that a run is resumed from is hidden."""
    import numpy as np

    SummaryWriter = importlib.import_module("torch.utils.tensorboard").SummaryWriter  # noqa: N806  (its types are not)
    writer = SummaryWriter(str(out / "tensorboard"), purge_step=past[-1]["step"] + 1 if past else None)
    writer.add_text("settings", f"```\n{json.dumps(settings, indent=2)}\n```")

    def numbers(record: Record) -> None:
        for name, value in scalars(record).items():
            writer.add_scalar(name, value, record["step"])

    def picture(step: int, name: str, image: Image.Image) -> None:
        writer.add_image(name, np.asarray(on_white(image)), step, dataformats="HWC")

    return Tracker(numbers, picture, writer.close)


def _mlflow(out: Path, settings: Mapping[str, Any], past: Sequence[Record]) -> Tracker:
    """The server that MLFLOW_TRACKING_URI names, or else the file mlflow.db beside the run."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # of 7, with minutes of waiting
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    here = out.resolve().parent
    server = os.environ.get("MLFLOW_TRACKING_URI")
    client = MlflowClient(server or f"sqlite:///{here / 'mlflow.db'}")
    local = None if server else (here / "mlartifacts").as_uri()
    known = client.get_experiment_by_name("betabloom")
    experiment = known.experiment_id if known else client.create_experiment("betabloom", artifact_location=local)
    run = _remembered(out, "mlflow") if past else None
    if run is None:
        run = client.create_run(experiment, run_name=out.name).info.run_id
        _remember(out, "mlflow", run)
        client.log_batch(run, params=[Param(name, str(value)) for name, value in settings.items()])

    def numbers(record: Record) -> None:
        moment = round(1000 * record["seconds"])
        metrics = [Metric(name, value, moment, record["step"]) for name, value in scalars(record).items()]
        client.log_batch(run, metrics=metrics)

    def picture(step: int, name: str, image: Image.Image) -> None:
        client.log_image(run, image, key=name, step=step, synchronous=True)

    return Tracker(numbers, picture, lambda: client.set_terminated(run))


def _wandb(out: Path, settings: Mapping[str, Any], past: Sequence[Record]) -> Tracker:
    """RUN/wandb, to be sent with `wandb sync`; or at once, if WANDB_MODE=online is set."""
    os.environ.setdefault("WANDB_MODE", "offline")
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # to its makers
    import wandb

    identity = _remembered(out, "wandb") if past else None
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "betabloom"), name=out.name, dir=str(out), config=dict(settings),
        id=identity, resume="allow" if identity else None, settings=wandb.Settings(console="off"),
    )  # fmt: skip
    _remember(out, "wandb", run.id)
    run.define_metric("*", step_metric="step")  # lines of both splits come at one step

    def picture(step: int, name: str, image: Image.Image) -> None:
        run.log({name: wandb.Image(image), "step": step})

    return Tracker(lambda record: run.log({**scalars(record), "step": record["step"]}), picture, run.finish)


TRACKERS: dict[str, Callable[[Path, Mapping[str, Any], Sequence[Record]], Tracker]] = {
    "csv": _csv,
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}


def check_trackers(names: str) -> list[str]:
    """The trackers in "tensorboard" or "csv,mlflow".

    Raises:
        UsageError: One is unknown, or what it needs is not installed.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in TRACKERS:
            raise UsageError(f"Unknown log {name!r}. Choose from: {', '.join(TRACKERS)}.")
        if name != "csv" and importlib.util.find_spec(name) is None:
            raise UsageError(f"--log {name} needs {name}. Type: pip install 'betabloom[{name}]'")
    return wanted


class Trackers:
    """All trackers of a run as one; one that fails is left out from then on."""

    def __init__(self, trackers: dict[str, Tracker]) -> None:
        self.trackers = trackers

    def numbers(self, record: Record) -> None:
        self._each("numbers", record)

    def picture(self, step: int, name: str, image: Image.Image) -> None:
        self._each("picture", step, name, image)

    def close(self) -> None:
        self._each("close")

    def _each(self, what: str, *arguments: Any) -> None:
        for name, tracker in list(self.trackers.items()):
            try:
                getattr(tracker, what)(*arguments)
            except Exception as error:
                _warn(name, error)
                del self.trackers[name]


def open_trackers(names: str, out: Path, settings: Mapping[str, Any], past: Sequence[Record]) -> Trackers:
    """Open the trackers in `names` for the run directory `out`; one that cannot be opened is left out.

    Arguments:
        names: As "csv,tensorboard"; "" for none.
        out: The run directory.
        settings: Name → value.
        past: The lines of metrics.jsonl so far: not empty for a run that is resumed.
    """
    opened = {}
    for name in check_trackers(names):
        try:
            opened[name] = TRACKERS[name](out, settings, past)
        except Exception as error:
            _warn(name, error)
    return Trackers(opened)


def _warn(name: str, error: Exception) -> None:
    reason = (str(error).splitlines() or [""])[0][:200]
    log.warning(
        "Logging to %s failed and has stopped (%s: %s); metrics.jsonl is still written",
        name,
        type(error).__name__,
        reason,
    )


def _remembered(out: Path, name: str) -> str | None:
    """The identity that a tracker gave this run before it was interrupted."""
    try:
        value = json.loads((out / "trackers.json").read_text(encoding="utf-8"))[name]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(value)


def _remember(out: Path, name: str, identity: str) -> None:
    others = {other: _remembered(out, other) for other in TRACKERS}
    known = {other: value for other, value in others.items() if value} | {name: identity}
    write_json(out / "trackers.json", known, synced=False)
