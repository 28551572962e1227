"""A look at a stream, and batches from it: shuffled in a bounded buffer, the same for the same seed."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import io
import itertools
import os
import random
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.data.pictures.decode import peek
from betabloom.data.sources.source import Source
from betabloom.data.store.store import Store, digest_of
from betabloom.errors import PictureError, SourceError, UsageError
from betabloom.system.cores import cores

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

    from PIL import Image

    from betabloom.data.pictures.decode import PictureFacts
    from betabloom.data.pictures.pipeline import Pipeline
    from betabloom.data.sources.source import Stream

__all__ = ["Head", "StreamBatches", "Streamed", "stream_batches"]

Result = tuple[int, str, "np.ndarray | PictureError"]
_Numbered = tuple[tuple[int, int], "np.ndarray"]  # number of the pass, of the file in it; the prepared picture


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
    decoded = _decoded(ordered, files, pipeline, workers or cores(8))
    pictures = _Pass((((0, n), picture) for n, picture in decoded), buffer, seed)
    while chosen := [picture for _, picture in itertools.islice(pictures, batch)]:
        if len(chosen) == batch or keep_last:
            yield np.stack(chosen)


def _decoded(
    stream: Stream, files: Iterable[tuple[int, str, Path | BinaryIO]], pipeline: Pipeline, workers: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Prepare pictures in threads, a few ahead of the one that is asked for, and yield them in order."""
    waiting: collections.deque[Future[Result]] = collections.deque()

    def prepare(number: int, name: str, file: Path | BinaryIO) -> Result:
        try:
            return number, name, pipeline(stream.decode(file, pipeline.enough, alpha=pipeline.channels == 4))
        except PictureError as error:
            return number, name, error

    def finished() -> Iterator[tuple[int, np.ndarray]]:
        number, name, result = waiting.popleft().result()
        if isinstance(result, PictureError):
            stream.skipped.add(name, str(result))
        else:
            yield number, result

    with ThreadPoolExecutor(workers, thread_name_prefix="stream") as pool:
        try:
            for each in files:
                waiting.append(pool.submit(prepare, *each))
                if len(waiting) > 4 * workers:
                    yield from finished()
            while waiting:
                yield from finished()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


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
            raise SourceError(f"no usable picture in '{stream.name}'" + (f": {some}" if some else ": it is empty"))
        kept = Store.from_array(np.concatenate(parts)[:keep], source_name=stream.name, pipeline=pipeline)
        self.store = dataclasses.replace(kept, reading=stream.reading)

    def batches(self, size: int, seed: int = 0, holdout: float = 0.1, buffer: int = 2048) -> StreamBatches:
        """Batches without end, pass after pass, each in another order.

        Arguments:
            size: Pictures in a batch.
            seed: Same seed, same stream: same batches.
            holdout: Share of pictures, in [0, 1), that is left out, by content.
            buffer: See `stream_batches`.

        Returns:
            An iterator over uint8 arrays (size, height, width, channels) that knows its position.
        """
        return StreamBatches(self.stream, self.pipeline, size, seed, holdout, buffer)


