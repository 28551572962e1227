"""`betabloom generate`: new pictures, in colours on request, as sheets, files or one large picture."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from betabloom.cli.options import (
    AnyModel,
    Device,
    Force,
    Json,
    Out,
    Seed,
    free_path,
    print_result,
    refuse_overwriting_input,
)
from betabloom.cli.pictures import load_model, read_pictures, record_of
from betabloom.cli.plain import Plain
from betabloom.errors import BetabloomError, UsageError
from betabloom.imaging.files import write_each
from betabloom.model.training_pictures import training_pictures
from betabloom.seeds import BATCH, numbers_text, parse_numbers, pieces_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from PIL import Image

    from betabloom.cli.pictures import File
    from betabloom.generate.colours import ColourTarget
    from betabloom.model.generator import Generator
    from betabloom.seeds import Piece

    Described = tuple[np.ndarray, list[int], dict[str, list[Any]]]

__all__ = ["app", "command_to_repeat"]

app = typer.Typer()

TILE_SIZE = "512x512"
LARGEST_SHEET = 1 << 32  # bytes
MOST_AT_ONCE = 8 * BATCH  # pictures that are drawn before they are written: whole batches, so that it changes nothing
BYTES_AT_ONCE = 1 << 23  # bytes of them, where pictures are large


@app.command(cls=Plain)
def generate(
    model: AnyModel = None,
    n: Annotated[int, typer.Option("-n", min=1, help="How many pictures.")] = 64,
    seed: Seed = 0,
    start: Annotated[int, typer.Option(min=0, help="Number of the first picture in the seed's series.")] = 0,
    temperature: Annotated[float, typer.Option(help="Below 1 more typical, above 1 more unusual.")] = 1.0,
    sampler: Annotated[str, typer.Option(help="auto, prior, gaussian, mixture, parzen or flow.")] = "auto",
    palette: Annotated[str | None, typer.Option(help="violet,gold: some of each. violet+gold: both in each.")] = None,
    hue: Annotated[float | None, typer.Option(help="Hue of the centre: 0 red, 0.33 green, 0.67 blue, 1 red.")] = None,
    like: Annotated[str | None, typer.Option(metavar="PICTURE", help="In the colours of a picture.")] = None,
    colourful: Annotated[bool, typer.Option("--colourful", help="Colourful ones.")] = False,
    avoid: Annotated[str | None, typer.Option(help="Colours to keep out, as green,brown.")] = None,
    named: Annotated[bool, typer.Option("--named", help="Name the pictures by their colours.")] = False,
    size: Annotated[str | None, typer.Option(help="One wallpaper of all, as 1920x1080.")] = None,
    tile: Annotated[bool, typer.Option("--tile", help="One texture of all, without a seam when repeated.")] = False,
    novel: Annotated[bool, typer.Option("--novel", help="Leave out near copies of training pictures.")] = False,
    known: Annotated[str | None, typer.Option(metavar="SOURCE", help="Where those are, for --novel.")] = None,
    numbers: Annotated[str | None, typer.Option(metavar="0-5,8", help="These pictures of the seed's series.")] = None,
    columns: Annotated[int, typer.Option(min=0, help="Pictures in a row of the grid; 0 for square.")] = 0,
    out: Out = None,
    device: Device = "cpu",
    precision: Annotated[str, typer.Option(help="bf16 is quicker for many, some grey levels off; auto.")] = "fp32",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make new pictures: a grid (-o a.png), one file each (-o folder/), or one large picture (--size, --tile)."""
    path = free_path(out or Path(f"generated-{seed}.png"), force, folder=not (size or tile))
    refuse_overwriting_input(path, [like] if like else [])
    canvas = _canvas(size or (TILE_SIZE if tile else None))
    in_colours = colourful or any(each is not None for each in (palette, hue, like, avoid))
    only_novel = novel or known is not None
    precision = _settled(precision, device)
    if in_colours and precision != "fp32":
        raise UsageError("Colours are searched for in fp32: leave out --precision.")
    loaded = _open(model, device, in_colours or precision != "fp32", only_novel)
    like = _two_colours(like, loaded)
    targets, wanted = _colour_targets(palette, hue, like, colourful, avoid) if in_colours else ([], "")
    series = _Series(loaded, targets, seed, temperature, sampler, precision)
    pieces = series.described(_pieces(series, n, start, numbers, only_novel, known), named)
    options = {"palette": palette, "hue": hue, "like": like, "colourful": colourful, "avoid": avoid, "named": named}
    options |= {"precision": precision if precision != "fp32" else None}
    options |= {"size": f"{canvas[0]}x{canvas[1]}" if canvas else None, "tile": tile}
    record = {"verb": "generate", "seed": seed, "temperature": temperature, "sampler": sampler}
    record = record_of(loaded, model, record | {k: value for k, value in options.items() if value not in (None, False)})
    made: list[str] = []
    details: dict[str, list[Any]] = {}
    if path.suffix and not path.is_dir():
        _fits(n, loaded.config.shape)
        pictures, chosen, details = _joined(pieces)
        count, made = len(chosen), [str(path)]
        record |= {"n": count, **_numbering(chosen), **details}
        _save(pictures, canvas, columns, path, record, seed, tile)
    else:
        total = len(parse_numbers(numbers)) if numbers else n
        with _progress(total) as report:
            files = _files(pieces, record, details, lambda done: report(done, total))
            count = write_each(files, path, made if as_json else None)
    what, facts = _summary(count, details, wanted)
    print_result(as_json, f"{what}: {path}", made=made, n=count, seed=seed, model=loaded.fingerprint, **facts)


