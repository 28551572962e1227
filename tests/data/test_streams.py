"""Streams: all pictures once, split over processes without loss, shuffled the same way for the same seed."""

from __future__ import annotations

import functools
import http.server
import io
import itertools
import tarfile
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from betabloom.data import Head, Pipeline, Shards, Store, Stream, inspect, is_stream, open_source, open_stream
from betabloom.data.sources.shards import expand
from betabloom.data.store import passes
from betabloom.data.store.streaming import stream_batches
from betabloom.errors import SourceError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

SQUARE = Pipeline.named("square", (8, 8))
Make = Callable[..., Any]


def write_shard(path: Path, members: dict[str, bytes], compress: str = "") -> None:
    with tarfile.open(path, f"w:{compress}") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def encoded(image: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def shards(tmp_path: Path, make_picture: Make) -> Path:
    """5 shards of 7 pictures with labels."""
    (tmp_path / "shards").mkdir()
    for shard in range(5):
        members = {}
        for i in range(7):
            members[f"{i:03}.png"] = encoded(make_picture(10 * shard + i))
            members[f"{i:03}.cls"] = str(i % 3).encode()
            members[f"{i:03}.json"] = b"{}"
        write_shard(tmp_path / "shards" / f"s-{shard:03}.tar", members)
    return tmp_path / "shards"


def test_every_picture_comes_once_with_its_label(shards: Path, make_picture: Make) -> None:
    seen = list(open_stream(f"{shards}/s-{{000..004}}.tar"))
    assert [name.rpartition("/")[2] for name, _, _ in seen] == [f"{i:03}.png" for i in range(7)] * 5
    assert [label for _, _, label in seen] == [i % 3 for i in range(7)] * 5
    for number, (_, image, _) in enumerate(seen):
        assert image.tobytes() == make_picture(10 * (number // 7) + number % 7).tobytes()


@pytest.mark.parametrize("world", [1, 2, 3, 5, 8])
def test_the_parts_make_the_whole(shards: Path, world: int) -> None:
    stream = open_stream(f"{shards}/*.tar")
    whole = sorted(name for name, _, _ in stream)
    parts = [name for rank in range(world) for name, _, _ in stream.shard(rank, world)]
    assert sorted(parts) == whole


def test_two_who_read_at_the_same_time_count_a_shard_once(shards: Path) -> None:
    stream = open_stream(f"{shards}/*.tar")
    one, other = stream.numbered(), stream.numbered()
    assert [number for number, _, _ in itertools.islice(one, 20)] == list(range(20))
    assert [number for number, _, _ in other] == list(range(35))
    assert [number for number, _, _ in one] == list(range(20, 35))
    assert stream.counts == [7] * 5
    assert [number for number, _, _ in stream.numbered(30)] == list(range(30, 35))


def digests(batches: Iterator[np.ndarray]) -> list[int]:
    pictures = list(batches)
    return Store.from_array(np.concatenate(pictures)).digests.tolist() if pictures else []


def test_batches_are_a_shuffle_that_follows_from_the_seed(shards: Path) -> None:
    stream = open_stream(f"{shards}/*.tar")
    batches = functools.partial(stream_batches, stream, SQUARE, 4, keep_last=True)
    in_order = digests(batches(buffer=1))
    assert len(set(in_order)) == 35
    for buffer in (2, 10, 1000):
        first = digests(batches(seed=1, buffer=buffer, workers=1))
        assert first == digests(batches(seed=1, buffer=buffer, workers=4))
        assert first != digests(batches(seed=2, buffer=buffer))
        assert first != in_order
        assert sorted(first) == sorted(in_order)


def test_batches_are_of_one_size(shards: Path) -> None:
    stream = open_stream(f"{shards}/*.tar")
    assert [len(batch) for batch in stream_batches(stream, SQUARE, 8)] == [8] * 4
    assert [len(batch) for batch in stream_batches(stream, SQUARE, 8, keep_last=True)] == [8] * 4 + [3]
    batch = next(stream_batches(stream, SQUARE, 8))
    assert (batch.shape, batch.dtype) == ((8, 8, 8, 3), np.uint8)
    with pytest.raises(UsageError, match="1 or more, not 0 and 5"):
        next(stream_batches(stream, SQUARE, 0, buffer=5))


class Endless(Stream):
    """Counts how many pictures were asked of it."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.name, self.asked, self._content = "endless", 0, content

    def files(self) -> Iterator[tuple[str, io.BytesIO, int | None]]:
        for number in itertools.count():
            self.asked += 1
            yield str(number), io.BytesIO(self._content), None

    def shard(self, rank: int, world: int) -> Stream:
        raise NotImplementedError


def test_an_endless_stream_is_read_only_as_far_as_needed(make_picture: Make) -> None:
    stream = Endless(encoded(make_picture(0)))
    batches = stream_batches(stream, SQUARE, 4, buffer=50, workers=2)
    for _ in range(10):
        next(batches)
    assert stream.asked <= 40 + 50 + (2 * passes.AHEAD + 1) * passes.PIECE
    batches.close()


def test_bad_pictures_and_shards_are_skipped_and_named(shards: Path, make_picture: Make) -> None:
    good = encoded(make_picture(1))
    write_shard(shards / "t-0.tar", {"a.png": b"", "b.png": good, "c.png": b"<html>", "d.txt": b"", ".e.png": good})
    (shards / "t-1.tar").write_bytes((shards / "s-000.tar").read_bytes()[:14000])
    (shards / "t-2.tar").write_bytes(b"hello" * 1000)
    stream = Shards([shards / f"t-{i}.tar" for i in range(3)])
    assert len(list(stream)) == 3  # one from t-0, and the two before the end of t-1
    reasons = {name.rpartition("shards/")[2]: reason[:20] for name, reason in stream.skipped.reasons.items()}
    assert reasons == {
        "t-0.tar/a.png": "empty file (0 bytes)",
        "t-0.tar/c.png": "not a picture but a ",
        "t-1.tar": "the shard cannot be ",
        "t-2.tar": "the shard cannot be ",
    }
    assert len(list(stream_batches(stream.shard(0, 1), SQUARE, 3))) == 1
    assert stream.skipped.count == 8


def test_the_first_pictures_can_be_looked_at(shards: Path) -> None:
    stream = open_stream(f"{shards}/*.tar")
    head = Head(stream, 10)
    assert (len(head), head.name) == (10, "the first 10 of s-000.tar and 4 more shards")
    report = inspect(head)
    assert (report.usable, report.formats) == (10, {"PNG": 10})
    assert head.fingerprint() == Head(stream, 10).fingerprint() != Head(stream, 11).fingerprint()
    assert Head(stream).name == stream.name


def test_least_size_and_compression(tmp_path: Path, make_picture: Make) -> None:
    pictures = {f"{i}.png": encoded(make_picture(i, (20 + i, 20 + i))) for i in range(10)}
    write_shard(tmp_path / "a.tar.gz", pictures, "gz")
    assert len(list(Shards([tmp_path / "a.tar.gz"], min_size=25))) == 5


def test_patterns_ranges_and_lists() -> None:
    assert expand("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert expand("{0..1}/{0..1}.tar::x.tar") == ["0/0.tar", "0/1.tar", "1/0.tar", "1/1.tar", "x.tar"]
    assert expand("https://host/a-{0..1}.tar?b=*") == ["https://host/a-0.tar?b=*", "https://host/a-1.tar?b=*"]
    for spec in ("a-{0..3}.tar", "dir/*.tar", "https://host/a.tar", "a.tar::b.tar", "hf-stream:mnist"):
        assert is_stream(spec), spec
    for spec in (None, "drawn", "photos", "a.tar", "hf:mnist", "https://host/a.zip"):
        assert not is_stream(spec), spec


def test_shards_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there are no shards"):
        open_stream(f"{tmp_path}/*.tar")
    with pytest.raises(SourceError, match=r"there is no file .*a-1\.tar"):
        open_stream(f"{tmp_path}/a-{{1..2}}.tar")
    with pytest.raises(SourceError, match="count up"):
        open_stream("a-{5..1}.tar")
    with pytest.raises(SourceError, match="read as a stream"):
        open_source("https://host/a.tar")


def test_shards_from_the_web(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(shards)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        stream = open_stream(f"http://127.0.0.1:{server.server_port}/s-{{003..006}}.tar")
        assert len(list(stream)) == 14
        assert [name[-9:] for name in stream.skipped.reasons] == ["s-005.tar", "s-006.tar"]
        assert all("404" in reason for reason in stream.skipped.reasons.values())
    finally:
        server.shutdown()
        server.server_close()


def test_a_server_that_fails_is_asked_again(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Busy(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET() if len(asked) == 3 else self.send_error(503)

        def log_message(self, *_: Any) -> None:
            pass

    monkeypatch.setattr("betabloom.data.sources.shards._WAITS", (0.01, 0.01, 0.01))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Busy, directory=str(shards)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        stream = open_stream(f"http://127.0.0.1:{server.server_port}/s-003.tar")
        assert len(list(stream)) == 7
        assert asked == ["/s-003.tar"] * 3
        assert list(stream) == []
        assert len(asked) == 7
        assert "503" in next(iter(stream.skipped.reasons.values()))
    finally:
        server.shutdown()
        server.server_close()


def test_what_comes_after_a_damaged_shard_keeps_its_numbers(shards: Path) -> None:
    """Whether it can be read further later, or less far: what is gone on with would be other pictures."""
    whole = (shards / "s-001.tar").read_bytes()
    last = {}
    for now, later in ((whole[:3000], whole), (whole, whole[:3000])):
        (shards / "s-001.tar").write_bytes(now)
        stream = open_stream(f"{shards}/*.tar")
        last[now] = list(stream.numbered())[-1][:2]
        (shards / "s-001.tar").write_bytes(later)
        again = list(stream.numbered(0, {8}))
        assert again[-1][:2] == last[now]
        assert len({number for number, _, _ in again}) == len(again)
    assert last[whole][0] == 34 > last[whole[:3000]][0]
    (shards / "s-001.tar").write_bytes(whole)
    assert [number for number, _, _ in stream.numbered()] == list(range(35))  # a pass from its beginning reads all


def test_what_the_webdataset_package_writes(tmp_path: Path, make_picture: Make) -> None:
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed: pip install webdataset")
    with webdataset.TarWriter(str(tmp_path / "w-0.tar")) as writer:
        for i in range(6):
            writer.write({"__key__": f"flower.{i}" if i == 5 else f"flower{i}", "png": make_picture(i), "cls": i})
    seen = list(open_stream(f"{tmp_path}/w-*.tar"))
    assert [label for _, _, label in seen] == list(range(6))
    assert all(image.tobytes() == make_picture(i).tobytes() for i, (_, image, _) in enumerate(seen))
