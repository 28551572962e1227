"""The training loop: set up, train, validate, save, finish.

Every random number of a run is a function of the seed and of where the run stands (the epoch for the order of the
pictures, the step for noise and mirroring), so that a run that is resumed at any step goes on as if it had not stopped.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from typing import TYPE_CHECKING, Any

from betabloom.config import Config
from betabloom.errors import UsageError
from betabloom.system.atomic import write_text
from betabloom.system.signals import Interrupted, Stop, stop_requests
from betabloom.training.budget import choose, counted, reserve
from betabloom.training.checkpoints import resume_command
from betabloom.training.checkup import checkup
from betabloom.training.distributed import share_state
from betabloom.training.finish import finish, finished_model, unfinished_model
from betabloom.training.group import present_group
from betabloom.training.recovery import average_anew, recover
from betabloom.training.resume import restore, save, write_config
from betabloom.training.run_folder import claimed, rewind_samples, why_stopped
from betabloom.training.run_log import describe, log_file, tracked
from betabloom.training.setup import make_task, set_up, with_picture_size
from betabloom.training.state import Run, check_finite, fail, record, summary
from betabloom.training.step import train_step
from betabloom.training.validate import validate
from betabloom.training.warm_start import warm_start, with_initial_model
from betabloom.vae.build import channels_last

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from betabloom.data import Store, Streamed
    from betabloom.model.model import Model
    from betabloom.system.console import Progress
    from betabloom.system.signals import StopRequest
    from betabloom.training.state import Task

__all__ = ["CHECKPOINT_EVERY", "Interrupted", "train", "train_part"]

log = logging.getLogger(__name__)

LOG_EVERY = 50  # steps between lines of metrics.jsonl
CHECKPOINT_EVERY = 120.0  # seconds
LAST = math.nextafter(1.0, 0.0)  # progress just before the end, which is always validated
LATEST_RESERVE = 0.5  # progress at which a time budget has to know what comes after the last step


def train(
    pictures: Store | Streamed,
    config: Config | None = None,
    out: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    spent: float = 0.0,
    stop: StopRequest | None = None,
) -> Model:
    """Train a VAE on prepared pictures. The caller's random numbers stay as they are.

    Arguments:
        pictures: What to learn from. Their size, channels and pipeline take precedence over the settings.
        config: The settings; the default preset's if None.
        out: Run directory for metrics, samples, checkpoints and the model, made when all is ready; None keeps
            everything in memory.
        resume: Go on from the newest intact checkpoint in `out`.
        progress: Called as progress(step, steps, text); steps is 0 while their number is not known.
        spent: Seconds of a time budget that are gone already: the pictures were prepared in them.
        stop: A `threading.Event`, or a function that returns True: asks for a stop after the step that is being taken.

    Returns:
        The trained model, with averaged weights, in evaluation mode.

    Raises:
        UsageError: The settings do not fit the pictures, or there is nothing to resume.
        Interrupted: The training was asked to stop; if there is `out`, the run is saved and can be resumed.
        BetabloomError: The loss is no longer finite, or `out` can no longer be written.
    """
    config = config or Config.preset()
    spent = counted(config.train.budget, spent)
    started, again = time.monotonic() - spent, resume
    if (group := present_group()) and group.rank:  # process 0 writes, and reads checkpoints
        out, resume = None, False
    if resume and not out:
        raise UsageError("Name the folder of the run to go on with: train(pictures, config, out, resume=True)")
    config = config if resume else with_initial_model(with_picture_size(pictures, config))
    run = _chosen(make_task(pictures, config, out), spent, again)
    if not out:
        _begin(run)
        with stop_requests(stop) if group else contextlib.nullcontext(Stop(stop)) as asked:
            return _go(run, started, asked, progress)
    try:
        with claimed(out, resume), stop_requests(stop) as asked:
            if resume:
                with log_file(out):
                    restore(run)
            if not run.state.step:
                _begin(run)
            with log_file(out):
                return _go(run, started - run.state.seconds, asked, progress)
    except OSError as error:
        raise why_stopped(out, run.state.step, error) from error


def train_part(
    task: Task,
    spent: float,
    resume: bool,
    stop: Stop,
    progress: Progress | None = None,
    watch: Callable[[Run], None] | None = None,
) -> Model:
    """Train as one stage of a run whose directory the caller holds (`claimed`) and whose log it writes.

    Arguments:
        task: With the directory, `task.share` of the time, and `task.result` for the model.
        spent: Seconds of the time budget that are gone.
        resume: Go on from the newest intact checkpoint.
        stop: Asks for a stop after the step that is being taken.
        progress: Called as progress(step, steps, text).
        watch: Called after each validation.

    Raises:
        Interrupted: It was asked to stop; the run is saved.
    """
    started = time.monotonic() - spent
    run = _chosen(task, spent, resume)
    if resume:
        restore(run)
    if not run.state.step:
        _begin(run)
    run.tools.watch = watch
    return _go(run, started - run.state.seconds, stop, progress)


def _chosen(task: Task, spent: float, resume: bool) -> Run:
    """The run of a task, with what a time budget chooses by how fast this machine is."""
    if task.budget and not (resume and task.config.train.batch):
        task = choose(task, task.budget - spent)
    return set_up(task)


def _begin(run: Run) -> None:
    """Take the weights to start from, and start the run directory, settings first: what has them can be resumed."""
    if run.task.config.train.init_from:
        for vae in {run.state.vae, run.state.averaged}:
            warm_start(vae, run.task.config)
    if out := run.task.out:
        write_config(run.task)
        write_text(out / "metrics.jsonl", "")
        rewind_samples(out / "samples", 0)


def _go(run: Run, started: float, stop: Stop, progress: Progress | None) -> Model:
    """Train to the end of the plan, then make the model."""
    out, state, group = run.task.out, run.state, run.task.group
    describe(run.task)
    if group:
        share_state(group, run)
    result = run.task.result or out
    if state.ended and out and result and (made := finished_model(run, result)):
        log.info("%s is finished: all its steps were taken, up to step %d", out, state.step)
        return made
    checkup(run)
    with tracked(run):
        try:
            _loop(run, started, stop, progress)
        finally:
            run.tools.graphed_step = None  # and the memory that it holds
            state.optimiser.let_go()
        saved = "Stopped after the last step, which is saved. To make the model, type: {}"
        with stop.leaving_at_once(saved.format(resume_command(out)) if out else ""):
            if group and group.rank:
                return unfinished_model(run)
            log.info("all steps are done; the model is being written")
            return finish(run, channels_last(state.averaged.requires_grad_(False).eval()), result)


def _loop(run: Run, started: float, stop: Stop, progress: Progress | None) -> None:
    """Train until the plan is done, logging, validating and saving on the way."""
    out, state, saved, validated = run.task.out, run.state, time.monotonic(), 0.0
    if not state.step:
        state.plan.begun = _elapsed(run, started)
    while not state.ended:
        before = max(state.plan.t, min(validated, LAST))  # the time of a validation is no reason for the next one
        train_step(run)
        state.step += 1
        state.seconds, asked, late = _agreed(run, time.monotonic(), started, saved, stop.asked)
        state.plan.advance(state.step, state.seconds)
        recover(run)
        if state.step == 1 or state.step % LOG_EVERY == 0 or state.ended:
            _log_train(run)
        if _is_due(run, before):
            _validate(run)
            validated = state.plan.progress(state.step, _elapsed(run, started))
        if run.tools.kept and (asked or state.ended or late):
            save(run)
            saved = time.monotonic()
        if progress:
            progress(state.step, state.plan.expected_steps(state.step), summary(run))
        if asked and not state.ended:
            saying = f"and saved. To go on, type: {resume_command(out)}" if out else "without a folder to save it in."
            raise Interrupted(f"Stopped at step {state.step} {saying}")


def _elapsed(run: Run, started: float) -> float:
    """Seconds since the start, the same for all processes, which all call this."""
    return _agreed(run, time.monotonic(), started, math.inf, asked=False)[0]


def _agreed(run: Run, now: float, started: float, saved: float, asked: bool) -> tuple[float, bool, bool]:
    """Seconds since the start, whether anybody asked for a stop, and whether a checkpoint is due: the same for all.

    There is one clock, that of process 0; a stop that is asked of any process stops all of them after the same step.
    """
    facts = now - started, asked, now - saved > CHECKPOINT_EVERY
    if not (group := run.task.group):
        return facts
    clock = (facts[0], float(facts[2])) if group.rank == 0 else (0.0, 0.0)
    seconds, late, requests = group.summed([*clock, float(asked or group.is_orphan)])
    return seconds, requests > 0, late > 0


def _is_due(run: Run, before: float) -> bool:
    """Whether to validate now that progress has come from `before` to where it is."""
    plan, times = run.state.plan, run.task.config.train.validations
    late = plan.budget > 0 and plan.t > LATEST_RESERVE and run.tools.rehearsed is None
    return late or int(plan.t * times) > int(before * times)


def _log_train(run: Run) -> None:
    """Write the means since the last line, if they are finite; the first line is of the untrained network."""
    if not run.state.sums.count:
        return
    means = run.state.sums.means()
    run.state.sums.clear()
    check_finite(run, means)
    record(run, "train", means)
    checkup(run)


def _validate(run: Run) -> None:
    """Validate, and learn from it how much of a time budget to keep for what comes after the last step."""
    begun, group = time.monotonic(), run.task.group
    decide = group.decide if group else _here
    if not decide(lambda: validate(run)):
        average_anew(run)
        if not decide(lambda: validate(run)) and run.state.ended:
            fail(run)
    checkup(run)
    if run.tools.watch:
        run.tools.watch(run)
    if run.state.plan.budget and not run.state.ended:
        reserved = decide(lambda: (reserve(run, time.monotonic() - begun), run.tools.rehearsed))
        run.state.plan.reserve, run.tools.rehearsed = reserved


def _here(work: Callable[[], Any]) -> Any:
    return work()
