"""A stream as training wants it: endless, shuffled, with the same pictures held out as in its store."""

from __future__ import annotations

import gc
import io
import json
import threading
import weakref
from concurrent.futures import thread as pools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from betabloom.data import Pipeline, Stream, Streamed, stream_batches
from betabloom.data.store.passes import StreamBatches
from betabloom.data.store.store import digest_of
from betabloom.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

PIPELINE = Pipeline.named("square", (8, 8))


class Memory(Stream):
    """PNGs in memory, some of them broken."""

    name = "memory"

    def __init__(self, count: int, broken: int = 0) -> None:
        super().__init__()
        self.count, self.broken = count, broken

    def files(self) -> Iterator[tuple[str, io.BytesIO, None]]:
        for i in range(self.count):
            file = io.BytesIO()
            Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file, "PNG")
            yield f"{i}", io.BytesIO(b"nothing" if i < self.broken else file.getvalue()), None

    def shard(self, rank: int, world: int) -> Memory:
        raise AssertionError


def digests(batches: list[np.ndarray]) -> list[int]:
    return [digest_of(picture) for batch in batches for picture in batch]


def take(streamed: Streamed, count: int, **options) -> list[np.ndarray]:
    batches = streamed.batches(20, **options)
    return [next(batches) for _ in range(count)]


def test_each_pass_has_every_picture_once_but_those_held_out():
    streamed = Streamed(Memory(200), PIPELINE)
    train, held = streamed.store.split("all", 0.1)
    assert 5 < len(held) < 40
    passes = 3
    seen = digests(take(streamed, passes * len(train) // 20, buffer=50))
    learned = streamed.store.digests[train].tolist()
    assert not set(seen) & set(streamed.store.digests[held].tolist())
    assert sorted(seen[: len(train)]) == sorted(learned)
    assert seen[: len(train)] != seen[len(train) : 2 * len(train)]


def test_same_seed_same_batches():
    one, other = (digests(take(Streamed(Memory(90), PIPELINE), 9, seed=4, buffer=30)) for _ in range(2))
    assert one == other
    assert one != digests(take(Streamed(Memory(90), PIPELINE), 9, seed=5, buffer=30))


def test_what_is_kept_in_memory_is_bounded_and_named_after_the_stream():
    store = Streamed(Memory(300), PIPELINE, keep=100).store
    assert store.pictures.shape == (100, 8, 8, 3)
    assert store.source_name == "memory"
    assert store.pipeline == PIPELINE


def test_bad_pictures_are_left_out_and_a_stream_of_nothing_else_is_refused():
    assert len(Streamed(Memory(30, broken=7), PIPELINE).store) == 23
    with pytest.raises(SourceError, match="no usable picture in 'memory': '0' "):
        Streamed(Memory(5, broken=5), PIPELINE)
    with pytest.raises(SourceError, match="it is empty"):
        Streamed(Memory(0), PIPELINE)


@pytest.mark.parametrize("buffer", [1, 12, 2048])
def test_a_stream_goes_on_at_its_position_and_decodes_only_what_waits_there(buffer, monkeypatch):
    """Wherever it stops: within a pass, at its end, and where a batch is of two passes; the position is plain JSON."""
    wanted = Streamed(Memory(90, broken=5), PIPELINE).batches(16, seed=3, buffer=buffer)
    expected = [next(wanted) for _ in range(14)]
    decoded = []
    decode = Memory.decode
    monkeypatch.setattr(
        Memory, "decode", lambda self, *given, **more: (decoded.append(1), decode(self, *given, **more))[1]
    )
    for at in range(13):
        stopped = Streamed(Memory(90, broken=5), PIPELINE).batches(16, seed=3, buffer=buffer)
        for _ in range(at):
            next(stopped)
        resumed = Streamed(Memory(90, broken=5), PIPELINE).batches(16, seed=3, buffer=buffer)
        decoded.clear()
        resumed.go_to(json.loads(json.dumps(stopped.position)))
        if buffer == 12:
            assert len(decoded) <= 12 + 64 + 16 + 4 * 9  # buffer, a chunk, a batch, and what threads read ahead
        rest = [next(resumed) for _ in range(14 - at)]
        assert all(np.array_equal(one, other) for one, other in zip(rest, expected[at:], strict=True)), at


class Waiting(Memory):
    """Gives some pictures, and more when it is told to, after `then`."""

    def __init__(self, then=lambda: None) -> None:
        super().__init__(128)
        self.waits, self.more, self.then = threading.Event(), threading.Event(), then

    def files(self) -> Iterator[tuple[str, io.BytesIO, None]]:
        yield from super().files()
        self.waits.set()
        self.more.wait(60)
        self.then()
        yield from super().files()


def test_who_stops_within_a_pass_waits_for_nothing():
    """Not for the thread that reads, which waits here for the lock that pools start threads with."""
    stream = Waiting()
    batches = stream_batches(stream, PIPELINE, 16, buffer=1)
    next(batches)
    assert stream.waits.wait(60)
    closing = threading.Thread(target=batches.close)
    with pools._global_shutdown_lock:
        stream.more.set()
        closing.start()
        closing.join(10)
        ended = not closing.is_alive()
    closing.join()
    assert ended


def test_what_is_left_within_a_pass_ends_with_its_threads_whoever_finds_it():
    """Batches that refer to themselves are ended by the garbage collector: here in the thread that reads for them."""
    others, stream = threading.enumerate(), Waiting(then=gc.collect)
    batches = StreamBatches(stream, PIPELINE, 16, buffer=1)
    batches.itself, left = batches, weakref.ref(batches)
    next(batches)
    assert stream.waits.wait(60)
    started = [thread for thread in threading.enumerate() if thread not in others]
    assert started
    gc.disable()
    try:
        del batches
        assert left() is not None
        stream.more.set()
        for thread in started:
            thread.join(20)
    finally:
        gc.enable()
    assert not any(thread.is_alive() for thread in started)
    assert left() is None


def test_a_stream_that_has_lost_what_waits_at_a_position_says_so():
    batches = Streamed(Memory(90), PIPELINE).batches(16, seed=3)
    next(batches)
    with pytest.raises(SourceError, match="has changed"):
        Streamed(Memory(20), PIPELINE).batches(16, seed=3).go_to(batches.position)
