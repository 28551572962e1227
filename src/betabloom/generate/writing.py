"""Generated pictures as files: one sheet, one large picture, or a file each; all carry how they were made."""

from __future__ import annotations

import contextlib
import math
import shlex
from typing import TYPE_CHECKING, Any

from betabloom.errors import BetabloomError, UsageError
from betabloom.generate import drawing
from betabloom.imaging.files import write_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from PIL import Image

    from betabloom.generate.drawing import Described, Drawn
    from betabloom.generate.request import Request
    from betabloom.imaging.files import File
    from betabloom.model.generator import Generator

__all__ = ["LARGEST_SHEET", "check_sheet", "command_to_repeat", "image_of", "write_files", "write_sheet"]

LARGEST_SHEET = 1 << 30  # bytes


def check_sheet(request: Request, shape: tuple[int, ...]) -> None:
    """Refuse a sheet that is too large to hold, before anything is drawn.

    Arguments:
        request: What is asked for.
        shape: (C, H, W) of the model's pictures.
    """
    n = len(request.chosen()) if request.numbers is not None else request.n
    scale = 1.0 if request.size else request.scale
    if n * math.prod(shape) * max(1.0, scale) ** 2 > LARGEST_SHEET:
        raise BetabloomError(
            f"A sheet of {n:,} pictures does not fit in memory. Ask for fewer, or write each to a "
            "file of its own: -o folder/"
        )


def write_sheet(model: Generator, request: Request, path: Path, about: Mapping[str, Any]) -> Drawn:
    """Draw all pictures of a request into one image file.

    Arguments:
        model: What draws.
        request: `checked`.
        path: Where to; .png, .jpg or .webp.
        about: What the file says of the model, beside the request.

    Returns:
        What was drawn.
    """
    from betabloom.imaging.output import save_image

    check_sheet(request, model.config.shape)
    drawn = drawing.draw(model, request)
    columns = {} if request.size else {"columns": request.columns}
    save_image(image_of(drawn, request), path, {**request.record(), **about, **drawn.record(), **columns})
    return drawn


def image_of(drawn: Drawn, request: Request) -> Image.Image:
    """One image of all pictures: a sheet, or a large picture; of a single one, it is that picture enlarged."""
    if not request.size:
        from betabloom.imaging import sheets

        return sheets.grid(drawn.pictures, request.columns, scale=request.scale, crisp=drawn.crisp)
    from betabloom.imaging import wallpaper

    if len(drawn.pictures) == 1 and not request.tile:
        return wallpaper.resize_to_cover(drawn.pictures[0], *request.size)
    return wallpaper.meadow(drawn.pictures, *request.size, request.seed or 0)


def write_files(
    model: Generator, request: Request, folder: Path, about: Mapping[str, Any], made: list[str] | None = None
) -> tuple[int, dict[str, list[Any]], str]:
    """Draw the pictures of a request into a file each, some at a time, however many they are.

    Arguments:
        model: What draws.
        request: `checked`.
        folder: Made if it is not there.
        about: What each file says of the model, beside the request.
        made: Where the names of the files go, if they are wanted.

    Returns:
        How many were written, what there is to say of each of them, and what was asked of their colours, in words.
    """
    if request.size:
        raise UsageError("One large picture is one file. Name it with -o, for example -o wallpaper.png")
    series = drawing.Series(model, request)
    details: dict[str, list[Any]] = {}
    total = len(request.chosen()) if request.numbers is not None else request.n
    with _progress(total) as report:
        described = drawing.pieces(series)
        files = _files(described, request, {**request.record(), **about}, details, lambda done: report(done, total))
        count = write_each(files, folder, made, request.scale, model.pipeline.is_crisp)
    return count, details, series.wanted


def _progress(total: int) -> contextlib.AbstractContextManager[Callable[..., None]]:
    """A bar with the time left, where it takes long enough to be read."""
    if total <= drawing.MOST_AT_ONCE:
        return contextlib.nullcontext(lambda *_: None)
    from betabloom.system.console import progress

    return progress("generating", "pictures")


def _files(
    described: Iterator[Described],
    request: Request,
    record: Mapping[str, Any],
    details: dict[str, list[Any]],
    report: Callable[[int], None],
) -> Iterator[list[File]]:
    """Each picture with its name and record; adds what there is to say of them to `details`."""
    done = 0
    for pictures, numbers, own in described:
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


def command_to_repeat(record: Mapping[str, Any]) -> str:
    """The command that makes a generated picture again, from the record that it carries."""
    colours = ["palette", "hue", "like", "avoid"]
    plain = ["seed", "start", "temperature", "sampler", *colours, "class", "known", "size", "columns", "scale"]
    names = {"n": "-n", **{key: f"--{key}" for key in plain}}
    if "numbers" in record:
        names = {"numbers": "--numbers", **{key: name for key, name in names.items() if key not in ("n", "start")}}
    names |= {key: f"--{key}" for key, usual in (("device", "cpu"), ("precision", "fp32")) if record.get(key) != usual}
    options = [f"{option} {shlex.quote(str(record[key]))}" for key, option in names.items() if key in record]
    options += [f"--{key}" for key in ("colourful", "named", "tile") if record.get(key)]
    options += ["-o again/"] if record.get("alone") else []
    return " ".join(["betabloom generate", shlex.quote(str(record.get("model_path", "MODEL"))), *options])
