"""What the commands with a model share: open it, read pictures for it, write pictures that say how they were made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from betabloom.imaging.files import write_each

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from betabloom.model.generator import Generator
    from betabloom.model.model import Model

    File = tuple[str | int, np.ndarray, Mapping[str, Any]]

__all__ = ["load_model", "read_pictures", "record_of", "write_pictures"]


def load_model(path: Path | None, device: str) -> Model:
    """The model at a path, on a device."""
    from betabloom.model.model import load
    from betabloom.system.hardware import choose_device

    return load(path, str(choose_device(device)))


def read_pictures(
    given: Sequence[str], model: Generator, limit: int | None = None
) -> tuple[np.ndarray, list[str], Any]:
    """Pictures prepared as the model's were, their names, and labels if the source has them."""
    import numpy as np

    from betabloom import data
    from betabloom.system.console import progress

    reading = data.Reading.of(model.config.data)
    source = data.open_pictures(given, **reading.options())
    if isinstance(source, data.Files):  # named one by one: each of them has to be usable
        names = list(source.names[:limit])
        return data.prepare_few(names, model.pipeline, reading), names, None
    with progress("preparing", "pictures") as report:
        store = data.prepare(source, model.pipeline, progress=report)
    labels = None if store.labels is None else store.labels[:limit]
    return np.asarray(store.pictures[:limit]), list(store.names[:limit]), labels


def record_of(model: Generator, path: Path | None, facts: dict[str, Any]) -> dict[str, Any]:
    """What a picture carries, so that it can be made again."""
    from betabloom.model.directory import BUNDLED
    from betabloom.version import __version__

    return {**facts, "model": model.fingerprint, "model_path": str(path or BUNDLED), "betabloom": __version__}


def write_pictures(
    pictures: np.ndarray,
    path: Path,
    model: Model,
    model_path: Path | None,
    facts: dict[str, Any],
    names: Sequence[str],
    columns: int = 0,
) -> list[str]:
    """Write a grid to a .png, or one file each to a folder; return the names of what was written."""
    from betabloom.imaging import png, sheets

    record = record_of(model, model_path, facts)
    if path.suffix and not path.is_dir():
        png.save_png(sheets.grid(pictures, columns), path, {**record, "n": len(pictures), "columns": columns})
        return [str(path)]
    made: list[str] = []
    alone = [{**record, "n": 1, "picture": name, "alone": True} for name in names]
    write_each([list(zip(names, pictures, alone, strict=True))], path, made)
    return made
