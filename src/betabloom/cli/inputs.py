"""What the commands that work with codes share: [MODEL] and points, where results go, and what they record."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from betabloom.cli.options import free_path, refuse_overwriting_input
from betabloom.cli.pictures import load_model, record_of
from betabloom.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from betabloom.model.generator import Generator

__all__ = [
    "Fps",
    "NewSeed",
    "Points",
    "Scale",
    "chosen_seed",
    "free_result",
    "open_generator",
    "split_model",
    "write_frames",
    "write_sheet",
]

Points = Annotated[
    list[str] | None,
    typer.Argument(metavar="[MODEL] POINTS", help="Picture files, code files (.npz), seeds (seed:7, seed:7/3)."),
]
NewSeed = Annotated[
    int | None, typer.Option("--seed", min=0, help="Same seed, same result; without it a new one each time.")
]
Fps = Annotated[float, typer.Option(help="Frames in a second of an animation.")]
Scale = Annotated[int, typer.Option(min=1, max=16, help="Enlarges the frames of an animation.")]


def split_model(words: Sequence[str] | None) -> tuple[Path | None, list[str]]:
    """The model, if the first word names one, and the rest."""
    from betabloom.model.directory import is_bundled

    given = list(words or [])
    if given and not given[0].startswith("seed:"):
        path = Path(given[0])
        is_model = any((path / name).is_file() for name in ("config.json", "model/config.json"))
        if is_model or (is_bundled(path) and not path.exists()):
            return path, given[1:]
    return None, given


def open_generator(path: Path | None, device: str) -> Generator:
    """The model, without torch where that will do: importing it takes longer than drawing."""
    if device == "cpu":
        if "numpy" not in sys.modules:  # the model shares the work among threads of its own
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        from betabloom.model.without_torch import ENCODED, open_without_torch

        light = open_without_torch(path)
        if light and light.config.model.posterior in ENCODED:
            return light
    return load_model(path, device)


def chosen_seed(seed: int | None) -> int:
    """The seed that was asked for, or a new one."""
    from betabloom.seeds import new_seed

    return new_seed() if seed is None else seed


def free_result(out: Path | None, name: str, suffixes: Sequence[str], force: bool, inputs: Sequence[str] = ()) -> Path:
    """Where a result goes: `out` if it has one of the endings and is free, or else a new name.

    Arguments:
        out: What the person typed after -o.
        name: The name, with its ending, of results that were given none; numbered where it exists.
        suffixes: Endings that the result can have.
        force: Whether what is there may be replaced.
        inputs: Files that it must not replace.
    """
    if out is None:
        plain = Path(name)
        names = itertools.chain([plain], (plain.with_stem(f"{plain.stem}-{i}") for i in itertools.count(2)))
        return next(each for each in names if not each.exists())
    suffix = out.suffix.lower()
    if suffix not in suffixes:
        endings = " or ".join(suffixes)
        raise UsageError(f"The result is a {endings} file: -o {out.stem or 'result'}{suffixes[0]}, not {out}.")
    path = free_path(out, force, suffix)
    refuse_overwriting_input(path, [each for each in inputs if Path(each).is_file()])
    return path


def write_sheet(
    pictures: np.ndarray,
    path: Path,
    model: Generator,
    model_path: Path | None,
    facts: Mapping[str, Any],
    columns: int = 0,
) -> None:
    """Write pictures as one PNG sheet that says how it was made."""
    from betabloom.imaging import png, sheets

    record = record_of(model, model_path, {**facts, "n": len(pictures), "columns": columns})
    png.save_png(sheets.grid(pictures, columns), path, record)


def write_frames(
    frames: np.ndarray,
    path: Path,
    model: Generator,
    model_path: Path | None,
    facts: Mapping[str, Any],
    fps: float,
    scale: int,
) -> None:
    """Write frames as an animation that says how it was made."""
    from betabloom.imaging.animation import enlarge_frames, save_animation

    record = record_of(model, model_path, {**facts, "frames": len(frames), "fps": fps, "scale": scale})
    save_animation(enlarge_frames(frames, scale), path, record, fps)
