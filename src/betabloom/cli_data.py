"""The commands that need no model: get, examine and show pictures."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from betabloom.cli_options import Force, Json, free_path, say
from betabloom.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from betabloom.data import Pipeline, Source

__all__ = ["app"]

app = typer.Typer()

SourceArgument = Annotated[
    str | None, typer.Argument(metavar="SOURCE", help="A folder, archive, table, hf:NAME, drawn or flowers102.")
]
MinSize = Annotated[int, typer.Option(min=0, help="Leave out pictures with a side of fewer pixels.")]
Size = Annotated[str, typer.Option(help="Side in pixels, or WIDTHxHEIGHT, of the pictures to train on.")]


@app.command()
def fetch(
    what: Annotated[str, typer.Argument(metavar="flowers102")] = "flowers102",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder that will hold flowers-102/.")] = None,
    as_json: Json = False,
) -> None:
    """Download the Oxford 102 flowers (345 MB), once."""
    from betabloom import data
    from betabloom.console import progress

    if what != "flowers102":
        raise UsageError(f"There is no data set {what!r} to fetch. Type: betabloom fetch flowers102")
    with progress("downloading", "bytes") as report:
        path = data.fetch_flowers102(out, progress=report)
    say(as_json, f"Flowers102 is in {path}. Train on it: betabloom train {shlex.quote(str(path))}", path=str(path))


@app.command()
def inspect(
    source: SourceArgument = None,
    size: Size = "64",
    min_size: MinSize = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Read headers only: no damage inside, no copies.")] = False,
    sheet: Annotated[Path | None, typer.Option(metavar="PNG", help="Write a contact sheet.")] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Say what is in a folder or another source of pictures, what is wrong, and what to do."""
    from betabloom import data
    from betabloom.config import parse_size
    from betabloom.console import progress

    path = None if sheet is None else free_path(sheet, force)
    opened = data.open_source(source, min_size=min_size)
    with progress("looking", "pictures") as report_progress:
        report = data.inspect(opened, parse_size(size), quick=quick, progress=report_progress)
    if path is not None:
        _contact_sheet(opened, path)
    text = report.text() if path is None else f"{report.text()}\nContact sheet: {path}"
    say(as_json, text, **report.to_dict(), sheet=None if path is None else str(path))


def _contact_sheet(source: Source, path: Path) -> None:
    """Write up to 100 usable pictures, evenly spread over the source."""
    from betabloom import data, plot

    count = len(source)
    order = range(0, count, max(1, -(-count // 100)))
    pictures, names = _pictures(source, data.Pipeline.named("square", (96, 96)), order, 100)
    plot.save_png(plot.grid(pictures), path, {"verb": "inspect", "source": source.name, "pictures": names})


def _pictures(source: Source, pipeline: Pipeline, order: range, at_most: int) -> tuple[np.ndarray, list[str]]:
    """Prepare the first usable pictures in an order; return them and their names."""
    import numpy as np

    from betabloom.data import shown
    from betabloom.errors import PictureError, SourceError

    pictures, names = [], []
    for index in order:
        try:
            pictures.append(pipeline(source.read(index)))
        except PictureError:
            continue
        names.append(shown(source.names[index]))
        if len(names) == at_most:
            break
    if not names:
        raise SourceError(f"not one usable picture in '{source.name}': there is nothing to show")
    return np.stack(pictures), names
