"""A run on disk: saved so that a resumed run equals an uninterrupted one, and resumed, also for more steps."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import yaml

from betabloom.config import FORMER_NAMES as FORMER_SETTINGS
from betabloom.errors import FormatError, UsageError
from betabloom.system.atomic import sync, write_text
from betabloom.training.checkpoints import latest_checkpoint, resume_command, save_checkpoint
from betabloom.training.optimiser import memory, moments, restore_optimiser
from betabloom.training.plan import Plan
from betabloom.training.run_folder import rewind_metrics, rewind_samples, run_config
from betabloom.training.setup import planned_steps

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from betabloom.config import Config
    from betabloom.training.state import Run, Task

__all__ = ["changed_config", "restore", "save", "write_config"]

log = logging.getLogger(__name__)

# In checkpoints that were written before the names changed.
FORMER_NAMES = {"left_out": "skipped_steps", "setbacks": "rollbacks", "parts": "micro_batches"}
LENGTHS = ("steps", "epochs", "budget")
CHANGEABLE = {*LENGTHS, "source"}  # settings that may be others when a run goes on


def changed_config(out: Path, changes: Mapping[str, Any]) -> Config:
    """Read the settings of a run that is to go on, with a new length or with its pictures somewhere else.

    Arguments:
        out: The run directory.
        changes: New values of `steps`, `epochs` or `budget`, all of which count from the beginning of the run, and of
            `source`. One length takes the place of another.

    Raises:
        UsageError: There is no run, or other settings are to be changed.
    """
    config = run_config(out)
    if others := changes.keys() - CHANGEABLE:
        raise UsageError(
            f"A resumed run keeps its settings: {', '.join(sorted(others))} cannot be changed, only its length "
            f"(--steps, --epochs, --budget) and where its pictures are (--source). Type: {resume_command(out)}"
        )
    lengths = dict.fromkeys(LENGTHS, 0) if changes.keys() & {*LENGTHS} else {}
    return config.replace(lengths | dict(changes))


def save(run: Run) -> None:
    """Write a checkpoint, from which a resumed run equals an uninterrupted one; all processes of a group call this."""
    task, state = run.task, run.state
    tensors = state.weights()
    tensors |= {f"optimiser.{name}": value for name, value in moments(state.optimiser).items()}
    numbers = {**state.numbers(), "config": task.config.to_dict(), "store": task.store.fingerprint, **_shared(run)}
    if not task.out:
        return  # process 0 writes
    sync(task.out / "metrics.jsonl")
    save_checkpoint(task.out / "checkpoints", state.step, tensors, numbers)


def _shared(run: Run) -> dict[str, Any]:
    """What a checkpoint holds of several processes: how many they are, and where the stream of each is."""
    if not (group := run.task.group):
        return {}
    positions = group.collect(run.state.feed.position) if run.state.feed else []
    lanes = {lane: position for each in positions for lane, position in each["lanes"].items()}
    return {"processes": group.world, **({"stream": {**positions[0], "lanes": lanes}} if positions else {})}


def restore(run: Run) -> None:
    """Continue from the newest intact checkpoint.

    Raises:
        UsageError: There is no run, or the checkpoint belongs to other pictures or settings.
        FormatError: It is damaged.
    """
    task, state = run.task, run.state
    assert task.out is not None  # noqa: S101
    optional = {f"optimiser.{name}": value for name, value in memory(state.optimiser).items()}
    expected = state.weights() | optional
    found = latest_checkpoint(task.out / "checkpoints", expected, optional, lambda numbers: _check_same(task, numbers))
    if found is None and (task.out / "config.yaml").exists():
        log.warning("%s was stopped before its first checkpoint: it starts from the beginning", task.out)
        return
    if found is None:
        raise UsageError(f"There is no run in {task.out} to go on with, no checkpoint and no config.yaml.")
    tensors, numbers, complaints = found
    for complaint in complaints:
        log.warning(complaint)
    numbers |= {new: numbers[old] for old, new in FORMER_NAMES.items() if old in numbers}
    try:
        lines = int(numbers["records"])
        for name, value in state.weights().items():
            value.copy_(tensors[name])
        restore_optimiser(state.optimiser, _part(tensors, "optimiser."))
        state.set_numbers(numbers)
        _restore_feed(run, numbers)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise FormatError(f"The checkpoint in {task.out} does not fit its settings: {error}") from error
    _say_processes(run, int(numbers.get("processes", 1)))
    state.records = rewind_metrics(task.out / "metrics.jsonl", lines)
    rewind_samples(task.out / "samples", state.step)
    _extend(run)


def _say_processes(run: Run, before: int) -> None:
    now = run.task.group.world if run.task.group else 1
    if now != before:
        log.info("the run was trained by %d processes and goes on with %d: the batches are the same", before, now)


def _restore_feed(run: Run, numbers: Mapping[str, Any]) -> None:
    """Have a stream go on where it was; older checkpoints do not say where, so that all before is read again."""
    if not (feed := run.state.feed):
        return
    if run.task.group:
        run.tools.stream = numbers["stream"]  # of all processes, which go there together
        return
    if "stream" in numbers:
        feed.go_to(numbers["stream"])
        return
    for _ in range(run.state.step):
        next(feed)


def _extend(run: Run) -> None:
    """Give a run that goes on the length that its settings have now, if it is another than it had.

    Raises:
        UsageError: It has been trained for so long already.
    """
    state, steps, budget = run.state, planned_steps(run.task), run.task.budget
    if (state.plan.steps, state.plan.budget) == (steps, budget):
        return
    plan = Plan(steps, budget, state.plan.reserve, begun=state.plan.begun)
    plan.advance(state.step, state.seconds)
    if plan.t >= 1:
        spent = f"{state.step:,} steps in {state.seconds:,.0f} s"
        raise UsageError(
            f"The run in {run.task.out} has taken {spent} already. The new length counts from its beginning, so it "
            f"must be longer, for example --steps {2 * state.step}"
        )
    plan.first = (0, 0.0)
    state.plan = plan
    write_config(run.task)
    log.info("continuing the run for longer, from step %d", state.step)


def write_config(task: Task) -> None:
    """Write the settings into the run directory."""
    assert task.out is not None  # noqa: S101
    text = yaml.safe_dump(task.config.to_dict(), sort_keys=False, allow_unicode=True)
    write_text(task.out / "config.yaml", text)


def _check_same(task: Task, numbers: Mapping[str, Any]) -> None:
    """Refuse pictures and settings that somebody changed meanwhile: the checkpoint belongs to others."""
    if numbers.get("store") != task.store.fingerprint:
        raise UsageError(f"The pictures are not those that the run in {task.out} was trained on: start a new run.")
    now = task.config.to_dict()
    for section, entries in numbers.get("config", {}).items():
        for former, value in entries.items():
            name = FORMER_SETTINGS.get(former, former)
            if name not in CHANGEABLE and now.get(section, {}).get(name, value) != value:
                raise UsageError(
                    f"The setting {name} was {value} when the run in {task.out} was stopped, and is "
                    f"{now[section][name]} in its config.yaml. Put it back, or start a new run."
                )


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
