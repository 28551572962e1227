"""What the commands with a model share: open it, tell it from pictures, write pictures that say how they were made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from betabloom.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from betabloom.model.generator import Generator
    from betabloom.model.model import Model

__all__ = ["is_model", "load_model", "model_and_pictures", "record_of", "write_pictures"]


def load_model(path: Path | None, device: str) -> Model:
    """The model at a path, on a device."""
    from betabloom.model.model import load
    from betabloom.system.hardware import choose_device

    return load(path, str(choose_device(device)))


def model_and_pictures(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Tell the model from the pictures in what was typed; None for the bundled one, which is meant if none is typed.

    Raises:
        UsageError: No pictures are named.
    """
    first = Path(words[0])
    if is_model(first):
        if len(words) == 1:
            raise UsageError(f"{first} is a model. Name pictures after it: files, a folder or another source.")
        return first, list(words[1:])
    return None, list(words)


def is_model(path: Path) -> bool:
    """Whether a path is a model, a run or the name of a bundled model."""
    from betabloom.model.directory import is_bundled

    held = any((path / name).is_file() for name in ("config.json", "model/config.json", "config.yaml"))
    return held or (is_bundled(path) and not path.exists())


def record_of(model: Generator, path: Path | None, facts: dict[str, Any]) -> dict[str, Any]:
    """What a picture carries, so that it can be made again."""
    from betabloom.model.directory import BUNDLED
    from betabloom.version import __version__

    return {**facts, "model": model.fingerprint, "model_path": str(path or BUNDLED), "betabloom": __version__}


def write_pictures(
    pictures: np.ndarray,
    path: Path,
    record: dict[str, Any],
    names: Sequence[str],
    columns: int = 0,
    scale: float = 1.0,
    crisp: bool = False,
) -> list[str]:
    """Write a sheet to an image file, or one file each to a folder; return the names of what was written."""
    from betabloom.imaging import output, sheets
    from betabloom.imaging.files import write_each

    if path.suffix and not path.is_dir():
        sheet = sheets.grid(pictures, columns, scale=scale, crisp=crisp)
        output.save_image(sheet, path, {**record, "n": len(pictures), "columns": columns})
        return [str(path)]
    made: list[str] = []
    alone = [{**record, "n": 1, "picture": name, "alone": True} for name in names]
    write_each([list(zip(names, pictures, alone, strict=True))], path, made, scale, crisp)
    return made
