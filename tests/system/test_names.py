"""A name of a result is given to one program at a time, and is free again when that program ends, however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from betabloom.cli.options import free_path
from betabloom.errors import UsageError
from betabloom.system import names

HERE = {**os.environ, "PYTHONPATH": str(Path(names.__file__).parents[2])}
RESERVE = "import sys, pathlib; from betabloom.system.names import reserve_name\n"
RESERVE += "print(*[reserve_name(pathlib.Path(each)) for each in sys.argv[1:]], flush=True); sys.stdin.read()"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")


@pytest.fixture
def other(tmp_path):
    """Another program that has reserved a.png."""
    command = [sys.executable, "-c", RESERVE, str(tmp_path / "a.png")]
    with subprocess.Popen(command, env=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "True\n"
        yield program
        program.kill()
    names.release_names()


def test_a_name_that_another_program_is_about_to_write_is_refused_or_another_is_chosen(other, tmp_path):
    taken = tmp_path / "a.png"
    with pytest.raises(UsageError, match=r"Another program is writing .*a\.png now"):
        free_path(taken, "a.png", force=False)
    assert free_path(taken, "a.png", force=True) == taken
    assert free_path(tmp_path / "b.png", "a.png", force=False) == tmp_path / "b.png"
    usual = str(taken)
    assert free_path(None, usual, force=False) == tmp_path / "a-2.png"
    other.kill()
    other.wait()
    assert free_path(None, usual, force=False) == taken


def test_one_program_may_ask_twice_and_names_are_free_once_it_released_them(tmp_path):
    def asked_elsewhere():
        command = [sys.executable, "-c", RESERVE, str(tmp_path / "a.png"), str(tmp_path / "b.png")]
        return subprocess.run(command, env=HERE, input="", capture_output=True, text=True, check=True).stdout

    assert names.reserve_name(tmp_path / "a.png")
    assert names.reserve_name(tmp_path / "a.png")
    assert asked_elsewhere() == "False True\n"
    names.release_names()
    assert asked_elsewhere() == "True True\n"


def test_where_there_is_no_place_for_locks_every_name_is_free(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    assert names.reserve_name(tmp_path / "a.png")
