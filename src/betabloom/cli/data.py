"""The commands that need no model: get, examine and show pictures."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from betabloom.cli.command import Argument, Option
from betabloom.cli.options import (
    Channels,
    Force,
    Json,
    Out,
    ReadingOptions,
    ShuffleOptions,
    counted,
    free_path,
    print_lines,
    print_result,
)
from betabloom.errors import UsageError
from betabloom.system.console import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from betabloom.data import Pipeline, Source

__all__ = ["fetch", "inspect", "preview"]

SourceArgument = Annotated[
    str | None, Argument("A folder, archive, table, hf:NAME, shards, drawn or flowers102.", "SOURCE")
]
Size = Annotated[str, Option(help="Side in pixels, or WIDTHxHEIGHT, of the pictures to train on.")]


def fetch(
    what: Annotated[str, Argument("", "flowers102")] = "flowers102",
    out: Annotated[Path | None, Option("-o", "--out", help="Folder that will hold flowers-102/.")] = None,
    as_json: Json = False,
) -> None:
    """Download the Oxford 102 flowers (345 MB), once."""
    from betabloom import data
    from betabloom.system.console import progress

    if what != "flowers102":
        raise UsageError(f"There is no data set {what!r} to fetch. Type: betabloom fetch flowers102")
    with progress("downloading", "bytes") as report:
        path = data.fetch_flowers102(out, progress=report)
    print_result(
        as_json, f"Flowers102 is in {path}. Train on it: betabloom train {shlex.quote(str(path))}", path=str(path)
    )


def inspect(
    source: SourceArgument = None,
    size: Size = "64",
    *,
    reading: ReadingOptions,
    quick: Annotated[bool, Option("--quick", help="Read headers only: no damage inside, no copies.")] = False,
    sheet: Annotated[Path | None, Option(metavar="PNG", help="Write a contact sheet.")] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Say what is in a folder or another source of pictures, what is wrong, and what to do."""
    from betabloom import data
    from betabloom.config import parse_size
    from betabloom.system.console import progress

    path = None if sheet is None else free_path(sheet, "sheet.png", force)
    opened = _open(source, reading.settings())
    with progress("looking", "pictures") as report_progress:
        report = data.inspect(opened, parse_size(size), quick=quick, progress=report_progress)
    if path is not None:
        _contact_sheet(opened, path)
    lines = report.text().splitlines() + ([] if path is None else [f"Contact sheet: {path}"])
    print_lines(as_json, lines, **report.to_dict(), sheet=None if path is None else str(path))


def preview(
    source: SourceArgument = None,
    pipeline: Annotated[str, Option(help="A name, steps like crop:150%,blur:1, or a .yaml file.")] = "square",
    size: Size = "64",
    channels: Channels = None,
    n: Annotated[int, Option("-n", minimum=1, help="How many pictures.")] = 16,
    *,
    order: ShuffleOptions,
    reading: ReadingOptions,
    out: Out = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Show what a pipeline makes of some pictures: each row of originals has the result below it."""
    import numpy as np

    from betabloom import data
    from betabloom.config import parse_size
    from betabloom.data.store.split import chosen_rows
    from betabloom.imaging import output, sheets

    path = free_path(out, "preview.png", force)
    target = parse_size(size)
    made = data.Pipeline.parse(pipeline, target, channels or 3)
    opened = _open(source, reading.settings())
    seed = order.chosen()
    every = np.arange(len(opened))
    first = chosen_rows(every, n, seed)  # where some of these cannot be used, others take their place
    after, chosen = _pictures(opened, made, [*first, *np.setdiff1d(every, first)], n)
    before, _ = _pictures(opened, data.Pipeline.named("pad", target, channels or 3), chosen, n)
    names = [printable(opened.names[index]) for index in chosen]
    record = {"verb": "preview", "source": opened.name, "pipeline": made.to_dict(), "pictures": names, "shuffle": seed}
    output.save_image(sheets.pairs(before, after), path, record)
    what = counted(len(names), "picture") + ("" if seed is None else f", chosen at random (seed {seed}),")
    sentence = f"{what} before and after '{made.name}': {path}"
    print_result(as_json, sentence, made=str(path), pictures=names, seed=seed)


def _open(source: str | None, options: dict[str, Any]) -> Source:
    """Open a source, or the first pictures of a stream."""
    from betabloom import data

    if source is not None and data.is_stream(source):
        return data.Head(data.open_stream(source, **options))
    return data.open_source(source, **options)


def _contact_sheet(source: Source, path: Path) -> None:
    """Write up to 100 usable pictures, evenly spread over the source."""
    from betabloom import data
    from betabloom.imaging import output, sheets

    order = range(0, len(source), max(1, -(-len(source) // 100)))
    pictures, chosen = _pictures(source, data.Pipeline.named("square", (96, 96)), order, 100)
    names = [printable(source.names[index]) for index in chosen]
    output.save_image(sheets.grid(pictures), path, {"verb": "inspect", "source": source.name, "pictures": names})


def _pictures(source: Source, pipeline: Pipeline, order: Iterable[int], at_most: int) -> tuple[np.ndarray, list[int]]:
    """Prepare the first usable pictures in an order; return them and their indices."""
    import numpy as np

    from betabloom.data.store.pieces import prepare_one
    from betabloom.errors import SourceError

    pictures, chosen = [], []
    for index in order:
        picture = prepare_one(source, pipeline, index)
        if not isinstance(picture, np.ndarray):
            continue
        pictures.append(picture)
        chosen.append(index)
        if len(chosen) == at_most:
            break
    if not chosen:
        raise SourceError(f"no usable picture in '{source.name}': there is nothing to show")
    return np.stack(pictures), chosen