def _summary(count: int, details: dict[str, list[Any]], wanted: str) -> tuple[str, dict[str, Any]]:
    """What was made, in words and as facts: how many, and how many of them are as requested."""
    what = f"{count} new pictures" if count > 1 else "1 new picture"
    if not wanted:
        return what, dict(details)
    hits = sum(details["satisfied"])
    return f"{what}, {hits} of them {wanted}", {**details, "wished": wanted, "hits": hits, "hit_rate": hits / count}


def _settled(precision: str, device: str) -> str:
    """The precision that is meant here, so that a picture can say how it was made."""
    if precision == "fp32":
        return precision
    from betabloom.system.hardware import choose_device, choose_precision, precision_name

    return precision_name(choose_precision(precision, choose_device(device)))


def _open(path: Path | None, device: str, needs_torch: bool, only_novel: bool) -> Generator:
    """The model, without torch where that will do: importing it takes longer than drawing."""
    if device == "cpu" and not needs_torch:
        if not only_novel and "numpy" not in sys.modules:  # `NumpyModel` shares the work among threads of its own
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        from betabloom.model.without_torch import open_without_torch

        lean = open_without_torch(path)
        if lean:
            return lean
    return load_model(path, device)


class _Series:
    """The pictures of a seed by their numbers; remembers which of them are as requested."""

    def __init__(
        self,
        model: Generator,
        targets: list[list[ColourTarget]],
        seed: int,
        temperature: float,
        sampler: str,
        precision: str,
    ) -> None:
        self.model = model
        self.targets = targets
        self.satisfied: dict[int, bool] = {}
        self._how = seed, temperature, sampler
        self._precisely = {} if precision == "fp32" else {"precision": precision}

    def __call__(self, first: int, count: int) -> np.ndarray:
        seed, temperature, sampler = self._how
        if not self.targets:
            return self.model.generate(count, seed, temperature, first, sampler, **self._precisely)
        from betabloom.generate.code_search import search
        from betabloom.model.model import Model
        from betabloom.system.console import progress

        assert isinstance(self.model, Model)  # noqa: S101  (for the type checker: `_open` saw to it)
        with progress("searching", "pictures") as report:
            density = self.model.density(sampler)
            found = search(self.model.vae, self.targets, count, seed, temperature, first, density, report)
        self.satisfied |= dict(zip(range(first, first + count), found.satisfied.tolist(), strict=True))
        return found.pictures

    def described(self, pieces: Iterator[Piece], named: bool) -> Iterator[Described]:
        """The pieces, each with what there is to say of every picture."""
        for pictures, numbers in pieces:
            details: dict[str, list[Any]] = {}
            if self.targets:
                details["satisfied"] = [self.satisfied[i] for i in numbers]
                self.satisfied.clear()
            if named:
                details["name"] = _names(pictures)
            yield pictures, numbers, details


def _pieces(
    series: _Series, n: int, start: int, numbers: str | None, only_novel: bool, known: str | None
) -> Iterator[Piece]:
    """The pictures with their numbers in the series, some at a time."""
    if numbers is not None and only_novel:
        raise UsageError("--numbers names the pictures, so --novel has no choice. Leave one of them out.")
    if not only_novel:
        chosen = parse_numbers(numbers) if numbers is not None else range(start, start + n)
        return pieces_of(series, chosen, _at_once(series.model))
    from betabloom.generate import novel

    d = series.model.config.data
    judge = novel.Novelty.of(training_pictures(series.model, known), d.split, d.holdout)
    return _counted(novel.novel_pieces(series, judge, n, start), n, start)


def _counted(pieces: Iterator[Piece], n: int, start: int) -> Iterator[Piece]:
    """The same, and in the end a line that says how many pictures were left out."""
    last = start - 1
    for pictures, numbers in pieces:
        last = numbers[-1]
        yield pictures, numbers
    print(f"betabloom: {last + 1 - start - n} near copies of training pictures left out", file=sys.stderr)  # noqa: T201


