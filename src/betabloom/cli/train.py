"""`betabloom train`: from a source of pictures to a run directory with a model in it."""

from __future__ import annotations

import io
import itertools
import logging
import os
import sys
import time
from contextlib import nullcontext, redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from betabloom.cli.command import Option
from betabloom.cli.options import Json, SourceArgument, counted, print_result, safe_name
from betabloom.config import SECTION_OF, SECTIONS, Config
from betabloom.errors import BetabloomError, FetchError, SourceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from betabloom.data import Store, Streamed
    from betabloom.model.model import Model
    from betabloom.system.console import Progress

__all__ = ["train"]


def _of(setting: str, group: str = "Training", metavar: str = "", help: str = "") -> Option:  # noqa: A002
    """An option for a setting: what it means and its default are those of the preset flowers64."""
    field = SECTIONS[SECTION_OF[setting]].__dataclass_fields__[setting]
    meaning = help or field.metadata["help"]
    usual = getattr(getattr(Config.preset(), SECTION_OF[setting]), setting)
    default = "" if usual in ("", 0) and not isinstance(usual, bool) else str(usual)
    return Option(help=f"{meaning[0].upper()}{meaning[1:]}.", metavar=metavar, group=group, default=default)


@dataclass(frozen=True)
class RunOptions:
    """What a run begins with, how long it takes, and where it goes."""

    preset: Annotated[str | None, Option(help="flowers64, flowers128, tiny or seed.", default="flowers64")] = None
    start: Annotated[
        str | None,
        Option("--from", metavar="MODEL", help='A model to start from, such as flowers64; "nothing" for none.'),
    ] = None
    budget: Annotated[
        str | None,
        Option(
            metavar="TIME",
            help="Time for the whole training, such as 90s, 20m or 1h30m; with --steps, whichever ends first.",
        ),
    ] = None
    pure: Annotated[bool, Option("--pure", help="The plain β-VAE alone: likelihood and no other stage.")] = False
    log: Annotated[str | None, Option(help="Also log to tensorboard, mlflow, wandb or csv.")] = None
    settings: Annotated[
        list[str] | None, Option("--set", metavar="KEY=VALUE", help="Any setting; docs/settings.md lists them.")
    ] = None
    resume: Annotated[
        Path | None,
        Option(
            metavar="RUN",
            help="Continue a run; with --steps, --epochs or --budget, until it has had that much training in all.",
        ),
    ] = None
    moved: Annotated[
        str | None, Option("--source", metavar="SOURCE", help="With --resume: where its pictures are now.")
    ] = None
    out: Annotated[Path | None, Option("-o", "--out", help="Run directory.", default="runs/SOURCE-PRESET-DATE")] = None
    devices: Annotated[
        int, Option(minimum=1, group="Several devices", help="Processes on this machine, each with a GPU of its own.")
    ] = 1
    nodes: Annotated[
        int, Option(minimum=1, group="Several devices", help="Machines, each of which is given the same command.")
    ] = 1


@dataclass(frozen=True)
class TrainingOptions:
    """How it learns; the names are those of the settings."""

    epochs: Annotated[float | None, _of("epochs")] = None
    steps: Annotated[int | None, Option(help="Training steps, instead of epochs.", group="Training")] = None
    beta: Annotated[float | None, _of("beta")] = None
    latents: Annotated[int | None, _of("latents")] = None
    seed: Annotated[int | None, _of("seed")] = None
    device: Annotated[str | None, _of("device")] = None
    precision: Annotated[str | None, _of("precision")] = None


