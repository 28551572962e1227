"""`sharpen`, `enlarge` and `refit`: what is made of a trained model without training it again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from betabloom.cli.command import Argument, Option
from betabloom.cli.options import CommonOptions, ModelArgument, counted, free_folder, print_result, safe_name
from betabloom.cli.pictures import load_model
from betabloom.errors import UsageError
from betabloom.model.training_pictures import larger_pictures, training_pictures

if TYPE_CHECKING:
    import numpy as np

    from betabloom.data import Store
    from betabloom.metrics.quality import QualityJudge
    from betabloom.model.model import Model

__all__ = ["enlarge", "refit", "sharpen"]

Source = Annotated[str | None, Argument("Its training pictures (default: where they were).", "SOURCE")]
Budget = Annotated[str, Option(help="Time to spend, such as 90s, 20m or 1h30m.")]
Steps = Annotated[int, Option(minimum=1, help="Number of steps, instead of --budget.")]
Seed = Annotated[int, Option(minimum=0, help="Seed of everything random.")]
Teacher = Annotated[
    str,
    Option(
        help="What the decoder learns from: moments of features, a critic on features (eye), or one on patches. "
        "grids: its last layers alone learn, until what is drawn has no pattern of pixels.",
        default="moments; patches without the extra metrics, with fewer than 256 pictures or above 128 pixels",
    ),
]
Head = Annotated[
    int | None,
    Option(minimum=0, help="Channels of a layer at full size that the decoder gets.", default="8 with moments, else 0"),
]
Pixels = Annotated[
    float | None, Option(minimum=0, help="With --teacher eye: weight of the verdict on pixels.", default="3")
]
Rate = Annotated[float | None, Option(minimum=0, help="Learning rate of the decoder.", default="that of the teacher")]
Snapshots = Annotated[
    int | None,
    Option(
        minimum=0,
        help="Snapshots that are judged (extra metrics), of which the best is kept; 0 keeps the last.",
        default="8 from ten minutes on",
    ),
]
AUTO = CommonOptions(device="auto")
SNAPSHOTS, JUDGED_FROM = 8, 600.0  # how many are judged, from so many seconds on


def sharpen(
    model: ModelArgument,
    source: Source = None,
    budget: Budget = "20m",
    steps: Steps = 0,
    teacher: Teacher = "",
    eye: Annotated[bool, Option("--eye", help="The same as --teacher eye.")] = False,
    wider: Annotated[int, Option(minimum=1, help="Factor on the channels of the network.")] = 1,
    head: Head = None,
    pixels: Pixels = None,
    rate: Rate = None,
    snapshots: Snapshots = None,
    seed: Seed = 0,
    common: CommonOptions = AUTO,
) -> None:
    """Teach the decoder to draw sharper pictures, less faithful pixel by pixel. -o is a new model directory.

    Snapshots on the way are judged, and the best is kept: too long a training can ruin pictures. Ctrl-C ends it early
    and keeps what was learned. A sharpened model can be sharpened further.
    """
    from betabloom.config import parse_duration
    from betabloom.refine.grids import GRIDS
    from betabloom.refine.sharpen import check_teachable, check_teacher
    from betabloom.refine.sharpen import sharpen as teach
    from betabloom.system.console import progress, show_log
    from betabloom.system.signals import stop_requests

    if eye and teacher not in ("", "eye"):
        raise UsageError(f"--eye means --teacher eye: leave out either --eye or --teacher {teacher}.")
    teacher = "eye" if eye else teacher
    if teacher == GRIDS and (wider > 1 or head or pixels is not None or rate is not None or snapshots):
        raise UsageError("--teacher grids has no options but --budget, --steps and --seed.")
    if teacher:
        check_teacher(teacher)
    path = free_folder(common.out, model.parent / f"{model.name}-sharp", common.force)
    seconds = 0.0 if steps else parse_duration(budget)
    loaded = load_model(model, common.device)
    store, d = training_pictures(loaded, source), loaded.config.data
    rows, held_out = store.split(d.split, d.holdout)
    if teacher:
        check_teachable((len(rows), *store.pictures.shape[1:]), teacher)
    judge, count = _judge(store, rows, held_out, 0 if teacher == GRIDS else snapshots, seconds)
    show_log()
    with progress("sharpening") as report, stop_requests() as stop:
        learned = teach(
            loaded, store.pictures[rows], steps, seconds, seed, teacher=teacher, wider=wider, progress=report,
            stop=stop, head=head, pixels=pixels, rate=rate, judge=judge, snapshots=count,
        )  # fmt: skip
        if learned is loaded and teacher == GRIDS:
            raise UsageError("No comb came nearer to that of real pictures: nothing is written.")
        if judge and learned is loaded:
            raise UsageError("No snapshot drew better pictures than the model does: nothing is written.")
        sharper = _saved(learned, path)
    text, facts = _told(sharper, teacher)
    print_result(common.as_json, f"{text}: {path}", made=str(path), model=sharper.fingerprint, **facts)


def _told(sharper: Model, teacher: str) -> tuple[str, dict[str, Any]]:
    """What was done to a model, in words and as facts."""
    from betabloom.refine.grids import GRIDS, farthest

    if teacher != GRIDS:
        facts = sharper.training["sharpened"]
        return f"Sharpened by {facts['teacher']} for {counted(facts['steps'], 'step')} in all", facts
    facts = sharper.training["without_grids"]
    before, after = (farthest(facts[when]) for when in ("before", "after"))
    steps = counted(facts["steps"], "step")
    words = f"The comb or checkerboard farthest from 1 was {before:.2f}, and is {after:.2f} after {steps}"
    return words, {"teacher": GRIDS, **facts}


def _judge(
    store: Store, rows: np.ndarray, held_out: np.ndarray, snapshots: int | None, seconds: float
) -> tuple[QualityJudge | None, int]:
    """What judges snapshots, if anything does, and how many of them."""
    from betabloom.stages.course import EXTRA, judge_of

    count = snapshots if snapshots is not None else SNAPSHOTS if seconds >= JUDGED_FROM else 0
    judge = judge_of(store, rows, held_out) if count else None
    if snapshots and not judge:
        raise UsageError(f"Snapshots cannot be judged: too few pictures are held out, or {EXTRA}")
    return judge, max(count, 1)


def enlarge(
    model: ModelArgument,
    source: Annotated[
        str | None, Argument("Photos of at least that size (default: its training pictures).", "SOURCE")
    ] = None,
    budget: Budget = "20m",
    steps: Steps = 0,
    seed: Seed = 0,
    common: CommonOptions = AUTO,
) -> None:
    """Teach the model to draw at twice its size, with the same codes. -o is a new model directory.

    Ctrl-C ends it early and keeps what was learned. An enlarged model can be enlarged again.
    """
    from betabloom.config import parse_duration
    from betabloom.refine.enlarge import enlarge as teach
    from betabloom.system.console import progress
    from betabloom.system.signals import stop_requests

    path = free_folder(common.out, model.parent / f"{model.name}-large", common.force)
    seconds = 0.0 if steps else parse_duration(budget)
    loaded = load_model(model, common.device)
    store = larger_pictures(loaded, source)
    with progress("enlarging") as report, stop_requests() as stop:
        larger = _saved(teach(loaded, store.pictures, steps, seconds, seed, progress=report, stop=stop), path)
    facts = larger.training["enlarged"][-1]
    size = f"{larger.pipeline.width}x{larger.pipeline.height}"
    print_result(
        common.as_json,
        f"Draws {size} pixels after {counted(facts['steps'], 'step')}: {path}",
        made=str(path),
        model=larger.fingerprint,
        size=size,
        **facts,
    )


def refit(
    model: ModelArgument,
    source: Annotated[str, Argument("The pictures to draw like.", "SOURCE")],
    seed: Seed = 0,
    common: CommonOptions = AUTO,
) -> None:
    """Draw like other pictures: fit the sampler to their codes, without training. -o is a new model directory."""
    from betabloom import metrics
    from betabloom.data import resolved
    from betabloom.refine.refit import refit as fitted_to

    path = free_folder(common.out, Path(f"{safe_name(Path(source).stem)}-{model.name}"), common.force)
    loaded = load_model(model, common.device)
    store = training_pictures(loaded, source)
    where = resolved(source)
    fitted = fitted_to(loaded, store, seed, metrics.best_extractor())
    fitted = dataclasses.replace(fitted, config=fitted.config.replace({"source": where, "split": "auto"}))
    fitted = _saved(fitted, path)
    facts = {**fitted.training["refitted"], "sampler": fitted.sampler}
    print_result(
        common.as_json,
        f"Draws like {counted(facts['pictures'], 'picture')}: {path}",
        made=str(path),
        model=fitted.fingerprint,
        **facts,
    )


def _saved(model: Model, path: Path) -> Model:
    """The model in its new folder, with a sheet of what it draws."""
    from betabloom.imaging import output, sheets

    saved = model.save(path)
    record = {"verb": "generate", "model": saved.fingerprint, "model_path": str(path), "n": 64, "seed": 0}
    output.save_image(sheets.grid(saved.generate(64), columns=8), path / "samples.png", record)
    return saved
