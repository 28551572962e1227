"""The commands that need no model: get, examine and show pictures."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from betabloom.cli_options import Json, say
from betabloom.errors import UsageError

__all__ = ["app"]

app = typer.Typer()


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
