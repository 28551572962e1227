"""What the commands with a model share: open it, read pictures for it, write pictures that say how they were made."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from betabloom.errors import PictureError, SourceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from betabloom.checkpoint import Model
    from betabloom.data import Store

__all__ = ["load_model", "read_pictures", "record_of", "training_pictures", "write_pictures"]


def load_model(path: Path | None, device: str) -> Model:
    """The model at a path, on a device."""
    from betabloom.checkpoint import load
    from betabloom.hardware import choose_device

    return load(path, str(choose_device(device)))


def read_pictures(given: Sequence[str], model: Model, limit: int | None = None) -> tuple[np.ndarray, list[str], Any]:
    """Pictures prepared as the model's were, their names, and labels if the source has them."""
    import numpy as np

    from betabloom import data
    from betabloom.console import progress

    if len(given) > 1 or Path(given[0]).is_file():
        chosen = list(given[:limit])
        return np.stack([_read_file(Path(name), model) for name in chosen]), chosen, None
    with progress("preparing", "pictures") as report:
        store = data.prepare(data.open_source(given[0]), model.pipeline, progress=report)
    labels = None if store.labels is None else store.labels[:limit]
    return np.asarray(store.pictures[:limit]), list(store.names[:limit]), labels


def training_pictures(model: Model, source: str | None) -> Store:
    """The pictures of `source`, or else those that the model was trained on, prepared as for the training."""
    from betabloom import data
    from betabloom.console import progress

    d = model.config.data
    spec = source or d.source
    if data.is_stream(spec):
        raise UsageError(
            f"'{spec}' is a stream, which cannot be looked through. Give a folder of its pictures as SOURCE."
        )
    try:
        opened = data.open_source(spec, min_size=d.min_size, background=d.background, download=source is not None)
    except SourceError as error:
        hint = "" if source else " The model was trained on it; if it lies elsewhere now, give SOURCE."
        raise SourceError(f"{error}{hint}") from error
    with progress("preparing", "pictures") as report:
        return data.prepare(opened, model.pipeline, progress=report)


def _read_file(path: Path, model: Model) -> np.ndarray:
    """One picture file, prepared as the model's pictures were."""
    if not path.is_file():
        raise UsageError(f"There is no picture {path}.")
    try:
        return model.pipeline.load(path)
    except PictureError as error:
        raise PictureError(f"{path}: {error}") from error


def record_of(model: Model, path: Path | None, facts: dict[str, Any]) -> dict[str, Any]:
    """What a picture carries, so that it can be made again."""
    import betabloom
    from betabloom.checkpoint import BUNDLED

    return {**facts, "model": model.fingerprint, "model_path": str(path or BUNDLED), "betabloom": betabloom.__version__}


def write_pictures(
    pictures: np.ndarray,
    path: Path,
    model: Model,
    model_path: Path | None,
    facts: dict[str, Any],
    names: Sequence[str],
    columns: int = 0,
    details: Mapping[str, Sequence[Any]] | None = None,
    numbers: Sequence[int] | None = None,
) -> list[str]:
    """Write a grid to a .png, or one file each to a folder; return the names of what was written.

    A grid carries the lists in `details`, and a single picture its own element of each and, where the pictures have
    numbers in the series of a seed, its own number.
    """
    from betabloom import plot

    record, details = record_of(model, model_path, facts), details or {}
    if path.suffix:
        whole = {"n": len(pictures), "columns": columns, **{key: list(values) for key, values in details.items()}}
        plot.save_png(plot.grid(pictures, columns), path, {**record, **whole})
        return [str(path)]
    path.mkdir(parents=True, exist_ok=True)
    made: list[str] = []
    record.pop("numbers", None)
    for place, (name, picture) in enumerate(zip(names, pictures, strict=True)):
        file = path / f"{_file_name(name, made)}.png"
        alone = {"n": 1, "start": numbers[place]} if numbers else {"picture": name}
        own = {key: values[place] for key, values in details.items()}
        plot.save_png(plot.grid(picture[None], gap=0), file, {**record, **alone, **own, "alone": True})
        made.append(str(file))
    return made


def _file_name(name: str, made: Sequence[str]) -> str:
    """A file name without ending for a picture of that name, unlike those in `made`."""
    from betabloom import data

    plain = name.zfill(6) if name.isdigit() else str(Path(name).with_suffix("")).replace("/", "-").replace("\\", "-")
    plain, taken = data.shown(plain, 120), {Path(file).stem for file in made}
    numbers = itertools.chain([plain], (f"{plain}-{i}" for i in itertools.count(2)))
    return next(each for each in numbers if each not in taken)
