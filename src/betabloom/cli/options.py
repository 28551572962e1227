"""What all commands share: options that mean the same everywhere, where results go, and the line on stdout."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from betabloom.cli.command import Argument, Option
from betabloom.errors import UsageError
from betabloom.system.names import reserve_name

__all__ = [
    "IMAGES",
    "AnyModel",
    "Channels",
    "CommonOptions",
    "Device",
    "Force",
    "Json",
    "ModelArgument",
    "Out",
    "ReadingOptions",
    "Scale",
    "Seed",
    "ShuffleOptions",
    "SourceArgument",
    "Split",
    "SpreadOptions",
    "aligned",
    "counted",
    "free_export",
    "free_folder",
    "free_path",
    "print_lines",
    "print_result",
    "refuse_overwriting_input",
    "safe_name",
]

IMAGES = (".png", ".jpg", ".jpeg", ".webp")
SOURCES = "A folder, archive, table, hf:NAME, shards, drawn or flowers102"

ModelArgument = Annotated[
    Path, Argument("A run, a model directory, or a bundled model: flowers64, flowers128, oxford128.", "MODEL")
]
AnyModel = Annotated[
    Path | None,
    Argument("A run, a model directory, or a bundled model: flowers64 (default), flowers128, oxford128.", "MODEL"),
]
SourceArgument = Annotated[str | None, Argument(f"{SOURCES} (default).", "SOURCE")]
Channels = Annotated[int | None, Option(help="3 for colour, 1 for grey, 4 with transparency.", default="3")]
Split = Annotated[
    str | None, Option(metavar="NAME", help="Only the pictures of an official split: train, val or test.")
]
Out = Annotated[Path | None, Option("-o", "--out", default="a new name", help="Where the result goes.")]
Force = Annotated[bool, Option("--force", help="Replace a file that is there, or a result of betabloom.")]
Json = Annotated[bool, Option("--json", help="Print the result, or the error, as JSON.")]
Seed = Annotated[
    int | None,
    Option(minimum=0, default="a new one, which is printed", help="The same seed and model give the same pictures."),
]
Scale = Annotated[float, Option(minimum=0.05, maximum=64, help="Factor on the size of the pictures, for print.")]
Device = Annotated[str, Option(help="Where to compute: auto, cpu, cuda, mps …")]


@dataclass(frozen=True)
class CommonOptions:
    """What every command can be told that computes with a model and writes one result."""

    out: Out = None
    device: Device = "cpu"
    force: Force = False
    as_json: Json = False


@dataclass(frozen=True)
class ReadingOptions:
    """How pictures are read."""

    min_size: Annotated[int, Option(minimum=0, help="Leave out pictures with a side of fewer pixels.")] = 0
    background: Annotated[str | None, Option(help="Colour behind transparent pixels.", default="white")] = None
    levels: Annotated[str | None, Option(metavar="LOW,HIGH", help="Stored values of black and white, or auto.")] = None
    pages: Annotated[
        str | None, Option(help="first, or all pages and frames as pictures of their own.", default="first")
    ] = None
    exclude: Annotated[
        list[str] | None, Option(metavar="GLOB", help="Leave out files, as '*_mask.png' or 'old/*'; repeatable.")
    ] = None

    def settings(self) -> dict[str, Any]:
        """What was asked, as settings; what was not asked is left out."""
        given = vars(self) | {"exclude": ",".join(self.exclude) if self.exclude else None}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class SpreadOptions:
    """How much of the work is done side by side, and where; the result does not depend on it."""

    processes: Annotated[
        int, Option(minimum=1, group="Many pictures", help="How many processes share the work on this machine.")
    ] = 1
    ray: Annotated[
        str | None,
        Option(metavar="ADDRESS", group="Many pictures", help="Let a Ray cluster work: auto, its address, or local."),
    ] = None

    @property
    def asked(self) -> bool:
        """Whether other processes are to share the work."""
        return self.processes > 1 or self.ray is not None


@dataclass(frozen=True)
class ShuffleOptions:
    """Which pictures of many are shown."""

    shuffle: Annotated[bool, Option("--shuffle", help="Choose pictures at random instead of evenly spread ones.")] = (
        False
    )
    seed: Annotated[
        int | None,
        Option(minimum=0, default="a new one, which is printed", help="Seed of --shuffle, which it implies."),
    ] = None

    def chosen(self) -> int | None:
        """The seed of the random order; None for the order of the source."""
        from betabloom.seeds import new_seed

        return new_seed() if self.shuffle and self.seed is None else self.seed


def print_result(as_json: bool, sentence: str, /, **facts: Any) -> None:
    """Print the one line that a command prints on stdout."""
    print_lines(as_json, [sentence], **facts)


def print_lines(as_json: bool, lines: Iterable[str], /, **facts: Any) -> None:
    """Print lines, whatever the names in them are made of: a control character cannot begin another line.

    As JSON, what is not ASCII is escaped, so that it is JSON in whatever encoding stdout has.
    """
    from betabloom.system.atomic import with_null
    from betabloom.system.console import printable

    print(json.dumps(with_null(facts)) if as_json else "\n".join(printable(line, 10_000) for line in lines))  # noqa: T201


def counted(count: int, what: str) -> str:
    """Write "1 picture" or "2,000 pictures"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose columns stand under one another, whatever the names in its cells are made of."""
    from betabloom.system.console import printable

    cells = [[printable(cell, 10_000) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def free_path(
    out: Path | None, usual: str, force: bool, suffixes: Sequence[str] = IMAGES, folder: bool = False
) -> Path:
    """Return where a result may be written.

    Arguments:
        out: What the person typed after -o; None for the usual name, or the next one that is free.
        usual: That name.
        force: Whether a file that is there may be replaced.
        suffixes: How a result in one file may end.
        folder: Whether the result may also be a folder of files: a name without an ending, or a folder that exists.

    Raises:
        UsageError: Something is there, or the name is not one for such a result.
    """
    path = _unused(Path(usual)) if out is None else out
    if path.name.startswith("-"):
        raise UsageError(f"{path} is no name for a file: betabloom does not write to stdout. Example: -o {usual}")
    if any((path / name).exists() for name in ("config.yaml", "config.json")):
        raise UsageError(f"{path} is a run or a model. Choose another name with -o.")
    as_folder = folder and (path.is_dir() or not path.suffix)
    if not as_folder and path.suffix.lower() not in suffixes:
        what = f"a {', '.join(suffixes[:-1])} or {suffixes[-1]} file" if len(suffixes) > 1 else f"a {suffixes[0]} file"
        what += " or a folder" if folder else ""
        raise UsageError(f"The result is {what}: -o {path.stem or 'result'}{suffixes[0]}, not {path}.")
    _reserve(path, force)
    if path.exists() and not force and (path.is_file() or any(path.iterdir())):
        raise UsageError(f"{path} exists already. Choose another name with -o, or type --force to replace it.")
    if not as_folder and path.is_dir():
        raise UsageError(f"{path} is a folder. Name a file in it: -o {path}/{usual}")
    if not as_folder and not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent} to write {path.name} in.")
    return path


def _unused(path: Path) -> Path:
    """The path, or the first of name-2, name-3 … that is not taken, and that nobody else is about to write."""
    names = itertools.chain([path], (path.with_name(f"{path.stem}-{i}{path.suffix}") for i in itertools.count(2)))
    return next(
        each for each in names if not os.path.lexists(each) and reserve_name(each) and not os.path.lexists(each)
    )


def _reserve(path: Path, force: bool) -> None:
    """Refuse a name that another program is about to write, unless it may be replaced."""
    if not (force or reserve_name(path)):
        raise UsageError(f"Another program is writing {path} now. Choose another name with -o.")


def free_folder(out: Path | None, usual: Path, force: bool) -> Path:
    """Return where a model may be written: a new folder, or with --force one that holds an earlier model.

    Raises:
        UsageError: Something else is there.
    """
    path = _new_folder(out, usual, force)
    if path.exists():
        from betabloom.model.directory import MODEL

        MODEL.check(path)
    return path


def free_export(out: Path | None, usual: Path, force: bool) -> Path:
    """The same for what is exported."""
    path = _new_folder(out, usual, force)
    if path.exists():
        from betabloom.export.folder import EXPORT

        EXPORT.check(path)
    return path


def _new_folder(out: Path | None, usual: Path, force: bool) -> Path:
    path = _unused(usual) if out is None else out
    if path.name.startswith("-"):
        raise UsageError(f"{path} is no name for a folder. Example: -o {usual}")
    _reserve(path, force)
    if path.exists() and not force:
        raise UsageError(f"{path} exists already. Choose another name with -o, or type --force to replace it.")
    return path


def safe_name(typed: str) -> str:
    """A file name on every system, made of what was typed: ASCII letters, digits, dots, pluses and dashes."""
    return re.sub(r"[^\w.+]+", "-", Path(typed).name, flags=re.ASCII).strip("-.")[:60] or "pictures"


def refuse_overwriting_input(path: Path, inputs: Sequence[str | Path]) -> None:
    """Refuse to write a result over what it is made from."""
    for given in inputs:
        if path.exists() and Path(given).exists() and path.samefile(given):
            raise UsageError(f"{path} is what the result is made from. Choose another name with -o.")