@dataclass(frozen=True)
class PictureOptions:
    """What it learns from; the names are those of the settings, but for `size`."""

    size: Annotated[str | None, Option(help="Side in pixels, or WIDTHxHEIGHT.", group="Pictures", default="64")] = None
    channels: Annotated[int | None, _of("channels", "Pictures")] = None
    pipeline: Annotated[str | None, _of("pipeline", "Pictures")] = None
    min_size: Annotated[int | None, _of("min_size", "Pictures")] = None
    background: Annotated[str | None, _of("background", "Pictures")] = None
    levels: Annotated[str | None, _of("levels", "Pictures")] = None
    pages: Annotated[str | None, _of("pages", "Pictures")] = None
    exclude: Annotated[
        list[str] | None,
        Option(metavar="GLOB", group="Pictures", help="Leave out files, as '*_mask.png' or 'old/*'; repeatable."),
    ] = None
    split: Annotated[str | None, _of("split", "Pictures")] = None
    source_note: Annotated[
        str | None,
        Option("--source-text", metavar="TEXT", group="Pictures", help="Where they come from, for the model card."),
    ] = None
    licence: Annotated[
        str | None, Option(metavar="TEXT", group="Pictures", help="Their licence, for the model card.")
    ] = None


def train(
    source: SourceArgument = None,
    *,
    run: RunOptions,
    training: TrainingOptions,
    pictures: PictureOptions,
    as_json: Json = False,
) -> None:
    """Train a model on pictures. Leaves a run directory with the model, samples, curves and checkpoints in it.

    With a budget of ten minutes or more, it takes the best start, trains by likelihood, sharpens what it draws, and
    enlarges with --size 128 or 256; each is kept only if pictures get better. Ctrl-C stops it and keeps a checkpoint.

    Examples:
      betabloom train photos --budget 2h                      # the best that two hours make of a folder of pictures
      betabloom train photos --size 128 --budget 2h           # the same, larger
      betabloom train photos --pure --budget 30m              # the plain β-VAE
      betabloom train drawn:2000 --preset tiny                # a first look: seconds, nothing to download
      betabloom train --resume runs/photos
      betabloom train photos --devices 8                      # eight GPUs of this machine; docs/scaling.md has more
    """
    if run.devices * run.nodes > 1 and "RANK" not in os.environ:
        _on_several_devices(run, source)
        return
    started = time.monotonic()
    from betabloom.system.console import progress, show_log
    from betabloom.system.ranks import leave_if_started, present_rank
    from betabloom.system.signals import when_stopped
    from betabloom.training.group import LostProcess, joined
    from betabloom.training.setup import check_settings

    rank = present_rank()
    leads = rank is None or rank.rank == 0
    if leads:
        show_log()
    else:
        logging.disable(logging.WARNING)  # what the first process says is enough
    changes = _changes(run, training, pictures)
    resume = run.resume
    config, folder = _asked_for(run, source, changes)
    check_settings(config)
    with nullcontext() if leads else redirect_stderr(io.StringIO()):
        store = _prepare_again(config, resume) if resume else _prepare(config)
    if not resume:
        config = _with_splits_of(store, config, "split" in changes)
        folder = folder if run.out or not leads else _claim(folder)
    reporting = progress("training") if leads else nullcontext()
    try:
        with joined(rank, config.train.device), when_stopped(lambda: _stopped_in(folder)), reporting as report:
            model = _trained(store, config, folder, resume is not None, report, time.monotonic() - started)
    except LostProcess as error:
        leave_if_started(error)
        raise
    if leads:
        _print_trained(model, folder, as_json)


def _stopped_in(folder: Path) -> str:
    """What a second Ctrl-C leaves of a run; a folder that nothing was written to is removed."""
    from betabloom.training.checkpoints import checkpoints_in, resume_command, step_of

    if (folder / "config.yaml").is_file():
        saved = checkpoints_in(folder / "checkpoints")
        kept = f" It is saved as it was at step {step_of(saved[0])}." if saved else ""
        return f"Stopped.{kept} To go on, type: {resume_command(folder)}"
    with suppress(OSError):
        folder.rmdir()
    return ""


