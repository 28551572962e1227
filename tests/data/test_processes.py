"""Processes that prepare files do what threads do, end with whoever started them, and are missed by nobody."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from betabloom.data import Folder, Pipeline, Store, prepare
from betabloom.data.store import processes as module

SQUARE = Pipeline.named("square", (16, 16))


@pytest.fixture
def many(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """130 files, some bad, that count as many."""
    for i in range(80):
        (photos / f"copy {i}.jpg").write_bytes((photos / f"{i % 40}.jpg").read_bytes())
    for i in range(5):
        (photos / f"bad {i}.jpg").write_bytes(b"<html>" * i)
        (photos / f"broken {i}.jpg").symlink_to("nowhere")
    monkeypatch.setattr(module, "_MANY", 100)
    return photos


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    found: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen
    monkeypatch.setattr(module.subprocess, "Popen", lambda *a, **k: found.append(popen(*a, **k)) or found[-1])
    return found


def _files(store: Store) -> dict[str, bytes]:
    assert store.path is not None
    return {path.name: path.read_bytes() for path in store.path.iterdir()}


def test_they_make_the_same_bytes_as_one_thread(
    many: Path, tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    source = Folder(many, background="#123456", min_size=2)
    one = prepare(source, SQUARE, cache=tmp_path / "1", workers=1)
    assert not started
    three = prepare(source, SQUARE, cache=tmp_path / "3", workers=3)
    assert 1 <= len(started) <= 3
    assert all(process.returncode is not None for process in started)
    assert _files(three) == _files(one)
    assert len(one.skipped) == len(one.refused) + 5 == 10


def test_what_a_dying_process_leaves_its_thread_does(
    many: Path, tmp_path: Path, started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = prepare(Folder(many), SQUARE, cache=tmp_path / "1", workers=1)
    receive = module._Process._receive

    def die(self: module._Process, process: subprocess.Popen[bytes]) -> object:
        started[0].kill()
        return receive(self, process)

    monkeypatch.setattr(module._Process, "_receive", die)
    assert _files(prepare(Folder(many), SQUARE, cache=tmp_path / "2", workers=2)) == _files(one)


def test_where_no_process_can_be_started_threads_do_the_work(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = prepare(Folder(many), SQUARE, cache=tmp_path / "1", workers=1)
    monkeypatch.setattr(module.sys, "executable", str(tmp_path / "python-that-is-not-there"))
    assert _files(prepare(Folder(many), SQUARE, cache=tmp_path / "2", workers=2)) == _files(one)
    monkeypatch.setattr(module.sys, "executable", "/opt/some-other-program")
    assert module._as_files(Folder(many)) is None


def test_a_source_with_a_way_of_its_own_to_read_is_asked_itself(many: Path) -> None:
    class Own(Folder):
        def read(self, index: int):
            return super().read(index).convert("L")

    assert module._as_files(Folder(many)) is not None
    assert module._as_files(Own(many)) is None


def test_who_interrupts_does_not_wait_for_what_is_being_prepared(
    many: Path, tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    """Not for threads, and not for processes that would not answer again; what was prepared before is kept."""

    class Slow(Folder):
        def read_reduced(self, index: int, at_least: tuple[int, int]):
            time.sleep(0.05)
            return super().read_reduced(index, at_least)

    for source in (Slow(many), Folder(many)):
        begun = []

        def interrupt(*_: object, begun: list[float] = begun) -> None:
            begun.append(time.monotonic())
            for process in started:
                process.send_signal(signal.SIGSTOP)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            prepare(source, SQUARE, cache=tmp_path / type(source).__name__, workers=2, progress=interrupt)
        assert time.monotonic() - begun[0] < 1
    assert len(started) == 2
    assert all(process.returncode == -signal.SIGKILL for process in started)
    assert len(prepare(Folder(many), SQUARE, cache=tmp_path / "Folder", workers=1)) == 120


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to see whose children are alive")
def test_none_outlives_the_program_that_started_it(many: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time; from betabloom.data import Folder, Pipeline, prepare;"
        "from betabloom.data.store import processes; processes._MANY = 1;"
        "slow = lambda done, *_: (print(done, flush=True), time.sleep(60));"
        "prepare(Folder(sys.argv[1]), Pipeline.named('square', (16, 16)), workers=2, progress=slow)"
    )
    program = subprocess.Popen([sys.executable, "-c", code, str(many)], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    assert program.stdout.readline() == "32\n"
    tasks = Path(f"/proc/{program.pid}/task").glob("*/children")
    children = [int(pid) for task in tasks for pid in task.read_text().split()]
    assert children
    program.send_signal(signal.SIGKILL)
    program.communicate()
    until = time.monotonic() + 10
    while any(_is_alive(pid) for pid in children) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(_is_alive(pid) for pid in children)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
