"""A few pictures that a person names, prepared at once and in memory, as a model's training pictures were."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from betabloom.data.pictures.reading import DEFAULT, Reading
from betabloom.data.sources.locate import open_pictures, open_source
from betabloom.data.sources.source import Source
from betabloom.data.store.partial import Skip
from betabloom.data.store.pieces import prepare_one
from betabloom.errors import PictureError, UsageError

if TYPE_CHECKING:
    from betabloom.data.pictures.pipeline import Pipeline

__all__ = ["prepare_few"]


def prepare_few(pictures: Any, pipeline: Pipeline, reading: Reading = DEFAULT) -> np.ndarray:
    """Prepare pictures of any size, each of which has to be usable.

    Arguments:
        pictures: Pillow pictures, paths or arrays, in a list or any other series; one of them; one array of several,
            (N, H, W, C) or (N, C, H, W); a torch tensor; or a `Source`.
        pipeline: What is done to each.
        reading: How they are read.

    Returns:
        uint8, shape (N, height, width, channels).

    Raises:
        PictureError: One cannot be read or prepared; the message names it.
        UsageError: It is none of these.
    """
    source = _source(pictures, reading)
    return np.stack([_picture(source, pipeline, index) for index in range(len(source))])


def _source(pictures: Any, reading: Reading) -> Source:
    options = reading.options()
    if isinstance(pictures, Source):
        return pictures
    if isinstance(pictures, str | os.PathLike):
        return open_pictures([pictures], **options)
    if isinstance(pictures, Image.Image):
        return open_source([pictures], **options)
    if hasattr(pictures, "__array__") or hasattr(pictures, "detach"):
        return open_source(pictures, **options)
    try:
        return open_source(list(pictures), **options)
    except TypeError:
        what = type(pictures).__name__
        raise UsageError(f"pictures should be Pillow pictures, paths or arrays in a list, not {what}") from None


def _picture(source: Source, pipeline: Pipeline, index: int) -> np.ndarray:
    picture = prepare_one(source, pipeline, index)
    if isinstance(picture, Skip):
        raise PictureError(f"{source.names[index]}: {picture.reason}")
    return picture
