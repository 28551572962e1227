"""The training loop: set up, fit, validate, save.

Every random number of a run is a function of the seed and of where the run stands (the epoch for the order of the
pictures, the step for noise and mirroring), so that a run that is resumed at any step goes on as if it had not stopped.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import yaml

from betabloom.config import Config
from betabloom.errors import UsageError
from betabloom.system.atomic import write_text
from betabloom.system.console import printable
from betabloom.system.hardware import precision_name
from betabloom.system.signals import Interrupted, Stop, stop_requests
from betabloom.training.budget import choose, counted, reserve
from betabloom.training.checkup import checkup
from betabloom.training.finish import finish, finished_model
from betabloom.training.recovery import average_anew, recover
from betabloom.training.resume import restore, save
from betabloom.training.run_folder import claimed, resume_command, rewind_samples, why_stopped
from betabloom.training.setup import set_up, with_picture_size
from betabloom.training.state import Run, check_finite, fail, record, summary
from betabloom.training.step import train_step
from betabloom.training.trackers import open_trackers
from betabloom.training.validate import validate
from betabloom.training.warm_start import warm_start, with_initial_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from betabloom.data import Store, Streamed
    from betabloom.model.model import Model

__all__ = ["Interrupted", "train"]

log = logging.getLogger(__name__)

LOG_EVERY = 50  # steps between lines of metrics.jsonl
CHECKPOINT_EVERY = 120.0  # seconds
LATEST_RESERVE = 0.5  # progress at which a time budget has to know what comes after the last step
SHOWN = 20  # pictures left out that are named on the screen


def train(
    pictures: Store | Streamed,
    config: Config | None = None,
    out: Path | None = None,
    resume: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
    spent: float = 0.0,
) -> Model:
    """Train a VAE on prepared pictures.

    Arguments:
        pictures: What to learn from. Their size, channels and pipeline take precedence over the settings.
        config: The settings; the default preset's if None.
        out: Run directory for metrics, samples, checkpoints and the model, made when all is ready; None keeps
            everything in memory.
        resume: Go on from the newest intact checkpoint in `out`.
        progress: Called as progress(step, steps, text); steps is 0 while their number is not known.
        spent: Seconds of a time budget that are gone already: the pictures were prepared in them.

    Returns:
        The trained model, with averaged weights, in evaluation mode.

    Raises:
        UsageError: The settings do not fit the pictures, or there is nothing to resume.
        Interrupted: The process was asked to stop; the run is saved and can be resumed.
        BetabloomError: The loss is no longer finite, or `out` can no longer be written.
    """
    config = config or Config.preset()
    spent = counted(config.train.budget, spent)
    started = time.monotonic() - spent
    if resume and not out:
        raise UsageError("Name the folder of the run to go on with: fit(pictures, config, out, resume=True)")
    config = config if resume else with_initial_model(with_picture_size(pictures, config))
    run = _set_up(pictures, config, out, config.train.budget - spent, resume)
    if not out:
        _begin(run)
        return _go(run, started, Stop(), progress)
    try:
        with claimed(out, resume), stop_requests() as stop:
            if resume:
                restore(run)
            if not run.step:
                _begin(run)
            with _run_log(out):
                return _go(run, started - run.seconds, stop, progress)
    except OSError as error:
        raise why_stopped(out, run.step, error) from error


def _set_up(pictures: Store | Streamed, config: Config, out: Path | None, left: float, resume: bool) -> Run:
    """Set up a run. With a time budget, what the settings leave open is chosen by how fast this machine is.

    A run that goes on has chosen already, and written it into its settings.
    """

    def made(config: Config) -> Run:
        return set_up(pictures, config, out)

    if config.train.budget and not (resume and config.train.batch):
        config = choose(config, made, train_step, left)
    return made(config)


def _go(run: Run, started: float, stop: Stop, progress: Callable[[int, int, str], None] | None) -> Model:
    """Train to the end of the plan, then make the model."""
    _describe(run)
    if run.ended and run.out and (made := finished_model(run, run.out)):
        log.info("%s is finished: it was trained to its end, step %d", run.out, run.step)
        return made
    checkup(run)
    with _tracked(run):
        try:
            _loop(run, started, stop, progress)
        finally:
            run.graphed_step = None  # and the memory that it holds
            run.optimiser.let_go()
        if run.out:
            command = resume_command(run.out)
            stop.leave_at_once(f"Stopped after the last step, which is saved. To make the model, type: {command}")
        return finish(run)


def _loop(run: Run, started: float, stop: Stop, progress: Callable[[int, int, str], None] | None) -> None:
    """Train until the plan is done, logging, validating and saving on the way."""
    saved = time.monotonic()
    while not run.ended:
        before = run.plan.t
        train_step(run)
        run.step += 1
        run.seconds = time.monotonic() - started
        run.plan.advance(run.step, run.seconds)
        recover(run)
        if run.step == 1 or run.step % LOG_EVERY == 0 or run.ended:
            _log_train(run)
        if _is_due(run, before):
            _validate(run)
        if run.out and (stop.asked or run.ended or time.monotonic() - saved > CHECKPOINT_EVERY):
            save(run)
            saved = time.monotonic()
        if progress:
            progress(run.step, run.plan.expected_steps(run.step), summary(run))
        if stop.asked and not run.ended:
            assert run.out is not None  # noqa: S101  (a run in memory has nobody who asks)
            raise Interrupted(f"Stopped at step {run.step} and saved. To go on, type: {resume_command(run.out)}")


def _is_due(run: Run, before: float) -> bool:
    """Whether to validate now that progress has come from `before` to where it is."""
    times = run.config.train.validations
    late = run.plan.budget > 0 and run.plan.t > LATEST_RESERVE and run.rehearsed is None
    return late or int(run.plan.t * times) > int(before * times)


def _validate(run: Run) -> None:
    """Validate, and learn from it how much of a time budget to keep for what comes after the last step."""
    begun = time.monotonic()
    if not validate(run):
        average_anew(run)
        if not validate(run) and run.ended:
            fail(run)
    checkup(run)
    if run.plan.budget and not run.ended:
        run.plan.reserve = reserve(run, time.monotonic() - begun)


def _log_train(run: Run) -> None:
    """Write the means since the last line, if they are finite; the first line is of the untrained network."""
    if not run.sums.count:
        return
    means = run.sums.means()
    run.sums.clear()
    check_finite(run, means)
    record(run, "train", means)
    checkup(run)


def _begin(run: Run) -> None:
    """Take the weights to start from, and start the run directory, settings first: what has them can be resumed."""
    if run.config.train.init_from:
        for vae in {run.vae, run.averaged}:
            warm_start(vae, run.config)
    if not (out := run.out):
        return
    write_text(out / "config.yaml", yaml.safe_dump(run.config.to_dict(), sort_keys=False, allow_unicode=True))
    write_text(out / "metrics.jsonl", "")
    rewind_samples(out / "samples", 0)


def _describe(run: Run) -> None:
    """Say what is going to happen."""
    skipped = run.store.skipped
    if skipped and run.out:
        lines = (f"{printable(entry['name'], 1000)}\t{entry['reason']}\n" for entry in skipped)
        write_text(run.out / "skipped.txt", "".join(lines), synced=False)
    for entry in skipped[:SHOWN]:
        log.warning("left out: %s (%s)", printable(entry["name"]), entry["reason"])
    if len(skipped) > SHOWN:
        log.warning("left out: %s more; all are named in skipped.txt", f"{len(skipped) - SHOWN:,}")
    log.info(
        "%s: %s pictures to learn from, %d held out; %s network, %d latents; %s, %s",
        run.store.source_name,
        "a stream of" if run.feed else f"{len(run.train_rows):,}",
        len(run.validation_rows),
        run.config.model.family,
        run.vae.latents,
        run.device,
        precision_name(run.dtype),
    )


class _LogFile(logging.FileHandler):
    """A log that cannot be written is told as every file is, not by a traceback among the progress."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        raise


@contextmanager
def _tracked(run: Run) -> Iterator[None]:
    """Log the run also to where the settings say."""
    if run.out:
        settings = {name: value for section in run.config.to_dict().values() for name, value in section.items()}
        run.trackers = open_trackers(run.config.train.log, run.out, settings, run.records)
    try:
        yield
    finally:
        run.trackers.close()


@contextmanager
def _run_log(out: Path) -> Iterator[None]:
    """Copy what is logged to log.txt."""
    handler = _LogFile(out / "log.txt", encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("betabloom")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
