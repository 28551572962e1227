"""What the commands that work with codes share: [MODEL] and points, where results go, and what they record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from betabloom.cli.command import Argument, Option
from betabloom.cli.options import free_path, refuse_overwriting_input
from betabloom.cli.pictures import is_model, load_model, record_of

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
    Argument("Picture files, code files (.npz, .csv, .parquet), seeds (seed:7, seed:7/3).", "[MODEL] POINTS"),
]
NewSeed = Annotated[
    int | None, Option("--seed", minimum=0, help="Same seed, same result; without it a new one each time.")
]
Fps = Annotated[float, Option(help="Frames in a second of an animation.")]
Scale = Annotated[int, Option(minimum=1, maximum=16, help="Factor by which the frames of an animation are enlarged.")]


def split_model(words: Sequence[str] | None) -> tuple[Path | None, list[str]]:
    """The model, if the first word names one, and the rest."""
    given = list(words or [])
    return (Path(given[0]), given[1:]) if given and is_model(Path(given[0])) else (None, given)


def open_generator(path: Path | None, device: str) -> Generator:
    """The model, without torch where that will do: importing it takes longer than drawing."""
    if device == "cpu":
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
    path = free_path(out, name, force, suffixes)
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
    """Write pictures as one sheet that says how it was made."""
    from betabloom.imaging import output, sheets

    record = record_of(model, model_path, {**facts, "n": len(pictures), "columns": columns})
    output.save_image(sheets.grid(pictures, columns), path, record)


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
    from betabloom.imaging import sheets
    from betabloom.imaging.animation import save_animation

    record = record_of(model, model_path, {**facts, "frames": len(frames), "fps": fps, "scale": scale})
    save_animation(sheets.scaled(frames, scale, model.pipeline.is_crisp), path, record, fps)
