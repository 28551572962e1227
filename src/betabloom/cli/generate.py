"""`betabloom generate`: new pictures, in colours on request, as sheets, files or one large picture."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from betabloom.cli.command import Option
from betabloom.cli.options import (
    AnyModel,
    Device,
    Force,
    Json,
    Out,
    Scale,
    Seed,
    SpreadOptions,
    counted,
    free_path,
    print_result,
    refuse_overwriting_input,
)
from betabloom.cli.pictures import record_of
from betabloom.errors import UsageError
from betabloom.generate.request import Request, open_model

if TYPE_CHECKING:
    from betabloom.model.generator import Generator

__all__ = ["generate"]


@dataclass(frozen=True)
class Drawing:
    """Which pictures of which series, and how they are drawn."""

    n: Annotated[int, Option("-n", minimum=1, help="How many pictures.")] = 64
    seed: Seed = None
    start: Annotated[int, Option(minimum=0, help="Number of the first picture in the seed's series.")] = 0
    numbers: Annotated[str | None, Option(metavar="0-5,8", help="Draw these pictures of the seed's series.")] = None
    temperature: Annotated[
        float,
        Option(
            maximum=1000,
            help="Below 1 more typical pictures, above 1 more unusual ones. Lower looks better and repeats more: with "
            "flowers64, 1.8 % of the pictures are near copies of training pictures at 1, 6 % at 0.85, 19.5 % at 0.7.",
        ),
    ] = 1.0
    sampler: Annotated[
        str,
        Option(help="Where codes come from: auto, prior, gaussian, mixture, parzen or flow."),
    ] = "auto"


@dataclass(frozen=True)
class Colours:
    """What is asked of the colours."""

    palette: Annotated[
        str | None,
        Option(
            metavar="COLOURS",
            group="Colours",
            help="violet,gold: some pictures of each; violet+gold: both in each picture; or #8040a0.",
        ),
    ] = None
    hue: Annotated[
        float | None, Option(group="Colours", help="Hue of the centre: 0 red, 0.33 green, 0.67 blue, 1 red.")
    ] = None
    like: Annotated[
        str | None,
        Option(metavar="PICTURE", group="Colours", help="Take the colours of a picture."),
    ] = None
    colourful: Annotated[bool, Option("--colourful", group="Colours", help="Ask for colourful pictures.")] = False
    avoid: Annotated[
        str | None, Option(metavar="COLOURS", group="Colours", help="Colours to keep out, such as green,brown.")
    ] = None
    named: Annotated[bool, Option("--named", group="Colours", help="Name the pictures by their colours.")] = False


@dataclass(frozen=True)
class TrainingPictures:
    """What the training pictures are used for."""

    label: Annotated[
        str | None,
        Option("--class", metavar="NAME", group="Training pictures", help="Draw this class, such as daisy."),
    ] = None
    novel: Annotated[
        bool,
        Option("--novel", group="Training pictures", help="Leave out near copies of training pictures."),
    ] = False
    known: Annotated[
        str | None,
        Option(
            metavar="SOURCE",
            group="Training pictures",
            default="where they were",
            help="Where the training pictures are, for --class and --novel.",
        ),
    ] = None


@dataclass(frozen=True)
class Layout:
    """How pictures are put together in one file."""

    columns: Annotated[
        int, Option(minimum=0, group="Output", help="Pictures in a row of the sheet; 0 for the squarest.")
    ] = 0
    size: Annotated[
        str | None,
        Option(metavar="1920x1080", group="Output", help="One wallpaper of all pictures."),
    ] = None
    tile: Annotated[
        bool, Option("--tile", group="Output", help="One texture of all pictures that repeats without a seam.")
    ] = False


def generate(
    model: AnyModel = None,
    *,
    drawing: Drawing,
    colours: Colours,
    training: TrainingPictures,
    layout: Layout,
    scale: Scale = 1.0,
    out: Out = None,
    device: Device = "cpu",
    precision: Annotated[
        str, Option(help="fp32, bf16 (quicker for many pictures, a few grey levels off) or auto.")
    ] = "fp32",
    spread: SpreadOptions,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make new pictures: a sheet (-o a.png, .jpg, .webp), a file each (-o folder/), or a wallpaper (--size, --tile).

    Without -o the result gets a new name, and without --seed it is new each time. Each picture carries how it was made:
    `betabloom info a.png` prints the command that makes it again.

    Examples:
      betabloom generate                                  # 64 new flowers from the bundled model
      betabloom generate runs/photos -n 16 --scale 4      # a larger sheet, from your own model
      betabloom generate -n 100 -o flowers/ --palette violet,gold
      betabloom generate -n 100000 -o many/ --processes 16
      betabloom generate -n 80 --size 1920x1080 -o wallpaper.png
    """
    asked = Request(
        **vars(drawing), **vars(colours), **vars(training), precision=precision, device=device, scale=scale,
        **vars(layout) | {"size": _canvas(layout.size)},
    ).checked()  # fmt: skip
    loaded = open_model(model, asked)
    asked = dataclasses.replace(asked, like=_two_colours(colours.like, loaded))
    path = free_path(out, f"generated-{asked.seed}.png", force, folder=not asked.size)
    refuse_overwriting_input(path, [colours.like] if colours.like else [])
    about = record_of(loaded, model, {})
    if spread.asked:
        count = _in_parts(model, asked, path, about, spread)
        facts = {"made": str(path), "n": count, "seed": asked.seed, "model": loaded.fingerprint}
        print_result(as_json, f"{counted(count, 'new picture')} (seed {asked.seed}): {path}", **facts)
        return
    made, count, details, wanted = _written(loaded, asked, path, about, as_json)
    what, facts = _summary(count, details, wanted)
    facts |= {"made": made, "n": count, "seed": asked.seed, "model": loaded.fingerprint}
    print_result(as_json, f"{what} (seed {asked.seed}): {path}", **facts)


