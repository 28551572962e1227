"""`sharpen`, `enlarge` and `refit`: what is made of a trained model without training it again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from betabloom.cli.options import Device, Force, Json, ModelArgument, Out, Seed, print_result
from betabloom.cli.pictures import load_model
from betabloom.errors import UsageError
from betabloom.model.training_pictures import larger_pictures, training_pictures

if TYPE_CHECKING:
    from betabloom.model.model import Model

__all__ = ["app"]

app = typer.Typer()

Source = Annotated[
    str | None, typer.Argument(metavar="SOURCE", help="Its training pictures; where they were if left out.")
]
Budget = Annotated[str, typer.Option(help="Time for it, as 90s, 20m or 1h30m.")]
Steps = Annotated[int, typer.Option(min=0, help="Steps in place of a time.")]


@app.command()
def sharpen(
    model: ModelArgument,
    source: Source = None,
    budget: Budget = "20m",
    steps: Steps = 0,
    eye: Annotated[
        bool,
        typer.Option("--eye", help="The critic looks through a trained network (extra metrics): for long budgets."),
    ] = False,
    wider: Annotated[
        int, typer.Option(min=1, help="Factor on the network's channels; it draws the same at first.")
    ] = 1,
    seed: Seed = 0,
    out: Out = None,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Teach the decoder with a critic: sharper pictures that follow the pixels less. -o is a new model directory.

    Ctrl-C ends it early and keeps what was learned. A sharpened model can be sharpened further.
    """
    from betabloom.config import parse_duration
    from betabloom.refine.sharpen import sharpen as teach
    from betabloom.system.console import progress
    from betabloom.system.signals import stop_requests

    path = _free_folder(out or model.parent / f"{model.name}-sharp", force)
    seconds = 0.0 if steps else parse_duration(budget)
    loaded = load_model(model, device)
    store, d = training_pictures(loaded, source), loaded.config.data
    rows, _ = store.split(d.split, d.holdout)
    with progress("sharpening") as report, stop_requests() as stop:
        learned = teach(
            loaded, store.pictures[rows], steps, seconds, seed, eye=eye, wider=wider, progress=report, stop=stop
        )
        sharper = _saved(learned, path)
    facts = sharper.training["sharpened"]
    print_result(
        as_json, f"Sharpened for {facts['steps']:,} steps: {path}", made=str(path), model=sharper.fingerprint, **facts
    )


@app.command()
def enlarge(
    model: ModelArgument,
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="Photos of that size; its training pictures if left out.")
    ] = None,
    budget: Budget = "20m",
    steps: Steps = 0,
    seed: Seed = 0,
    out: Out = None,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Teach the model to draw at twice its size, with the same codes. -o is a new model directory.

    Ctrl-C ends it early and keeps what was learned. An enlarged model can be enlarged again.
    """
    from betabloom.config import parse_duration
    from betabloom.refine.enlarge import enlarge as teach
    from betabloom.system.console import progress
    from betabloom.system.signals import stop_requests

    path = _free_folder(out or model.parent / f"{model.name}-large", force)
    seconds = 0.0 if steps else parse_duration(budget)
    loaded = load_model(model, device)
    store = larger_pictures(loaded, source)
    with progress("enlarging") as report, stop_requests() as stop:
        larger = _saved(teach(loaded, store.pictures, steps, seconds, seed, progress=report, stop=stop), path)
    facts = larger.training["enlarged"][-1]
    size = f"{larger.pipeline.width}x{larger.pipeline.height}"
    print_result(
        as_json,
        f"Draws {size} pixels after {facts['steps']:,} steps: {path}",
        made=str(path),
        model=larger.fingerprint,
        size=size,
        **facts,
    )


@app.command()
def refit(
    model: ModelArgument,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The pictures to draw like.")],
    seed: Seed = 0,
    out: Out = None,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Draw like other pictures: the sampler is fitted to their codes, nothing is trained.

    -o is a new model directory.
    """
    from betabloom import metrics
    from betabloom.refine.refit import refit as fitted_to

    path = _free_folder(out or Path(f"{Path(source).stem}-{model.name}"), force)
    loaded = load_model(model, device)
    store = training_pictures(loaded, source)
    where = str(Path(source).resolve()) if Path(source).exists() else source
    fitted = fitted_to(loaded, store, seed, metrics.best_extractor())
    fitted = dataclasses.replace(fitted, config=fitted.config.replace({"source": where, "split": "auto"}))
    fitted = _saved(fitted, path)
    facts = {**fitted.training["refitted"], "sampler": fitted.sampler}
    print_result(
        as_json, f"Draws like {facts['pictures']:,} pictures: {path}", made=str(path), model=fitted.fingerprint, **facts
    )


def _saved(model: Model, path: Path) -> Model:
    """The model in its new folder, with a sheet of what it draws."""
    from betabloom.imaging import png, sheets

    saved = model.save(path)
    record = {"verb": "generate", "model": saved.fingerprint, "model_path": str(path), "n": 64, "seed": 0}
    png.save_png(sheets.grid(saved.generate(64), columns=8), path / "samples.png", record)
    return saved


def _free_folder(path: Path, force: bool) -> Path:
    """The folder, if a model may be written there: a new one, or with --force an earlier model."""
    from betabloom.model.directory import MODEL

    if not path.exists():
        return path
    if not force:
        raise UsageError(f"{path} exists already. Choose another name with -o, or type --force to replace it.")
    MODEL.check(path)
    return path
