"""The command line: `betabloom VERB [SOURCE or MODEL] [options]`.

Every command is a few lines of calls into the library. Results go to -o; one line on stdout says what was made and
where; logs and progress go to stderr; --json prints the same as data. Exit code 0: done, 1: failed, 2: wrong use.
Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import copy
import io
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from betabloom.cli import cache, evaluate, generate, landscape, latent, refine, runs, share
from betabloom.cli import data as cli_data
from betabloom.cli.options import (
    Background,
    Channels,
    Device,
    Exclude,
    Force,
    Json,
    Levels,
    ModelArgument,
    Out,
    Pages,
    Pictures,
    Seed,
    free_path,
    print_lines,
    print_result,
    reading_options,
    refuse_overwriting_input,
)
from betabloom.cli.pictures import load_model, read_pictures, record_of, write_pictures
from betabloom.cli.plain import PlainGroup
from betabloom.errors import BetabloomError, FetchError, SourceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from betabloom.config import Config
    from betabloom.data import Store, Streamed

__all__ = ["app", "main"]

app = typer.Typer(
    name="betabloom",
    cls=PlainGroup,
    help="Train a β-VAE on a folder of pictures and make new ones.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cli_data.app)
app.add_typer(generate.app)
app.add_typer(latent.app)
app.add_typer(landscape.app)
app.add_typer(share.app)
app.add_typer(runs.app)
app.add_typer(cache.app, name="cache")
app.add_typer(evaluate.app)
app.add_typer(refine.app)


def main() -> None:
    """Run the command line; turn expected errors into a sentence and an exit code."""
    # By default the threads of a step wait for one another by spinning, and when another program is busy on the same
    # cores a step takes ten times as long. Read when torch is loaded; docs/log.md has the numbers.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    for stream in (sys.stdout, sys.stderr):  # names of files need not be text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        _parser(sys.argv[1:])()
    except BetabloomError as error:
        _fail(str(error), 2 if isinstance(error, UsageError) else 1)
    except KeyboardInterrupt:
        _fail("stopped.", 130)
    except MemoryError:
        _fail("this does not fit in memory. Ask for fewer or smaller pictures.", 1)
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error), 1)


def _parser(words: Sequence[str]) -> typer.Typer:
    """The command that is asked for, alone: to read the options of all the others takes as long as to draw pictures."""
    commands = list(app.registered_commands)
    for group in app.registered_groups:
        if group.typer_instance and not isinstance(group.name, str):  # its commands stand beside ours
            commands += group.typer_instance.registered_commands
    asked = [c for c in commands if words and c.callback and words[0] == (c.name or c.callback.__name__)]
    if not asked:
        return app
    alone = copy.copy(app)
    alone.registered_commands, alone.registered_groups = asked, []
    return alone


def _fail(message: str, code: int) -> None:
    print(f"betabloom: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


def _version(wanted: bool) -> None:
    if wanted:
        from betabloom.version import __version__

        print(f"betabloom {__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Train a β-VAE on a folder of pictures and make new ones."""