def _written(
    model: Generator, asked: Request, path: Path, about: dict[str, Any], names: bool
) -> tuple[list[str], int, dict[str, list[Any]], str]:
    """Write a sheet or a folder: the files' names, how many pictures, what there is to say of each, the colours."""
    from betabloom.generate import writing
    from betabloom.system.signals import when_stopped

    if path.suffix and not path.is_dir():
        drawn = writing.write_sheet(model, asked, path, about)
        return [str(path)], len(drawn.numbers), drawn.details, drawn.wanted
    made: list[str] = []
    with when_stopped(lambda: _stopped_in(path, asked)):
        return made, *writing.write_files(model, asked, path, about, made if names else None)


def _stopped_in(folder: Path, asked: Request) -> str:
    """What a Ctrl-C leaves of a folder of pictures."""
    if not folder.is_dir():
        return ""
    return f"Stopped. The pictures made until then are in {folder}; the whole series again: --seed {asked.seed} --force"


def _in_parts(model: Path | None, asked: Request, folder: Path, about: dict[str, Any], spread: SpreadOptions) -> int:
    """Write a folder, by several processes or a cluster: how many pictures."""
    from betabloom.generate.parts import write_in_parts
    from betabloom.system.console import progress

    if folder.suffix and not folder.is_dir():
        raise UsageError("Several processes write a file each: -o folder/, and not one sheet.")
    with progress("generating", "pictures") as report:
        return write_in_parts(model, asked, folder, about, processes=spread.processes, ray=spread.ray, progress=report)


def _summary(count: int, details: dict[str, list[Any]], wanted: str) -> tuple[str, dict[str, Any]]:
    """What was made, in words and as facts: how many, and how many of them are as requested."""
    what = counted(count, "new picture")
    if not wanted:
        return what, dict(details)
    hits = sum(details["satisfied"])
    return f"{what}, {hits} of them {wanted}", {**details, "wished": wanted, "hits": hits, "hit_rate": hits / count}


def _two_colours(like: str | None, model: Generator) -> str | None:
    """What --like says, as two colours."""
    if like is None:
        return None
    from betabloom.generate.drawing import colours_like
    from betabloom.model.prepared import load_picture

    return colours_like(like, lambda path: load_picture(model, path))


def _canvas(size: str | None) -> tuple[int, int] | None:
    """Width and height of a large picture, or None."""
    if size is None:
        return None
    from betabloom.config import parse_size

    height, width = parse_size(size)
    return width, height
