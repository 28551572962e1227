"""Killed at any instant, damaged anywhere, run by two at once: the store is whole or absent, and always the same."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from betabloom.data import Folder, Pipeline, Source, Store, prepare
from betabloom.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Callable

SQUARE = Pipeline.named("square", (4, 4))
needs_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")


def files(folder: Path | None) -> dict[str, bytes]:
    assert folder is not None
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Greys(Source):
    """Pictures of one grey level each, of which every seventh cannot be read; counts what is read."""

    name = "greys"

    def __init__(self, count: int = 150, state: str = "") -> None:
        self.names = [f"grey {i}" for i in range(count)]
        self.labels = np.arange(count)
        self.splits = {"val": np.arange(0, count, 3)}
        self.asked: list[int] = []
        self.state = state

    def read(self, index: int) -> Image.Image:
        self.asked.append(index)
        if index % 7 == 3:
            raise PictureError("every seventh is bad")
        return Image.new("RGB", (5, 5), (index % 256, index // 256, 7))

    def fingerprint(self) -> str:
        return f"greys {len(self.names)} {self.state}"


class StopError(Exception):
    """Raised where somebody presses Ctrl-C."""


def stop_after(count: int) -> Callable[[int, int, str], None]:
    def progress(done: int, _total: int, _text: str) -> None:
        if done >= count:
            raise StopError

    return progress


def test_what_was_interrupted_goes_on_and_ends_in_the_same_bytes(tmp_path: Path) -> None:
    reference = prepare(Greys(), SQUARE, cache=tmp_path / "whole")
    for count in (32, 96, 150):
        cache, source = tmp_path / str(count), Greys()
        with pytest.raises(StopError):
            prepare(Greys(), SQUARE, cache=cache, workers=2, progress=stop_after(count))
        store = prepare(source, SQUARE, cache=cache, workers=3)
        assert sorted(source.asked) == list(range(count, 150))
        assert files(store.path) == files(reference.path)
        assert [path.name for path in (cache / "stores").iterdir()] == [store.path.name if store.path else ""]


def test_progress_goes_on_too(tmp_path: Path) -> None:
    with pytest.raises(StopError):
        prepare(Greys(), SQUARE, cache=tmp_path, progress=stop_after(96))
    seen: list[tuple[int, int]] = []
    prepare(Greys(), SQUARE, cache=tmp_path, progress=lambda done, total, _: seen.append((done, total)))
    assert seen == [(128, 150), (150, 150)]


def test_another_source_or_pipeline_never_goes_on_with_it(tmp_path: Path) -> None:
    with pytest.raises(StopError):
        prepare(Greys(), SQUARE, cache=tmp_path, progress=stop_after(96))
    changed, other = Greys(state="changed"), Greys()
    prepare(changed, SQUARE, cache=tmp_path)
    assert sorted(changed.asked) == list(range(150))
    prepare(other, Pipeline.named("square", (4, 5)), cache=tmp_path)
    assert sorted(other.asked) == list(range(150))


@settings(max_examples=25, deadline=None)
@given(
    file=st.sampled_from(["journal.jsonl", "store/pictures.npy"]),
    where=st.floats(0, 1),
    damage=st.sampled_from(["cut", "zeros", "flip", "more"]),
)
def test_whatever_happened_to_the_files_the_result_is_right(
    tmp_path_factory: pytest.TempPathFactory, file: str, where: float, damage: str
) -> None:
    cache, whole = tmp_path_factory.mktemp("damaged"), tmp_path_factory.mktemp("whole")
    reference = prepare(Greys(), SQUARE, cache=whole)
    with pytest.raises(StopError):
        prepare(Greys(), SQUARE, cache=cache, progress=stop_after(128))
    (path,) = (cache / "stores").glob(f"*.part/{file}")
    content = path.read_bytes()
    place = int(where * (len(content) - 1))
    flipped = bytes([content[place] ^ 0x10])
    path.write_bytes(
        {
            "cut": content[:place],
            "zeros": content[:place] + bytes(len(content) - place),
            "flip": content[:place] + flipped + content[place + 1 :],
            "more": content + content[place:],
        }[damage]
    )
    store = prepare(Greys(), SQUARE, cache=cache)
    assert files(store.path) == files(reference.path)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_interruption import Greys, SQUARE, files
from betabloom.data import prepare
from betabloom.data.store.cache import sweep
os.fsync = lambda file: None
CALLS = {"write", "flush", "truncate", "rename", "unlink", "rmdir", "mkdir", "open", "close", "flock", "fsync"}

def run(cache, last):
    "Prepare in a process of its own that is killed before its call number `last`; tell whether it was."
    pid = os.fork()
    if not pid:
        left = last
        def watch(frame, event, function):
            nonlocal left
            if event == "c_call" and function.__name__ in CALLS:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        if last is not None:
            sys.setprofile(watch)
        prepare(Greys(), SQUARE, cache=cache, workers=1)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])

root, step = Path(sys.argv[2]), int(sys.argv[3])
reference = files(prepare(Greys(), SQUARE, cache=root / "whole", workers=1).path)
(name,) = (path.name for path in (root / "whole" / "stores").iterdir())
number = 0
while run(cache := root / str(number), number * step):
    final = cache / "stores" / name
    assert not final.exists() or files(final) == reference, number
    run(cache, None)
    assert files(final) == reference, number
    number += 1
    sweep(cache / "stores")
    assert [path.name for path in (cache / "stores").iterdir()] == [name], number
print(number)
"""


