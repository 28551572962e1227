"""A look at a stream, and batches from it: shuffled in a bounded buffer, the same for the same seed."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import os
import threading
from typing import TYPE_CHECKING

import numpy as np

from betabloom.data.pictures.decode import peek
from betabloom.data.sources.source import Source
from betabloom.data.store.lanes import LanedBatches
from betabloom.data.store.passes import AT_ONCE, Pass, StreamBatches, decoded
from betabloom.data.store.store import Store
from betabloom.errors import SourceError, UsageError
from betabloom.system.cores import cores

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from PIL import Image

    from betabloom.data.pictures.decode import PictureFacts
    from betabloom.data.pictures.pipeline import Pipeline
    from betabloom.data.sources.source import Stream

__all__ = ["Head", "Streamed", "stream_batches"]


class Head(Source):
    """The first pictures of a stream, still encoded, in memory: enough to look at them.

    Arguments:
        stream: The pictures.
        count: How many, at most.

    Raises:
        SourceError: There are none.
    """

    def __init__(self, stream: Stream, count: int = 500) -> None:
        first = list(itertools.islice(stream.files(), count))
        if not first:
            raise SourceError(f"no pictures in '{stream.name}'")
        self._stream, self._files = stream, [file for _, file, _ in first]
        self.name = f"the first {len(first):,} of {stream.name}" if len(first) == count else stream.name
        self.names = [name for name, _, _ in first]
        self.splits = {}
        self._lock = threading.Lock()

    def read(self, index: int) -> Image.Image:
        """Decode picture `index`; see `Source.read`."""
        return self._stream.decode(self._file(index))

    def read_transparent(self, index: int, at_least: tuple[int, int] | None = None) -> Image.Image:
        """Decode picture `index` with its transparency; see `Source.read_transparent`."""
        return self._stream.decode(self._file(index), at_least, alpha=True)

    def facts(self, index: int) -> PictureFacts:
        """Read the header of picture `index`; see `Source.facts`."""
        return peek(self._file(index), self._stream.reading)

    def fingerprint(self) -> str:
        """Digest the names and the encoded pictures."""
        digest = hashlib.sha256(repr(list(self.names)).encode())
        for index in range(len(self)):
            file = self._file(index)
            digest.update(file.read() if isinstance(file, io.BytesIO) else str(file).encode())
        return digest.hexdigest()

    def _file(self, index: int) -> Path | BinaryIO:
        """Return the file in a form that no other thread reads from."""
        file = self._files[index]
        if isinstance(file, os.PathLike):
            return file
        with self._lock:
            file.seek(0)
            return io.BytesIO(file.read())


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
    files = ((n, name, file) for n, (name, file, _) in enumerate(ordered.files()))
    prepared = decoded(ordered, files, pipeline, workers or cores(8))
    pictures = Pass((((0, n), picture) for n, picture in prepared), buffer, seed)
    while chosen := [picture for _, picture in itertools.islice(pictures, batch)]:
        if len(chosen) == batch or keep_last:
            yield np.stack(chosen)


class Streamed:
    """A stream to train on, without a store and without a known length.

    Attributes:
        stream: The pictures.
        pipeline: Prepares each.
        store: The first pictures of the stream, in memory; `store.split("all", holdout)` holds out the same pictures
            as `batches(…, holdout)`, since both go by content.

    Arguments:
        stream: The pictures.
        pipeline: Prepares each.
        keep: Pictures to keep in memory, at most.

    Raises:
        SourceError: Not one picture of the stream can be used.
    """

    def __init__(self, stream: Stream, pipeline: Pipeline, keep: int = 4096) -> None:
        self.stream = stream
        self.pipeline = pipeline
        first = stream_batches(stream, pipeline, AT_ONCE, buffer=1, keep_last=True)
        parts = list(itertools.islice(first, -(-keep // AT_ONCE)))
        if not parts:
            some = "; ".join(
                f"'{name}' ({reason})" for name, reason in itertools.islice(stream.skipped.reasons.items(), 3)
            )
            raise SourceError(f"no usable picture in '{stream.name}'" + (f": {some}" if some else ": it is empty"))
        kept = Store.from_array(np.concatenate(parts)[:keep], source_name=stream.name, pipeline=pipeline)
        self.store = dataclasses.replace(kept, reading=stream.reading)

    def batches(
        self,
        size: int,
        seed: int = 0,
        holdout: float = 0.1,
        buffer: int = 2048,
        lanes: int = 1,
        part: tuple[int, int] = (0, 1),
    ) -> StreamBatches | LanedBatches:
        """Batches without end, pass after pass, each in another order.

        Arguments:
            size: Pictures in a batch, of all processes.
            seed: Same seed, same stream, same lanes: same batches.
            holdout: Share of pictures, in [0, 1), that is left out, by content.
            buffer: See `stream_batches`; the lanes share it.
            lanes: Parts that the stream is read in; see `LanedBatches`.
            part: Which of how many processes this is.

        Returns:
            An iterator over uint8 arrays (size, height, width, channels) that knows its position.

        Raises:
            UsageError: So many processes cannot share the lanes, or the lanes a batch.
        """
        if lanes == 1 and part == (0, 1):
            return StreamBatches(self.stream, self.pipeline, size, seed, holdout, buffer)
        return LanedBatches(self.stream, self.pipeline, size, seed, holdout, buffer, lanes, part)