def _at_once(model: Generator) -> int:
    """How many pictures are in memory at a time: whole batches, some megabytes of them."""
    return min(MOST_AT_ONCE, max(BATCH, BYTES_AT_ONCE // math.prod(model.config.shape) // BATCH * BATCH))


def _progress(total: int) -> contextlib.AbstractContextManager[Callable[..., None]]:
    """A bar with the time left, where it takes long enough to be read."""
    if total <= MOST_AT_ONCE:
        return contextlib.nullcontext(lambda *_: None)
    from betabloom.system.console import progress

    return progress("generating", "pictures")


def _fits(n: int, shape: tuple[int, ...]) -> None:
    """Refuse a sheet that is too large to hold, before it is drawn."""
    if n * math.prod(shape) > LARGEST_SHEET:
        raise BetabloomError(f"A sheet of {n:,} pictures does not fit in memory. Write a file each: -o folder/")


def _joined(pieces: Iterator[Described]) -> tuple[np.ndarray, list[int], dict[str, list[Any]]]:
    """All pieces in one."""
    import numpy as np

    every = list(pieces)
    details = {key: [value for piece in every for value in piece[2][key]] for key in every[0][2]}
    return np.concatenate([piece[0] for piece in every]), [i for piece in every for i in piece[1]], details


def _numbering(chosen: list[int]) -> dict[str, Any]:
    """What says which numbers of the series were chosen."""
    if chosen == list(range(chosen[0], chosen[0] + len(chosen))):
        return {"start": chosen[0]}
    return {"start": chosen[0], "numbers": numbers_text(chosen)}


def _files(
    pieces: Iterator[Described], record: dict[str, Any], details: dict[str, list[Any]], report: Callable[[int], None]
) -> Iterator[list[File]]:
    """Each picture with its name and record; adds what there is to say of them to `details`."""
    done = 0
    for pictures, numbers, own in pieces:
        for key, values in own.items():
            details.setdefault(key, []).extend(values)
        names = [each.replace(", ", "-").replace(" ", "-") for each in own.get("name", [])] or numbers
        each_own = [{key: values[place] for key, values in own.items()} for place in range(len(numbers))]
        yield [
            (name, picture, {**record, "n": 1, "start": number, **of_it, "alone": True})
            for name, picture, number, of_it in zip(names, pictures, numbers, each_own, strict=True)
        ]
        done += len(numbers)
        report(done)


def _colour_targets(
    palette: str | None, hue: float | None, like: str | None, colourful: bool, avoid: str | None
) -> tuple[list[list[ColourTarget]], str]:
    """What the options target, for each colour of the palette, and the same in words."""
    from betabloom.generate import colours

    if sum(each is not None for each in (palette, hue, like)) > 1:
        raise UsageError("--palette, --hue and --like each say what the colours are: choose one of them.")
    common: list[ColourTarget] = []
    if hue is not None:
        common.append(colours.of_hue(hue))
    if like is not None:
        common.append(colours.like(like))
    if colourful:
        common.append(colours.colourful())
    if avoid is not None:
        common += colours.avoid(avoid)
    kinds = colours.palette(palette) if palette is not None else [[]]
    texts = [" or ".join("+".join(each.text for each in kind) for kind in kinds)] + [each.text for each in common]
    return [kind + common for kind in kinds if kind or common], ", ".join(text for text in texts if text)


def _two_colours(like: str | None, model: Generator) -> str | None:
    """What --like says: two colours, or a picture, of which the colours of centre and surroundings are taken."""
    if like is None or like.startswith("#"):
        return like
    from betabloom.generate.colours import hex_colours

    if not Path(like).is_file():
        raise UsageError(f"There is no picture file {like}.")
    return hex_colours(read_pictures([like], model, 1)[0][0])


def _names(pictures: np.ndarray) -> list[str]:
    from betabloom.imaging.names import picture_name

    return [picture_name(picture) for picture in pictures]


def _canvas(size: str | None) -> tuple[int, int] | None:
    """Width and height of a large picture, or None."""
    if size is None:
        return None
    from betabloom.config import parse_size
    from betabloom.imaging.wallpaper import check_size

    height, width = parse_size(size)
    check_size(width, height)
    return width, height


def _save(
    pictures: np.ndarray,
    canvas: tuple[int, int] | None,
    columns: int,
    path: Path,
    record: dict[str, Any],
    seed: int,
    tile: bool,
) -> None:
    """Write a grid, or one large picture of all; of a single one, it is that picture enlarged."""
    from betabloom.imaging import png, sheets

    if not canvas:
        png.save_png(sheets.grid(pictures, columns), path, {**record, "columns": columns})
        return
    from betabloom.imaging import wallpaper

    image: Image.Image
    if len(pictures) == 1 and not tile:
        image = wallpaper.resize_to_cover(pictures[0], *canvas)
    else:
        image = wallpaper.meadow(pictures, *canvas, seed)
    png.save_png(image, path, record)


def command_to_repeat(record: dict[str, Any]) -> str:
    """The command that makes a generated picture again."""
    colours = ["palette", "hue", "like", "avoid"]
    plain = ["seed", "start", "temperature", "sampler", "precision", *colours, "size", "columns"]
    names = {"n": "-n", **{key: f"--{key}" for key in plain}}
    if "numbers" in record:
        names = {"numbers": "--numbers", **{key: name for key, name in names.items() if key not in ("n", "start")}}
    options = [f"{option} {shlex.quote(str(record[key]))}" for key, option in names.items() if key in record]
    options += [f"--{key}" for key in ("colourful", "named", "tile") if record.get(key)]
    options += ["-o again/"] if record.get("alone") else []
    return " ".join(["betabloom generate", shlex.quote(str(record.get("model_path", "MODEL"))), *options])
