"""A stream that several processes read, each a part of it, so that their number does not matter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.data.store.passes import StreamBatches
from betabloom.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from betabloom.data.pictures.pipeline import Pipeline
    from betabloom.data.sources.source import Stream

__all__ = ["LanedBatches"]


class LanedBatches:
    """Batches of a stream that several processes read: each has some of its lanes, and all of a lane is read by one.

    Lane i of L is `stream.shard(i, L)`, with an order, a buffer and an end of its own; the places i, i + L … of every
    batch are its pictures. So any number of processes that divides L makes the same batches, and goes on where others
    stopped; in every pass of a lane each of its pictures comes once.

    Arguments:
        stream: The pictures.
        pipeline: Prepares each.
        size: Pictures in a batch, of all processes.
        seed: Same seed, same stream, same lanes: same batches.
        holdout: Share of pictures, in [0, 1), that is left out, by content.
        buffer: Pictures that wait to be drawn at random, of all lanes.
        lanes: L.
        part: Which of how many processes this is.

    Raises:
        UsageError: So many processes cannot share the lanes, or the lanes a batch.
    """

    def __init__(
        self,
        stream: Stream,
        pipeline: Pipeline,
        size: int,
        seed: int,
        holdout: float,
        buffer: int,
        lanes: int,
        part: tuple[int, int],
    ) -> None:
        rank, world = part
        if lanes % world:
            raise UsageError(
                f"A stream that is read in {lanes} lanes cannot be shared by {world} processes: take a number that "
                f"divides {lanes}, or begin a run with --set lanes={world}"
            )
        if size % lanes:
            raise UsageError(
                f"A batch of {size} pictures cannot be filled from {lanes} lanes alike: "
                f"--set batch={-(-size // lanes) * lanes}"
            )
        self.count = lanes
        self.lanes = {
            lane: StreamBatches(
                stream.shard(lane, lanes),
                pipeline,
                size // lanes,
                seed,
                holdout,
                max(1, buffer // lanes),
            )
            for lane in range(rank, lanes, world)
        }

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        """The pictures of this process, in the order of their places in the batch."""
        parts = np.stack([next(lane) for lane in self.lanes.values()], axis=1)
        return parts.reshape(-1, *parts.shape[2:])

    @property
    def position(self) -> dict[str, Any]:
        """Where the lanes of this process are, as JSON has it; those of all processes together are a whole position."""
        return {"count": self.count, "lanes": {str(lane): each.position for lane, each in self.lanes.items()}}

    def go_to(self, position: Mapping[str, Any]) -> None:
        """Go on at a position of the same stream, whatever processes were there; see `StreamBatches.go_to`."""
        for lane, each in self.lanes.items():
            each.go_to(position["lanes"][str(lane)])
