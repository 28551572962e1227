"""Passes over a stream, shuffled in a bounded buffer, each of which can be resumed in the middle."""

from __future__ import annotations

import collections
import io
import itertools
import random
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.data.store.store import digest_of
from betabloom.errors import PictureError, SourceError
from betabloom.system.cores import cores

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

    from betabloom.data.pictures.pipeline import Pipeline
    from betabloom.data.sources.source import Stream

__all__ = ["AT_ONCE", "Pass", "StreamBatches", "decoded"]

AT_ONCE = 64  # pictures that are looked at together
PIECE, PIECE_BYTES = 32, 1 << 20  # pictures that are read together, and bytes of them, encoded or prepared
AHEAD = 4  # pieces for each thread

Result = tuple[int, str, "np.ndarray | PictureError"]
_Numbered = tuple[tuple[int, int], "np.ndarray"]  # number of the pass, of the file in it; the prepared picture


def decoded(
    stream: Stream, files: Iterable[tuple[int, str, Path | BinaryIO]], pipeline: Pipeline, workers: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Read and prepare pictures in threads, some way ahead of the one that is asked for, and yield them in order.

    When nobody asks any more, the threads end by themselves, soon. Nothing waits for them or takes a lock: what a
    generator does at its end may be done by the garbage collector, in any thread and while that holds any lock.
    """
    size = PIECE_BYTES // (pipeline.height * pipeline.width * pipeline.channels)
    pieces = _pieces(files, max(1, min(PIECE, size)))
    reader, preparers = (ThreadPoolExecutor(count, thread_name_prefix="stream") for count in (1, workers))
    asked = True

    def prepare(piece: list[tuple[int, str, Path | BinaryIO]]) -> list[Result]:
        return [_prepared(stream, pipeline, *each) for each in piece if asked]

    def read() -> Future[list[Result]] | None:
        piece = next(pieces, None) if asked else None
        return None if piece is None else preparers.submit(prepare, piece)

    waiting: collections.deque[Future[Future[list[Result]] | None]] = collections.deque()
    try:
        while True:
            while len(waiting) < AHEAD * workers:
                waiting.append(reader.submit(read))
            piece = waiting.popleft().result()
            if piece is None:
                return
            for number, name, result in piece.result():
                if isinstance(result, PictureError):
                    stream.skipped.add(name, str(result))
                else:
                    yield number, result
    finally:
        asked = False


def _prepared(stream: Stream, pipeline: Pipeline, number: int, name: str, file: Path | BinaryIO) -> Result:
    try:
        return number, name, pipeline(stream.decode(file, pipeline.enough, alpha=pipeline.channels == 4))
    except PictureError as error:
        return number, name, error


def _pieces(
    files: Iterable[tuple[int, str, Path | BinaryIO]], most: int
) -> Iterator[list[tuple[int, str, Path | BinaryIO]]]:
    """Put files together, `most` at a time or as many as are not large."""
    piece, size = [], 0
    for each in files:
        piece.append(each)
        size += each[2].getbuffer().nbytes if isinstance(each[2], io.BytesIO) else 0
        if len(piece) == most or size >= PIECE_BYTES:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


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
        self._counts: dict[int, list[int]] = {}
        self._pass = Pass(self._prepared(0), buffer, seed)
        self._waiting: list[_Numbered] = []
        self._used = False

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        while len(self._waiting) < self.size:
            chunk = list(itertools.islice(self._pass, AT_ONCE))
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
        waiting = [number for number, _ in self._waiting]
        turns = {self._turn, *(turn for turn, _ in waiting)} & self._counts.keys()
        counts = {str(turn): _runs(self._counts[turn]) for turn in turns}
        return {"turn": self._turn, "used": self._used, "waiting": waiting, "counts": counts} | self._pass.position

    def go_to(self, position: Mapping[str, Any]) -> None:
        """Go on at a position of the same stream: pictures before it are passed by, but for the few that wait there.

        Raises:
            KeyError, TypeError, ValueError: It is not a position.
            SourceError: The stream does not have the pictures that wait there.
        """
        waiting, held = [[(int(turn), int(n)) for turn, n in position[name]] for name in ("waiting", "held")]
        turn = int(position["turn"])
        known = position.get("counts", {}).items()
        self._counts = {int(at): [int(count) for count, times in runs for _ in range(int(times))] for at, runs in known}
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
        self._pass = Pass(pictures, self.buffer, self.seed + turn)
        self._pass.go_to(position, [(number, found[number]) for number in held])

    def _next_pass(self) -> None:
        if not self._used:
            raise SourceError(f"'{self.stream.name}' has no usable picture to train on")
        self._turn, self._used = self._turn + 1, False
        self._counts.pop(self._turn - 2, None)
        self._pass = Pass(self._prepared(self._turn), self.buffer, self.seed + self._turn)

    def _prepared(self, turn: int, wanted: Collection[int] = (), first: int = 0) -> Iterator[_Numbered]:
        """The pictures of a pass with their numbers: those of `wanted`, and all from number `first` on."""
        stream = self.stream.reordered(self.seed + turn) if self.buffer > 1 else self.stream
        stream.counts = self._counts.setdefault(turn, []) if stream is not self.stream else stream.counts
        pictures = decoded(stream, stream.numbered(first, wanted), self.pipeline, cores(8))
        return (((turn, n), picture) for n, picture in pictures)


def _runs(counts: Iterable[int]) -> list[tuple[int, int]]:
    """Numbers that follow one another as (number, times): shards mostly have equally many pictures."""
    return [(count, len(list(same))) for count, same in itertools.groupby(counts)]


class Pass:
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