def _asked_for(run: RunOptions, source: str | None, changes: dict[str, Any]) -> tuple[Config, Path]:
    """The settings of the run that is asked for, and its folder: a new one, or one that goes on."""
    from betabloom.training.checkpoints import resume_command

    if run.resume:
        if run.out or run.preset or source:
            raise UsageError(f"A resumed run keeps its settings. Type: {resume_command(run.resume)}")
        return _changed(run.resume, changes, run.moved), run.resume
    if run.moved:
        raise UsageError("--source says where the pictures of a run to --resume are. Name those to train on first.")
    config = _in_stages(_config(run.preset or "flowers64", source, changes), run)
    return config, _run_folder(run.out, source or "flowers102", run.preset or "flowers64")


def _print_trained(model: Model, folder: Path, as_json: bool) -> None:
    """Say what was made and where, and what to type next."""
    from betabloom.system.paths import shell_quoted

    done = model.training
    what = f"Trained {counted(done['steps'], 'step')} ({counted(done['images_seen'], 'picture')} seen)"
    if kept := [entry["stage"] for entry in done.get("stages", []) if entry["kept"]]:
        what = f"Trained in stages; kept: {', '.join(kept)}"  # its steps may be those of the bundled model
    print_result(
        as_json,
        f"{what}. The model: {folder}/model. New pictures: betabloom generate {shell_quoted(folder)}",
        run=str(folder), model=str(folder / "model"), fingerprint=model.fingerprint, **done.get("validation", {}),
    )  # fmt: skip


def _on_several_devices(run: RunOptions, source: str | None) -> None:
    """Start a process for each device of this machine, and say how to go on if one of them is lost."""
    from betabloom.system.ranks import start_processes
    from betabloom.training.checkpoints import resume_command

    words = sys.argv[1:]
    folder = run.resume or run.out
    if folder is None and run.nodes == 1:
        folder = _claim(_run_folder(None, source or "flowers102", run.preset or "flowers64"))
        words = [*words[:1], "-o", str(folder), *words[1:]]
    try:
        start_processes(words, run.devices, run.nodes)
    except UsageError:
        raise
    except BetabloomError as error:
        hint = f" To go on: {resume_command(folder)}" if folder and (folder / "config.yaml").exists() else ""
        raise BetabloomError(f"{error}{hint}") from error


def _changes(run: RunOptions, training: TrainingOptions, pictures: PictureOptions) -> dict[str, Any]:
    """The settings that were asked for."""
    options = {"budget": run.budget, "log": run.log, **_start(run.start), **vars(training), **vars(pictures)}
    options["exclude"] = ",".join(pictures.exclude) if pictures.exclude else None
    del options["size"]
    asked = {key: value for key, value in options.items() if value is not None}
    return asked | _size(pictures.size) | _settings(run.settings or [])


def _start(model: str | None) -> dict[str, Any]:
    """The settings that stand for --from."""
    return {"init_from": "", "compare_starts": False} if model == "nothing" else {"init_from": model}


def _size(size: str | None) -> dict[str, int]:
    from betabloom.config import parse_size

    return dict(zip(("height", "width"), parse_size(size), strict=True)) if size else {}


def _settings(pairs: Sequence[str]) -> dict[str, str]:
    """Read --set key=value."""
    for pair in pairs:
        if "=" not in pair:
            raise UsageError(f"--set needs KEY=VALUE, not {pair!r}. Example: --set beta=4")
    return dict(pair.split("=", 1) for pair in pairs)


def _config(preset: str, source: str | None, changes: dict[str, Any]) -> Config:
    from betabloom.data import resolved
    from betabloom.training.warm_start import with_initial_model

    config = with_initial_model(Config.preset(preset, **changes))
    return config.replace({"source": resolved(source)}) if source else config


def _trained(
    store: Store | Streamed, config: Config, folder: Path, resume: bool, report: Progress | None, spent: float
) -> Model:
    """Train, in stages where the settings say so."""
    from betabloom.data import Store
    from betabloom.stages.larger import larger_settings
    from betabloom.stages.run import train_in_stages
    from betabloom.training import loop

    if not (config.train.stages and isinstance(store, Store)):
        return loop.train(store, config, folder, resume, report, spent)
    return train_in_stages(
        store, config, folder, lambda times: _prepare_quietly(larger_settings(config, times)), resume, report, spent
    )