@app.command()
def train(
    source: Annotated[
        str | None, typer.Argument(help="A folder, archive, table, hf:NAME, shards, drawn or flowers102 (default).")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="flowers64 (default), flowers128, tiny or seed.")] = None,
    start: Annotated[str | None, typer.Option("--from", metavar="MODEL", help="A model to start from.")] = None,
    size: Annotated[str | None, typer.Option(help="Side in pixels, or WIDTHxHEIGHT.")] = None,
    pipeline: Annotated[str | None, typer.Option(help="square, justcrop, enhance, a chain of steps, a file.")] = None,
    min_size: Annotated[int | None, typer.Option(help="Leave out pictures with a side of fewer pixels.")] = None,
    channels: Channels = None,
    background: Background = None,
    levels: Levels = None,
    pages: Pages = None,
    exclude: Exclude = None,
    beta: Annotated[float | None, typer.Option(help="Weight of the rate; 1 is the VAE.")] = None,
    latents: Annotated[int | None, typer.Option(help="Number of latent dimensions.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the pictures.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps, in place of epochs.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="Time for all, as 90s, 20m or 1h30m; at most, with --steps.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="All randomness follows from it.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, mps …")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32 or bf16.")] = None,
    log: Annotated[str | None, typer.Option(help="Log also to tensorboard, mlflow, wandb or csv.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting.")] = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with an interrupted run.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Run directory.")] = None,
    as_json: Json = False,
) -> None:
    """Train on pictures; leaves a run directory with model/ in it."""
    started = time.monotonic()
    from betabloom.config import Config, parse_size
    from betabloom.data import resolved
    from betabloom.system.console import progress, show_log
    from betabloom.training import loop as training
    from betabloom.training.run_folder import resume_command, run_config, shell_quoted
    from betabloom.training.setup import check_settings
    from betabloom.training.warm_start import with_initial_model

    show_log()
    options: dict[str, Any] = {
        "beta": beta, "latents": latents, "epochs": epochs, "steps": steps, "budget": budget, "seed": seed,
        "device": device, "precision": precision, "pipeline": pipeline, "channels": channels, "log": log,
        "init_from": start, **reading_options(background, min_size, levels, pages, exclude),
    }  # fmt: skip
    if size:
        options["height"], options["width"] = parse_size(size)
    changes = {key: value for key, value in options.items() if value is not None} | _settings(settings or [])
    if resume:
        if source or changes or out or preset:
            raise UsageError(f"A resumed run keeps its settings. Type: {resume_command(resume)}")
        config, folder = run_config(resume), resume
    else:
        preset = preset or "flowers64"
        config = with_initial_model(Config.preset(preset, **changes))
        if source:
            config = config.replace({"source": resolved(source)})
        folder = _new_run(out, source or "flowers102", preset)
    check_settings(config)
    store = _prepare_again(config, resume) if resume else _prepare(config)
    spent = time.monotonic() - started
    with progress("training") as report:
        model = training.train(store, config, folder, resume is not None, report, spent)
    measures = model.training["validation"]
    print_result(
        as_json,
        f"Trained {model.training['steps']:,} steps on {model.training['images_seen']:,} pictures: {folder}/model. "
        f"New pictures: betabloom generate {shell_quoted(folder)} -n 64 -o flowers.png",
        run=str(folder), model=str(folder / "model"), fingerprint=model.fingerprint, **measures,
    )  # fmt: skip


def _settings(pairs: Sequence[str]) -> dict[str, str]:
    """Read --set key=value."""
    for pair in pairs:
        if "=" not in pair:
            raise UsageError(f"--set needs KEY=VALUE, not {pair!r}, as in --set beta=4")
    return dict(pair.split("=", 1) for pair in pairs)


def _new_run(out: Path | None, source: str, preset: str) -> Path:
    """Return the run directory to make; one that exists is refused."""
    from betabloom.training.run_folder import is_free, resume_command

    if out is None:
        name = Path(source).name.replace(":", "-")
        return Path("runs") / f"{name}-{preset}-{time.strftime('%Y%m%d-%H%M%S')}"
    if not is_free(out):
        hint = f", or go on with it: {resume_command(out)}" if (out / "config.yaml").is_file() else ""
        raise UsageError(f"{out} exists already. Choose another name with -o{hint}.")
    return out


