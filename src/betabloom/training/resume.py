"""A run on the disk: saved so that a resumed run is the uninterrupted one."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Any

import torch

from betabloom.errors import FormatError, UsageError
from betabloom.system.atomic import sync
from betabloom.training.optimiser import memory
from betabloom.training.plan import Plan
from betabloom.training.run_folder import latest_checkpoint, rewind_metrics, rewind_samples, save_checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from betabloom.training.state import Run

__all__ = ["restore", "save"]

log = logging.getLogger(__name__)

# In checkpoints that were written before the names changed.
FORMER_NAMES = {"left_out": "skipped_steps", "setbacks": "rollbacks", "parts": "micro_batches"}


def save(run: Run) -> None:
    """Write a checkpoint: all that a resumed run needs to be the uninterrupted one."""
    assert run.out is not None  # noqa: S101  (for the type checker; callers checked)
    tensors = _weights(run) | {"sums": run.sums.values}
    for index, moments in run.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": value for name, value in moments.items()}
    state = {
        "summed": run.sums.count,
        "skipped_steps": run.sums.skipped_steps.item(),
        "rollbacks": run.rollbacks,
        "plan": vars(run.plan),
        "micro_batches": run.micro_batches,
        "seconds": run.seconds,
        "validated": run.validated,
        "config": run.config.to_dict(),
        "store": run.store.fingerprint,
        "records": len(run.records),
    }
    sync(run.out / "metrics.jsonl")
    save_checkpoint(run.out / "checkpoints", run.step, tensors, state)


def _weights(run: Run) -> dict[str, Tensor]:
    """The weights, and their average where there is one."""
    weights = {f"vae.{name}": value for name, value in run.vae.state_dict().items()}
    if run.config.train.ema:
        weights |= {f"averaged.{name}": value for name, value in run.averaged.state_dict().items()}
    return weights


def restore(run: Run) -> None:
    """Take up the newest intact checkpoint."""
    assert run.out is not None  # noqa: S101
    moments = {f"optimiser.{name}": value for name, value in memory(run.optimiser).items()}
    expected = _weights(run) | moments | {"sums": run.sums.values}
    found = latest_checkpoint(run.out / "checkpoints", expected, moments, lambda state: _check_same(run, state))
    if found is None and (run.out / "config.yaml").exists():
        log.warning("%s was stopped before its first checkpoint: it starts from the beginning", run.out)
        return
    if found is None:
        raise UsageError(f"There is no run in {run.out} to go on with, no checkpoint and no config.yaml.")
    tensors, state, complaints = found
    for complaint in complaints:
        log.warning(complaint)
    try:
        state = {**state, **{new: state[old] for old, new in FORMER_NAMES.items() if old in state}}
        lines = int(state["records"])
        run.vae.load_state_dict(_part(tensors, "vae."))
        if run.config.train.ema:
            run.averaged.load_state_dict(_part(tensors, "averaged."))
        _restore_optimiser(run, _part(tensors, "optimiser."))
        run.sums.values.copy_(tensors["sums"])
        run.sums.count, run.micro_batches = int(state["summed"]), int(state["micro_batches"])
        run.sums.skipped_steps.fill_(float(state.get("skipped_steps", 0)))
        run.rollbacks = int(state.get("rollbacks", 0))
        plan = Plan(**{**state["plan"], "first": (0, 0.0)})  # the pace is that of now
        run.plan, run.step, run.seconds = plan, int(state["step"]), float(state["seconds"])
        run.validated = dict(state["validated"])
        if run.feed:
            next(itertools.islice(run.feed, run.step, run.step), None)  # go past what has been learned from
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise FormatError(f"The checkpoint in {run.out} does not fit its settings: {error}") from error
    run.records = rewind_metrics(run.out / "metrics.jsonl", lines)
    rewind_samples(run.out / "samples", run.step)


def _check_same(run: Run, state: Mapping[str, Any]) -> None:
    """Refuse pictures and settings that somebody changed meanwhile: the checkpoint belongs to others."""
    if state.get("store") != run.store.fingerprint:
        raise UsageError(f"The pictures are not those that the run in {run.out} was trained on: start a new run.")
    now = run.config.to_dict()
    for section, entries in state.get("config", {}).items():
        for name, value in entries.items():
            if now.get(section, {}).get(name, value) != value:
                raise UsageError(
                    f"The setting {name} was {value} when the run in {run.out} was stopped, and is "
                    f"{now[section][name]} in its config.yaml. Put it back, or start a new run."
                )


def _restore_optimiser(run: Run, tensors: dict[str, Tensor]) -> None:
    """Put the optimiser's moments back, laid out in memory as their parameters are: fused kernels rely on it."""
    optimiser, fused = run.optimiser, run.optimiser.defaults["fused"]
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    for name, value in tensors.items():
        index, _, moment = name.partition(".")
        like = weights[int(index)]
        state = optimiser.state[like]
        if moment == "step":
            state[moment] = value.to(like.device if fused else "cpu", copy=True)  # or it would keep the file open
        else:
            held = state[moment] if moment in state else torch.empty_like(like, dtype=value.dtype)
            state[moment] = held.copy_(value)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
