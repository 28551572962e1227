"""A source in pieces: consecutive pictures, prepared together and in parallel."""

from __future__ import annotations

import collections
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from betabloom.data.store.partial import Piece, Skip
from betabloom.data.store.store import digest_of
from betabloom.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from PIL import Image

    from betabloom.data.pictures.pipeline import Pipeline
    from betabloom.data.sources.source import Source

    Prepared: TypeAlias = tuple[Piece, np.ndarray]

__all__ = ["Prepared", "in_order", "piece_size", "prepare_one", "prepare_piece"]

_PIECE = 32  # pictures at most
_PIECE_BYTES = 4 << 20


def piece_size(pipeline: Pipeline) -> int:
    """Return how many pictures are prepared together, so that their pixels take little memory."""
    return max(1, min(_PIECE, _PIECE_BYTES // (pipeline.height * pipeline.width * pipeline.channels)))


def in_order(
    prepare: Callable[[range], Prepared], indices: range, size: int, workers: int, leave: Callable[[], None]
) -> Iterator[Prepared]:
    """Prepare pieces of `size` pictures in threads, a few ahead of the one that is asked for.

    Arguments:
        prepare: Prepares a piece; called in the threads.
        indices: All pictures.
        size: Pictures of a piece.
        workers: How many threads.
        leave: Called at the end, also in the middle of it, before the threads are waited for: `prepare` returns soon.
    """
    waiting: collections.deque[Future[Prepared]] = collections.deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="prepare") as pool:
        try:
            for start in range(indices.start, indices.stop, size):
                waiting.append(pool.submit(prepare, range(start, min(start + size, indices.stop))))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            leave()
            pool.shutdown(wait=True, cancel_futures=True)


def prepare_piece(
    source: Source, pipeline: Pipeline, indices: range, wanted: Callable[[], bool] = lambda: True
) -> Prepared:
    """Prepare consecutive pictures; no more of them once they are not wanted.

    Returns:
        What became of each, and the pixels of those that were kept, uint8 with shape (kept, height, width, channels).
    """
    piece = Piece(indices.start, indices.stop)
    pictures = np.empty((len(indices), pipeline.height, pipeline.width, pipeline.channels), dtype=np.uint8)
    for index in indices:
        if not wanted():
            break
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
        return pipeline(_read(source, pipeline, index))
    except PictureError as error:
        cause = error.__cause__
        return Skip(index, str(error), refused=isinstance(cause, OSError) and cause.errno is not None)


def _read(source: Source, pipeline: Pipeline, index: int) -> Image.Image:
    enough = pipeline.enough
    if pipeline.channels == 4:
        return source.read_transparent(index, enough)
    return source.read(index) if enough is None else source.read_reduced(index, enough)
