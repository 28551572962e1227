"""The pictures that a model was trained with, found again."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from betabloom.errors import SourceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from betabloom.data import Pipeline, Store
    from betabloom.model.generator import Generator
    from betabloom.model.model import Model

    File = tuple[str | int, np.ndarray, Mapping[str, Any]]

__all__ = ["larger_pictures", "training_pictures"]


def training_pictures(model: Generator, source: str | None) -> Store:
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


def _prepared(model: Generator, source: str | None, pipeline: Pipeline, min_size: int) -> Store:
    from betabloom import data
    from betabloom.system.console import progress

    d = model.config.data
    spec = source or d.source
    if data.is_stream(spec):
        raise UsageError(f"'{spec}' is a stream, which cannot be searched. Give a folder of its pictures as SOURCE.")
    try:
        reading = dataclasses.replace(data.Reading.of(d), min_size=min_size)
        opened = data.open_source(spec, download=source is not None, **reading.options())
    except SourceError as error:
        if source:
            raise
        hint = "The model was trained on it. If it is somewhere else now, name it as SOURCE."
        raise SourceError(f"{str(error).rstrip('.')}. {hint}") from error
    with progress("preparing", "pictures") as report:
        return data.prepare(opened, pipeline, progress=report)