class StreamBatches:
    """Batches of a stream, pass after pass, that can be taken up at a position without decoding what came before.

    Arguments:
        stream: The pictures.
        pipeline: Prepares each.
        size: Pictures in a batch.
        seed: Same seed, same stream: same batches.
        holdout: Share of pictures, in [0, 1), that is left out, by content.
        buffer: See `stream_batches`.
    """

    def __init__(
        self, stream: Stream, pipeline: Pipeline, size: int, seed: int = 0, holdout: float = 0.1, buffer: int = 2048
    ) -> None:
        self.stream, self.pipeline, self.size = stream, pipeline, size
        self.seed, self.least, self.buffer = seed, holdout * 2.0**64, buffer
        self._turn = 0
        self._pass = _Pass(self._prepared(0), buffer, seed)
        self._waiting: list[_Numbered] = []
        self._used = False

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        while len(self._waiting) < self.size:
            chunk = list(itertools.islice(self._pass, _AT_ONCE))
            kept = [each for each in chunk if digest_of(each[1]) >= self.least]
            self._used = self._used or bool(kept)
            self._waiting += kept
            if not chunk:
                self._next_pass()
        chosen, self._waiting = self._waiting[: self.size], self._waiting[self.size :]
        return np.stack([picture for _, picture in chosen])

    @property
    def position(self) -> dict[str, Any]:
        """Where the next batch begins, as JSON has it: `go_to` goes there."""
        now = {"turn": self._turn, "used": self._used, "waiting": [number for number, _ in self._waiting]}
        return now | self._pass.position

    def go_to(self, position: Mapping[str, Any]) -> None:
        """Go on at a position of the same stream: pictures before it are passed by, but for the few that wait there.

        Raises:
            KeyError, TypeError, ValueError: It is not a position.
            SourceError: The stream does not have the pictures that wait there.
        """
        waiting, held = [[(int(turn), int(n)) for turn, n in position[name]] for name in ("waiting", "held")]
        turn = int(position["turn"])
        earlier = {number for number in waiting if number[0] != turn}
        found: dict[tuple[int, int], np.ndarray] = {}
        for other in {number[0] for number in earlier}:
            wanted = {n for at, n in earlier if at == other}
            found |= dict(itertools.islice(self._prepared(other, wanted, max(wanted) + 1), len(wanted)))
        current = {n for at, n in {*waiting, *held} if at == turn}
        pictures = self._prepared(turn, current, int(position["read"]))
        found |= dict(itertools.islice(pictures, len(current)))
        if missing := {*waiting, *held} - found.keys():
            raise SourceError(f"'{self.stream.name}' has changed: {len(missing):,} of its pictures are missing")
        self._turn, self._used = turn, bool(position["used"])
        self._waiting = [(number, found[number]) for number in waiting]
        self._pass = _Pass(pictures, self.buffer, self.seed + turn)
        self._pass.go_to(position, [(number, found[number]) for number in held])

    def _next_pass(self) -> None:
        if not self._used:
            raise SourceError(f"'{self.stream.name}' has no usable picture to train on")
        self._turn, self._used = self._turn + 1, False
        self._pass = _Pass(self._prepared(self._turn), self.buffer, self.seed + self._turn)

    def _prepared(self, turn: int, wanted: Collection[int] = (), first: int = 0) -> Iterator[_Numbered]:
        """The pictures of a pass with their numbers: those of `wanted`, and all from number `first` on."""
        stream = self.stream.reordered(self.seed + turn) if self.buffer > 1 else self.stream
        files = ((n, name, file) for n, (name, file, _) in enumerate(stream.files()) if n >= first or n in wanted)
        for n, picture in _decoded(stream, files, self.pipeline, cores(8)):
            yield (turn, n), picture


class _Pass:
    """The pictures of one pass in random order, of which at most `size` are held."""

    def __init__(self, pictures: Iterator[_Numbered], size: int, seed: int) -> None:
        self.pictures, self.size = pictures, size
        self.chance = random.Random(seed)
        self.held: list[_Numbered] = []
        self.read = 0  # the number of the first file that was not looked at
        self.ending = False  # all are read, and what is held comes out in order

    def __iter__(self) -> Iterator[_Numbered]:
        return self

    def __next__(self) -> _Numbered:
        while not self.ending:
            picture = next(self.pictures, None)
            if picture is None:
                self.chance.shuffle(self.held)
                self.held.reverse()  # the last is taken first
                self.ending = True
                break
            self.read = picture[0][1] + 1
            if len(self.held) < self.size:
                self.held.append(picture)
                continue
            place = self.chance.randrange(self.size)
            chosen, self.held[place] = self.held[place], picture
            return chosen
        if not self.held:
            raise StopIteration
        return self.held.pop()

    @property
    def position(self) -> dict[str, Any]:
        version, state, gauss = self.chance.getstate()
        held = [number for number, _ in self.held]
        return {"read": self.read, "ending": self.ending, "held": held, "chance": [version, list(state), gauss]}

    def go_to(self, position: Mapping[str, Any], held: list[_Numbered]) -> None:
        version, state, gauss = position["chance"]
        self.chance.setstate((version, tuple(state), gauss))
        self.held, self.read, self.ending = held, int(position["read"]), bool(position["ending"])
