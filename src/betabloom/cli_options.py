"""What all commands share: options that mean the same everywhere, and the one line on stdout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from betabloom.errors import UsageError

__all__ = ["Device", "Force", "Json", "ModelArgument", "Out", "Pictures", "Seed", "free_path", "say"]

ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help="A run directory or a model directory.")]
Pictures = Annotated[list[str], typer.Argument(metavar="PICTURES", help="Picture files, or one folder or source.")]
Out = Annotated[Path | None, typer.Option("-o", "--out", help="Where the result goes.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Seed = Annotated[int, typer.Option(min=0, help="Names the pictures: same seed, same model, same pictures.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, mps …")]


def say(as_json: bool, sentence: str, **facts: Any) -> None:
    """Print the one line that a command prints on stdout."""
    print(json.dumps(facts, ensure_ascii=False) if as_json else sentence)  # noqa: T201


def free_path(path: Path, force: bool) -> Path:
    """Return the path if it may be written."""
    if path.exists() and not force and (path.is_file() or any(path.iterdir())):
        raise UsageError(f"{path} exists already. Choose another name with -o, or type --force to replace it.")
    if path.suffix and not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent} to write {path.name} in.")
    return path
