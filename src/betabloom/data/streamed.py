"""A stream as training wants it: batches without end, and a part of it in memory to validate on."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from betabloom.data.store import Store, digest_of
from betabloom.data.stream import stream_batches
from betabloom.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from betabloom.data.pipeline import Pipeline
    from betabloom.data.source import Stream

__all__ = ["Streamed"]

_AT_ONCE = 64


class Streamed:
    """A stream that is trained on without a store and without knowing its length.

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
        first = stream_batches(stream, pipeline, _AT_ONCE, buffer=1, keep_last=True)
        parts = list(itertools.islice(first, -(-keep // _AT_ONCE)))
        if not parts:
            some = "; ".join(
                f"'{name}' ({reason})" for name, reason in itertools.islice(stream.skipped.reasons.items(), 3)
            )
            raise SourceError(f"not one usable picture in '{stream.name}'" + (f": {some}" if some else ": it is empty"))
        self.store = Store.from_array(np.concatenate(parts)[:keep], source_name=stream.name, pipeline=pipeline)

    def batches(self, size: int, seed: int = 0, holdout: float = 0.1, buffer: int = 2048) -> Iterator[np.ndarray]:
        """Yield batches without end, pass after pass, each in another order.

        Arguments:
            size: Pictures in a batch.
            seed: Same seed, same stream: same batches.
            holdout: Share of pictures, in [0, 1), that is left out, by content.
            buffer: See `stream_batches`.

        Yields:
            uint8, shape (size, height, width, channels).
        """
        waiting: list[np.ndarray] = []
        for turn in itertools.count():
            used = 0
            for pictures in stream_batches(
                self.stream, self.pipeline, _AT_ONCE, seed=seed + turn, buffer=buffer, keep_last=True
            ):
                kept = [picture for picture in pictures if digest_of(picture) >= holdout * 2.0**64]
                used += len(kept)
                waiting += kept
                while len(waiting) >= size:
                    yield np.stack(waiting[:size])
                    del waiting[:size]
            if not used:
                raise SourceError(f"'{self.stream.name}' has no usable picture to train on")
