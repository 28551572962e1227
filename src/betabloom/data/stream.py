"""Batches from a stream: prepared in threads, shuffled in a bounded buffer, the same for the same seed."""

from __future__ import annotations

import collections
import itertools
import os
import random
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from betabloom.errors import PictureError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from betabloom.data.pipeline import Pipeline
    from betabloom.data.source import Stream

__all__ = ["stream_batches"]

Result = tuple[str, "np.ndarray | PictureError"]


def stream_batches(
    stream: Stream,
    pipeline: Pipeline,
    batch: int,
    *,
    seed: int = 0,
    buffer: int = 2048,
    workers: int | None = None,
    keep_last: bool = False,
) -> Iterator[np.ndarray]:
    """Yield one pass over a stream in batches.

    Arguments:
        stream: The pictures; give every process its own part: `stream.shard(rank, world)`.
        pipeline: Prepares each.
        batch: Pictures in a batch.
        seed: Same seed, same stream: same batches, whatever the number of workers. Take another one for each pass.
        buffer: Prepared pictures that wait to be drawn at random, at most; 1 keeps the order of the stream. It takes
            buffer × height × width × channels bytes.
        workers: Threads; as many as there are processors, at most 8, if left out.
        keep_last: Also yield a last batch with fewer pictures.

    Yields:
        uint8, shape (batch, height, width, channels).

    Raises:
        UsageError: `batch` or `buffer` is below 1.
    """
    if batch < 1 or buffer < 1:
        raise UsageError(f"'batch' and 'buffer' should be 1 or more, not {batch} and {buffer}")
    ordered = stream.reordered(seed) if buffer > 1 else stream
    pictures = _shuffled(_prepared(ordered, pipeline, workers or min(8, os.cpu_count() or 1)), buffer, seed)
    while chosen := list(itertools.islice(pictures, batch)):
        if len(chosen) == batch or keep_last:
            yield np.stack(chosen)


def _prepared(stream: Stream, pipeline: Pipeline, workers: int) -> Iterator[np.ndarray]:
    """Prepare pictures in threads, a few ahead of the one that is asked for, and yield them in order."""
    waiting: collections.deque[Future[Result]] = collections.deque()

    def prepare(name: str, file: Path | BinaryIO) -> Result:
        try:
            return name, pipeline(stream.decode(file, pipeline.enough))
        except PictureError as error:
            return name, error

    def finished() -> Iterator[np.ndarray]:
        name, result = waiting.popleft().result()
        if isinstance(result, PictureError):
            stream.skipped.add(name, str(result))
        else:
            yield result

    with ThreadPoolExecutor(workers, thread_name_prefix="stream") as pool:
        try:
            for name, file, _ in stream.files():
                waiting.append(pool.submit(prepare, name, file))
                if len(waiting) > 4 * workers:
                    yield from finished()
            while waiting:
                yield from finished()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _shuffled(pictures: Iterable[np.ndarray], size: int, seed: int) -> Iterator[np.ndarray]:
    """Yield pictures in random order, holding at most `size`."""
    chance = random.Random(seed)
    held: list[np.ndarray] = []
    for picture in pictures:
        if len(held) < size:
            held.append(picture)
            continue
        place = chance.randrange(size)
        yield held[place]
        held[place] = picture
    chance.shuffle(held)
    yield from held
