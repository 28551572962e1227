"""What the commands with a model share: open it, read pictures for it, write pictures that say how they were made."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from betabloom.errors import PictureError, SourceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from concurrent.futures import Future

    import numpy as np

    from betabloom.checkpoint import Model
    from betabloom.data import Pipeline, Store
    from betabloom.lean import Lean

    File = tuple[str | int, np.ndarray, Mapping[str, Any]]

__all__ = [
    "larger_pictures",
    "load_model",
    "read_pictures",
    "record_of",
    "training_pictures",
    "write_each",
    "write_pictures",
]


def load_model(path: Path | None, device: str) -> Model:
    """The model at a path, on a device."""
    from betabloom.checkpoint import load
    from betabloom.hardware import choose_device

    return load(path, str(choose_device(device)))


def read_pictures(
    given: Sequence[str], model: Model | Lean, limit: int | None = None
) -> tuple[np.ndarray, list[str], Any]:
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


def training_pictures(model: Model | Lean, source: str | None) -> Store:
    """The pictures of `source`, or else those that the model was trained on, prepared as for the training.

    Held out are those that the training held out, also of a model that was enlarged after it.
    """
    store = _prepared(model, source, model.pipeline, model.config.data.min_size)
    if times := len(model.training.get("enlarged", ())):
        pipeline = model.pipeline
        for _ in range(times):
            pipeline = pipeline.halved()
        store = store.held_out_as(_prepared(model, source, pipeline, model.config.data.min_size))
    return store


def larger_pictures(model: Model, source: str | None) -> Store:
    """The same for pictures of twice the size of the model's, without those that are smaller than that."""
    pipeline = model.pipeline.doubled()
    least = max(model.config.data.min_size, min(pipeline.height, pipeline.width))
    size = f"{pipeline.width}x{pipeline.height}"
    try:
        return _prepared(model, source, pipeline, least)
    except SourceError as error:
        raise SourceError(
            f"{str(error).rstrip('.')}. To draw {size}, give photos of at least that size as SOURCE."
        ) from error


def _prepared(model: Model | Lean, source: str | None, pipeline: Pipeline, min_size: int) -> Store:
    from betabloom import data
    from betabloom.console import progress

    d = model.config.data
    spec = source or d.source
    if data.is_stream(spec):
        raise UsageError(
            f"'{spec}' is a stream, which cannot be looked through. Give a folder of its pictures as SOURCE."
        )
    try:
        opened = data.open_source(spec, min_size=min_size, background=d.background, download=source is not None)
    except SourceError as error:
        if source:
            raise
        hint = "The model was trained on it; if it lies elsewhere now, give SOURCE."
        raise SourceError(f"{str(error).rstrip('.')}. {hint}") from error
    with progress("preparing", "pictures") as report:
        return data.prepare(opened, pipeline, progress=report)


def _read_file(path: Path, model: Model | Lean) -> np.ndarray:
    """One picture file, prepared as the model's pictures were."""
    if not path.is_file():
        raise UsageError(f"There is no picture {path}.")
    try:
        return model.pipeline.load(path)
    except PictureError as error:
        raise PictureError(f"{path}: {error}") from error


def record_of(model: Model | Lean, path: Path | None, facts: dict[str, Any]) -> dict[str, Any]:
    """What a picture carries, so that it can be made again."""
    import betabloom
    from betabloom.modeldir import BUNDLED

    return {**facts, "model": model.fingerprint, "model_path": str(path or BUNDLED), "betabloom": betabloom.__version__}


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
    from betabloom import plot

    record = record_of(model, model_path, facts)
    if path.suffix and not path.is_dir():
        plot.save_png(plot.grid(pictures, columns), path, {**record, "n": len(pictures), "columns": columns})
        return [str(path)]
    made: list[str] = []
    alone = [{**record, "n": 1, "picture": name, "alone": True} for name in names]
    write_each([list(zip(names, pictures, alone, strict=True))], path, made)
    return made


def write_each(pieces: Iterable[Sequence[File]], folder: Path, made: list[str] | None = None) -> int:
    """Write every picture to a file of its own, while the next piece is made.

    Arguments:
        pieces: Some pictures at a time, each with its name or number in a series, and its record; two pieces are in
            memory at most.
        folder: Made when the first piece is there.
        made: Where the names of the files go, if they are wanted.

    Returns:
        How many were written.
    """
    from collections import deque
    from concurrent.futures import ThreadPoolExecutor

    from betabloom.lean import cores

    count, taken = 0, set[str]()
    waiting: deque[list[Future[None]]] = deque()
    with ThreadPoolExecutor(cores()) as pool:
        try:
            for piece in pieces:
                folder.mkdir(parents=True, exist_ok=True)
                files = [folder / f"{_file_name(name, taken)}.png" for name, _, _ in piece]
                if made is not None:
                    made += map(str, files)
                waiting.append(
                    [
                        pool.submit(_write_one, file, picture, record)
                        for file, (_, picture, record) in zip(files, piece, strict=True)
                    ]
                )
                count += len(piece)
                if len(waiting) > 1:
                    _wait(waiting.popleft())
            while waiting:
                _wait(waiting.popleft())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return count


def _wait(writing: list[Future[None]]) -> None:
    for each in writing:
        each.result()


def _write_one(file: Path, picture: np.ndarray, record: Mapping[str, Any]) -> None:
    from betabloom import plot

    plot.save_png(plot.grid(picture[None], gap=0), file, record)


def _file_name(name: str | int, taken: set[str]) -> str:
    """A file name without ending for a picture of that name, unlike those in `taken`, which it joins."""
    if isinstance(name, int):  # its number in a series, which no other has: nothing to remember, however many there are
        return f"{name:06}"
    from betabloom import data

    plain = name.zfill(6) if name.isdigit() else str(Path(name).with_suffix("")).replace("/", "-").replace("\\", "-")
    plain = data.shown(plain, 120)
    numbers = itertools.chain([plain], (f"{plain}-{i}" for i in itertools.count(2)))
    free = next(each for each in numbers if each not in taken)
    taken.add(free)
    return free
