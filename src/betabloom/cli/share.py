"""`share`: a model as one HTML file."""

from __future__ import annotations

from typing import Annotated

from betabloom.cli.command import Option
from betabloom.cli.options import AnyModel, Force, Json, Out, free_path, print_result

__all__ = ["share"]


def share(
    model: AnyModel = None,
    out: Out = None,
    codes: Annotated[int, Option(minimum=16, help="How many codes the file holds.")] = 400,
    seed: Annotated[int, Option(minimum=0, help="Seed of those codes.")] = 0,
    title: Annotated[str, Option(help="Title of the page.")] = "",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write one HTML file that draws, varies and morphs pictures in any browser, offline, with nothing installed."""
    from betabloom.model.model import load
    from betabloom.reports.share import share as write
    from betabloom.system.console import progress

    path = free_path(out, "shared.html", force, (".html",))
    with progress("packing", "pictures") as report:
        facts = write(load(model), path, codes, seed, title, report)
    size = facts["bytes"] / 1e6
    print_result(as_json, f"A page of {size:.1f} MB: {path}. Open it in a browser.", made=str(path), **facts)
