"""What all commands share: options that mean the same everywhere, and the one line on stdout."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from betabloom.errors import UsageError

__all__ = [
    "AnyModel",
    "Background",
    "Channels",
    "Device",
    "Exclude",
    "Force",
    "Json",
    "Levels",
    "ModelArgument",
    "Out",
    "Pages",
    "Pictures",
    "Seed",
    "aligned",
    "free_path",
    "print_lines",
    "print_result",
    "reading_options",
    "refuse_overwriting_input",
]

ModelArgument = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A run, model directory, flowers64, flowers128 or oxford128.")
]
AnyModel = Annotated[
    Path | None,
    typer.Argument(
        metavar="MODEL",
        help="A run, model directory, flowers128 or oxford128; flowers64, which comes along, if none.",
    ),
]
Pictures = Annotated[list[str], typer.Argument(metavar="PICTURES", help="Picture files, or one folder or source.")]
Out = Annotated[Path | None, typer.Option("-o", "--out", help="Where the result goes.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Seed = Annotated[int, typer.Option(min=0, help="Names the pictures: same seed, same model, same pictures.")]
Channels = Annotated[int | None, typer.Option(help="3 for colour (default), 1 for grey, 4 with transparency.")]
Background = Annotated[str | None, typer.Option(help="Colour behind transparent pixels; white if left out.")]
Levels = Annotated[str | None, typer.Option(metavar="LOW,HIGH", help="Stored values of black and white, or auto.")]
Pages = Annotated[str | None, typer.Option(help="first, or all pages and frames as pictures of their own.")]
Exclude = Annotated[
    list[str] | None, typer.Option(metavar="GLOB", help="Leave out files, as '*_mask.png' or 'old/*'; repeatable.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, mps …")]


def reading_options(
    background: str | None, min_size: int | None, levels: str | None, pages: str | None, exclude: list[str] | None
) -> dict[str, Any]:
    """What was asked about how pictures are read, as settings; what was not asked is left out."""
    given = {"background": background, "min_size": min_size, "levels": levels, "pages": pages}
    given["exclude"] = ",".join(exclude) if exclude else None
    return {name: value for name, value in given.items() if value is not None}


def print_result(as_json: bool, sentence: str, /, **facts: Any) -> None:
    """Print the one line that a command prints on stdout."""
    print_lines(as_json, [sentence], **facts)


def print_lines(as_json: bool, lines: Iterable[str], /, **facts: Any) -> None:
    """Print lines, whatever the names in them are made of: a control character cannot begin another line."""
    from betabloom.system.console import printable

    print(json.dumps(facts, ensure_ascii=False) if as_json else "\n".join(printable(line, 10_000) for line in lines))  # noqa: T201


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose columns stand under one another, whatever the names in its cells are made of."""
    from betabloom.system.console import printable

    cells = [[printable(cell, 10_000) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def free_path(path: Path, force: bool, suffix: str = ".png", folder: bool = False) -> Path:
    """Return the path if the result may be written there.

    Arguments:
        path: What the person typed after -o.
        force: Whether what is there may be replaced.
        suffix: How a result in one file ends.
        folder: Whether the result may also be a folder of files: a name without an ending, or a folder that exists.
    """
    if any((path / name).exists() for name in ("config.yaml", "config.json")):
        raise UsageError(f"{path} is a run or a model. Choose another name with -o.")
    as_folder = folder and (path.is_dir() or not path.suffix)
    if not as_folder and path.suffix.lower() != suffix:
        what = f"a {suffix} file" + (" or a folder" if folder else "")
        raise UsageError(f"The result is {what}: -o {path.stem or 'result'}{suffix}, not {path}.")
    if path.exists() and not force and (path.is_file() or any(path.iterdir())):
        raise UsageError(f"{path} exists already. Choose another name with -o, or type --force to replace it.")
    if not as_folder and (path.is_dir() or not path.parent.is_dir()):
        raise UsageError(f"There is no folder {path.parent} to write {path.name} in, or {path.name} is a folder.")
    return path


def refuse_overwriting_input(path: Path, inputs: Sequence[str | Path]) -> None:
    """Refuse to write a result over what it is made from."""
    for given in inputs:
        if path.exists() and Path(given).exists() and path.samefile(given):
            raise UsageError(f"{path} is what the result is made from. Choose another name with -o.")
