"""A lock is held by one process at a time, and by none that has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from betabloom.system import locks
from betabloom.system.locks import locked, unless_locked

HERE = {**os.environ, "PYTHONPATH": str(Path(locks.__file__).parents[2])}
HOLD = "import sys, pathlib, time; from betabloom.system.locks import locked\n"
HOLD += "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(100)"
COUNT = """
import sys, pathlib
from betabloom.system.locks import locked
path = pathlib.Path(sys.argv[1])
for _ in range(40):
    with locked(path.with_name("lock")):
        count = int(path.read_text())
        path.write_text("")
        path.write_text(str(count + 1))
"""


def test_processes_that_count_together_lose_no_count_although_the_file_comes_and_goes(tmp_path):
    (tmp_path / "count").write_text("0")
    command = [sys.executable, "-c", COUNT, str(tmp_path / "count")]
    started = [subprocess.Popen(command, env=HERE) for _ in range(4)]
    assert [process.wait(timeout=100) for process in started] == [0] * 4
    assert (tmp_path / "count").read_text() == "160"
    assert [path.name for path in tmp_path.iterdir()] == ["count"]


def test_threads_hold_it_one_at_a_time(tmp_path):
    inside, most = [], []

    def work() -> None:
        for _ in range(20):
            with locked(tmp_path / "lock"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_holder_that_is_killed_holds_it_no_more(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")], env=HERE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with unless_locked(tmp_path / "lock") as held:
        assert not held
    waited = []
    threading.Timer(0.2, holder.send_signal, [signal.SIGKILL]).start()
    with locked(tmp_path / "lock", lambda: waited.append(True)):
        assert waited == [True]
    holder.wait()
    holder.stdout.close()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(OSError, match="No such file"), locked(tmp_path / "none" / "lock"):
        pass


def test_the_library_is_loaded_when_something_is_locked_and_not_before():
    code = "import sys, betabloom.system.locks, betabloom.data.store.cache; print('filelock' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], env=HERE, capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