def _in_stages(config: Config, run: RunOptions) -> Config:
    """The settings of a new training, in stages where that is what is best."""
    from betabloom.data import is_stream
    from betabloom.stages.choose import begins_at, goes_in_stages

    pure = run.pure or run.devices * run.nodes > 1 or "RANK" in os.environ  # several processes have no teacher
    if not goes_in_stages(config, run.preset or "flowers64", pure, is_stream(config.data.source)):
        return config.replace({"stages": False})
    return begins_at(config, _prepare_quietly)


def _prepare_quietly(config: Config) -> Store:
    """Prepare the pictures that the settings name."""
    from betabloom import data
    from betabloom.system.console import progress

    d = config.data
    source = data.open_source(d.source, **data.Reading.of(d).options())
    with progress("preparing", "pictures") as report:
        return data.prepare(source, data.Pipeline.parse(d.pipeline, (d.height, d.width), d.channels), progress=report)


def _changed(run: Path, changes: dict[str, Any], moved: str | None) -> Config:
    """The settings of a run that is continued."""
    from betabloom.data import resolved
    from betabloom.training.resume import changed_config

    return changed_config(run, changes | ({"source": resolved(moved)} if moved else {}))


def _with_splits_of(store: Store | Streamed, config: Config, asked: bool) -> Config:
    """The preset `seed` trains on an official split; of pictures that have none, some are held out."""
    from betabloom.data import Store

    if asked or not isinstance(store, Store) or config.data.split in ("auto", "all"):
        return config
    missing = set(config.data.split.split("+")) - set(store.splits)
    return config.replace({"split": "auto"}) if missing else config


def _run_folder(out: Path | None, source: str, preset: str) -> Path:
    """The run directory to make; one that exists is refused."""
    from betabloom.training.checkpoints import resume_command
    from betabloom.training.run_folder import is_free

    if out is None:
        return Path("runs") / f"{safe_name(source)}-{preset}-{time.strftime('%Y%m%d-%H%M%S')}"
    if out.name.startswith("-"):
        raise UsageError(f"{out} is no name for a run directory. Example: -o runs/first")
    if not is_free(out):
        hint = f", or continue it: {resume_command(out)}" if (out / "config.yaml").is_file() else ""
        raise UsageError(f"{out} exists already. Choose another name with -o{hint}.")
    return out


def _claim(folder: Path) -> Path:
    """Make the run directory, or the first of name-2, name-3 … that no other training of this second has taken."""
    for number in itertools.count(1):
        path = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path
    raise AssertionError


def _prepare_again(config: Config, run: Path) -> Store | Streamed:
    """The same for a run that is continued; if the pictures are gone, say which run misses them."""
    from betabloom.training.checkpoints import resume_command

    try:
        return _prepare(config)
    except SourceError as error:
        raise SourceError(
            f"The pictures that the run in {run} learns from are not where they were: {error} Put them back, and "
            f"type again: {resume_command(run)}\nOr say where they are now: {resume_command(run)} --source FOLDER"
        ) from error


def _prepare(config: Config) -> Store | Streamed:
    """Prepare the pictures that the settings name, and say what they are."""
    from betabloom import data
    from betabloom.system.console import progress

    d = config.data
    pipeline = data.Pipeline.parse(d.pipeline, (d.height, d.width), d.channels)
    if data.is_stream(d.source):
        return data.Streamed(data.open_stream(d.source, **data.Reading.of(d).options()), pipeline)
    try:
        with progress("downloading", "bytes") as report:
            source = data.open_source(d.source, progress=report, **data.Reading.of(d).options())
    except FetchError as error:  # nothing was asked for but the default, and it is not to be had
        raise SourceError(str(error)) from error
    if sys.stderr:
        started = bool(config.train.init_from) or config.train.stages
        print(data.inspect(source, (d.height, d.width), quick=True, started=started).text(), file=sys.stderr)  # noqa: T201
    with progress("preparing", "pictures") as report:
        return data.prepare(source, pipeline, progress=report)