def _kill_at_every(tmp_path: Path, step: int) -> int:
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path), str(step)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout) * step


@needs_kill
def test_killed_before_some_calls_to_the_system(tmp_path: Path) -> None:
    assert _kill_at_every(tmp_path, 23) > 50


@needs_kill
@pytest.mark.slow
def test_killed_before_every_call_to_the_system(tmp_path: Path) -> None:
    assert _kill_at_every(tmp_path, 1) > 50


def test_what_the_system_refused_is_tried_again(photos: Path) -> None:
    """A drive that was away for a moment, or a permission that was missing, does not cost pictures for ever."""
    away, photo = photos.with_name("away"), photos / "7.jpg"
    source = Folder(photos)
    photo.rename(away)
    with pytest.raises(StopError):
        prepare(source, SQUARE, progress=stop_after(32))
    away.rename(photo)
    assert not prepare(Folder(photos), SQUARE).skipped

    (photos / "8.jpg").rename(away)
    (photos / "8.jpg").symlink_to(photos / "no such file")
    store = prepare(broken := Folder(photos), SQUARE)
    assert [entry["name"] for entry in store.skipped] == ["8.jpg"]
    asked: list[int] = []
    read = broken.read
    broken.read = lambda index: asked.append(index) or read(index)  # type: ignore[method-assign, func-returns-value]
    assert prepare(broken, SQUARE).path == store.path
    assert asked == [8]


class Changing(Greys):
    """A source that changes when picture 40 is read: as a folder in which somebody works."""

    def read(self, index: int) -> Image.Image:
        if index == 40:
            self.state = "changed"
        return super().read(index)


def test_a_source_that_changes_meanwhile_is_prepared_anew(tmp_path: Path) -> None:
    changed = prepare(Changing(), SQUARE, cache=tmp_path)
    assert changed.changed
    assert len(changed) == 150 - len(changed.skipped)
    as_before = Greys()
    again = prepare(as_before, SQUARE, cache=tmp_path)
    assert sorted(as_before.asked) == list(range(150))
    assert not again.changed
    prepare(as_before, SQUARE, cache=tmp_path)
    assert len(as_before.asked) == 150


@pytest.mark.parametrize("change", ["replace", "remove", "remove and bring back"])
def test_a_folder_that_changes_meanwhile_is_prepared_as_found_and_anew_next_time(photos: Path, change: str) -> None:
    first, away = (photos / "1.jpg").read_bytes(), photos.with_name("away")

    def meanwhile(done: int, _total: int, _text: str) -> None:
        if done > 32:
            return
        if change == "replace":
            (photos / "39.jpg").write_bytes(first)
        else:
            (photos / "39.jpg").rename(away)

    store = prepare(source := Folder(photos), SQUARE, workers=1, progress=meanwhile)
    assert store.changed or change == "remove and bring back"
    assert len(store) + len(store.skipped) == 40
    if change == "remove and bring back":
        away.rename(photos / "39.jpg")
    again = prepare(source, SQUARE)
    assert not again.changed
    assert [entry["name"] for entry in again.skipped] == (["39.jpg"] if change == "remove" else [])
    if change != "remove":
        assert np.array_equal(again.pictures[39], SQUARE.load(photos / "39.jpg"))


def test_files_that_go_away_or_are_replaced_after_listing_are_named_or_used(photos: Path) -> None:
    source = Folder(photos)
    (photos / "1.jpg").unlink()
    (photos / "2.jpg").write_bytes((photos / "3.jpg").read_bytes())
    (photos / "4.jpg").write_text("<html>")
    store = prepare(source, SQUARE)
    assert {entry["name"]: entry["reason"].split()[0] for entry in store.skipped} == {"1.jpg": "no", "4.jpg": "not"}
    assert np.array_equal(store.pictures[store.names.index("2.jpg")], SQUARE.load(photos / "3.jpg"))
    assert prepare(Folder(photos), SQUARE).path != store.path


class Slow(Greys):
    def read(self, index: int) -> Image.Image:
        time.sleep(0.002)
        return super().read(index)


def test_threads_that_prepare_the_same_store_do_it_once(tmp_path: Path) -> None:
    sources, stores = [Slow() for _ in range(3)], list[Store]()
    threads = [
        threading.Thread(target=lambda source=source: stores.append(prepare(source, SQUARE, cache=tmp_path)))
        for source in sources
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(store.path, store.fingerprint) for store in stores}) == 1
    assert sorted(len(source.asked) for source in sources) == [0, 0, 150]
    assert len(list((tmp_path / "stores").iterdir())) == 1


TWO = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_interruption import Slow, SQUARE
from betabloom.data import prepare
source = Slow()
store = prepare(source, SQUARE, cache=Path(sys.argv[2]))
print(len(source.asked), store.fingerprint)
"""


def test_processes_that_prepare_the_same_store_do_it_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TWO, str(Path(__file__).parent), str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    asked, fingerprints = zip(*(process.communicate(timeout=60)[0].split() for process in running), strict=True)
    assert sorted(asked) == ["0", "150"]
    assert len(set(fingerprints)) == 1


def test_the_journal_is_plain_text(tmp_path: Path) -> None:
    with pytest.raises(StopError):
        prepare(Greys(), SQUARE, cache=tmp_path, progress=stop_after(32))
    (path,) = (tmp_path / "stores").glob("*.part/journal.jsonl")
    plan, piece = path.read_text().splitlines()
    assert json.loads(plan)["pictures"] == 150
    assert json.loads(piece.partition(" ")[2])["stop"] == 32