def _prepare_again(config: Config, run: Path) -> Store | Streamed:
    """The same for a run that goes on; where the pictures are gone, say which run misses them."""
    from betabloom.training.run_folder import resume_command

    try:
        return _prepare(config)
    except SourceError as error:
        raise SourceError(
            f"The pictures that the run in {run} learns from are not where they were: {error} Bring them back, and "
            f"type again: {resume_command(run)}"
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
    print(data.inspect(source, (d.height, d.width), quick=True).text(), file=sys.stderr)  # noqa: T201
    with progress("preparing", "pictures") as report:
        return data.prepare(source, pipeline, progress=report)


@app.command()
def reconstruct(
    model: ModelArgument,
    pictures: Pictures,
    n: Annotated[int, typer.Option("-n", min=1, help="At most so many.")] = 32,
    out: Out = None,
    device: Device = "cpu",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Encode and decode pictures: each row of originals has its reconstructions below it."""
    from betabloom.imaging import png, sheets

    path = free_path(out or Path("reconstructions.png"), force)
    refuse_overwriting_input(path, pictures)
    loaded = load_model(model, device)
    originals, names, _ = read_pictures(pictures, loaded, n)
    record = record_of(loaded, model, {"verb": "reconstruct", "pictures": names})
    png.save_png(sheets.pairs(originals, loaded.reconstruct(originals)), path, record)
    print_result(as_json, f"{len(names)} pictures with their reconstructions: {path}", made=str(path), pictures=names)


@app.command()
def vary(
    model: ModelArgument,
    picture: Annotated[str, typer.Argument(help="A picture file.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many variations.")] = 15,
    amount: Annotated[float, typer.Option(min=0, help="0 is the reconstruction, 1 a sister, 2 a cousin.")] = 1.0,
    posterior: Annotated[bool, typer.Option("--posterior", help="Sample the posterior: σ times the amount.")] = False,
    seed: Seed = 0,
    out: Out = None,
    device: Device = "cpu",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make variations on one picture; the first on the sheet is the original."""
    import numpy as np

    from betabloom.system.console import printable

    if not Path(picture).is_file():
        raise UsageError(f"There is no picture file {picture}.")
    path = free_path(out or Path("variations.png"), force, folder=True)
    refuse_overwriting_input(path, [picture])
    loaded = load_model(model, device)
    original, names, _ = read_pictures([picture], loaded, 1)
    variations = loaded.vary(original[0], n, seed, amount, posterior)
    record = {"verb": "vary", "pictures": names, "seed": seed, "amount": amount, "posterior": posterior}
    made = write_pictures(
        np.concatenate([original, variations]), path, loaded, model, record, ["original", *map(str, range(n))]
    )
    print_result(as_json, f"{n} variations on {printable(names[0])}: {path}", made=made, n=n, seed=seed)


@app.command()
def encode(
    model: ModelArgument,
    pictures: Pictures,
    out: Out = None,
    device: Device = "cpu",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write the codes of pictures to an .npz file: mean and log_var (N, latents), names, labels."""
    from betabloom.model.codes import Codes, save_codes

    path = free_path(out or Path("codes.npz"), force, suffix=".npz")
    loaded = load_model(model, device)
    originals, names, labels = read_pictures(pictures, loaded)
    mean, log_var = loaded.encode(originals)
    save_codes(Codes(mean, log_var, names, loaded.fingerprint, labels), path)
    print_result(
        as_json, f"Codes of {len(names)} pictures: {path}", made=str(path), n=len(names), latents=mean.shape[1]
    )


@app.command()
def decode(
    model: ModelArgument,
    codes: Annotated[Path, typer.Argument(help="A file that `betabloom encode` wrote.")],
    columns: Annotated[int, typer.Option(min=0, help="Pictures in a row of the grid; 0 for square.")] = 0,
    out: Out = None,
    device: Device = "cpu",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Bring back the pictures that codes stand for: a grid (-o a.png), or one file each (-o folder/)."""
    from betabloom.model.codes import load_codes

    path = free_path(out or Path("decoded.png"), force, folder=True)
    loaded, stored = load_model(model, device), load_codes(codes)
    if stored.model != loaded.fingerprint:
        raise UsageError(f"{codes} was written by model {stored.model}, and {model} is {loaded.fingerprint}.")
    record = {"verb": "decode", "codes": str(codes)}
    made = write_pictures(loaded.decode(stored.mean), path, loaded, model, record, stored.names, columns)
    print_result(as_json, f"{len(stored.names)} pictures: {path}", made=made, n=len(stored.names))


@app.command()
def info(
    what: Annotated[Path, typer.Argument(help="A model or run directory, a picture made here, or a code file.")],
    as_json: Json = False,
) -> None:
    """Say what a model, picture or code file is, and how a picture was made."""
    import zipfile

    from betabloom.imaging.png import read_png
    from betabloom.model.codes import load_codes
    from betabloom.model.directory import describe, is_bundled

    if not what.exists() and not is_bundled(what):
        raise UsageError(f"There is no file or folder {what}.")
    if what.is_file() and zipfile.is_zipfile(what):
        codes = load_codes(what)
        facts: dict[str, Any] = {"codes": len(codes.names), "latents": codes.mean.shape[1], "model": codes.model}
    elif what.is_file():
        facts = read_png(what)
        if facts.get("verb") == "generate":
            facts["again"] = generate.command_to_repeat(facts)
    else:
        facts = describe(what)
    print_lines(as_json, [f"{key:<18} {value}" for key, value in facts.items()], **facts)
