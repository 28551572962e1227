"""A source in pieces: consecutive pictures, prepared together and in parallel."""

from __future__ import annotations

import collections
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from betabloom.data.partial import Piece, Skip
from betabloom.data.store import digest_of
from betabloom.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from betabloom.data.pipeline import Pipeline
    from betabloom.data.source import Source

__all__ = ["in_order", "prepare_one"]

_PIECE = 32  # pictures at most
_PIECE_BYTES = 4 << 20


def in_order(source: Source, pipeline: Pipeline, workers: int, first: int) -> Iterator[tuple[Piece, np.ndarray]]:
    """Prepare pieces in threads, a few ahead of the one that is asked for."""
    size = pipeline.height * pipeline.width * pipeline.channels
    step = max(1, min(_PIECE, _PIECE_BYTES // size))
    waiting: collections.deque[Future[tuple[Piece, np.ndarray]]] = collections.deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="prepare") as pool:
        try:
            for start in range(first, len(source), step):
                indices = range(start, min(start + step, len(source)))
                waiting.append(pool.submit(_prepare_piece, source, pipeline, indices))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _prepare_piece(source: Source, pipeline: Pipeline, indices: range) -> tuple[Piece, np.ndarray]:
    piece = Piece(indices.start, indices.stop)
    pictures = np.empty((len(indices), pipeline.height, pipeline.width, pipeline.channels), dtype=np.uint8)
    for index in indices:
        picture = prepare_one(source, pipeline, index)
        if isinstance(picture, Skip):
            piece.skipped.append(picture)
            continue
        pictures[len(piece.kept)] = picture
        piece.digests.append(digest_of(picture))
        piece.kept.append(index)
    return piece, pictures[: len(piece.kept)]


def prepare_one(source: Source, pipeline: Pipeline, index: int) -> np.ndarray | Skip:
    """Decode and prepare picture `index`, or say why not."""
    try:
        enough = pipeline.enough
        return pipeline(source.read(index) if enough is None else source.read_reduced(index, enough))
    except PictureError as error:
        cause = error.__cause__
        return Skip(index, str(error), refused=isinstance(cause, OSError) and cause.errno is not None)
