"""A program finds closed streams, little memory, no home folder, strange names, and says what is wrong."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import pytest

from betabloom.errors import BetabloomError, SourceError, UsageError
from betabloom.system import console, surroundings
from betabloom.system.paths import local_path, user_folder
from betabloom.system.signals import Interrupted, when_stopped

HERE = {**os.environ, "PYTHONPATH": str(Path(surroundings.__file__).parents[2])}


@pytest.mark.parametrize("name", ["a b.png", "été #1?.png", "50%.png", "plain"])
def test_an_address_of_a_file_stands_for_its_path(name, tmp_path):
    path = tmp_path / name
    assert local_path(path.as_uri()) == path
    assert local_path(path.as_uri().replace("file://", "file://localhost")) == path
    assert local_path(path.as_uri().replace("file://", "FILE:")) == path
    assert local_path(path) == path


def test_an_address_of_another_machine_is_named():
    with pytest.raises(UsageError, match="on another machine, nas"):
        local_path("file://nas/photos/a.png")


def test_a_home_folder_that_is_not_there_is_said_and_a_folder_of_that_name_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="There is no home folder ~nosuchuser here"):
        local_path("~nosuchuser/photos")
    (tmp_path / "~nosuchuser").mkdir()
    assert local_path("~nosuchuser") == Path("~nosuchuser")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_path("~/photos") == tmp_path / "photos"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users have no number")
def test_without_a_home_folder_the_cache_is_one_that_nobody_else_may_write(tmp_path, monkeypatch):
    import platformdirs

    def homeless(*_, **__):
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr(platformdirs, "user_cache_dir", homeless)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    folder = user_folder("cache", "BETABLOOM_CACHE")
    assert folder == tmp_path / f"betabloom-{os.getuid()}" / "cache"
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    folder.parent.chmod(0o777)
    with pytest.raises(UsageError, match="Set BETABLOOM_CACHE to a folder"):
        user_folder("cache", "BETABLOOM_CACHE")
    folder.parent.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="no home folder"):
        user_folder("cache", "BETABLOOM_CACHE")


@pytest.mark.skipif(os.name == "nt", reason="a shell")
@pytest.mark.parametrize("closed", ["2>&-", "0<&- 2>&-", ">&- 2>&-"])
def test_what_is_opened_first_never_becomes_a_standard_stream(closed, tmp_path):
    code = (
        "import os, sys; from betabloom.system.surroundings import open_closed_streams; open_closed_streams();"
        f"file = open({str(tmp_path / 'mine')!r}, 'w'); assert file.fileno() > 2;"
        "os.write(2, b'a message of a C library'); print('to nobody', file=sys.stderr); file.write('mine')"
    )
    subprocess.run(f'"{sys.executable}" -c "{code}" {closed}', shell=True, env=HERE, check=True, capture_output=True)
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("state", ["missing", "closed"])
def test_progress_and_notes_need_no_stderr(state, monkeypatch, tmp_path, capsys):
    stream = (tmp_path / "err").open("w")
    stream.close()
    monkeypatch.setattr(sys, "stderr", None if state == "missing" else stream)
    monkeypatch.setattr(console, "LINE_EVERY", 0.0)
    with console.progress("training") as report:
        report(1, 2)
        report(2, 2)
    console.note("a note")
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of the address space")
def test_a_limit_that_is_too_small_is_said_before_a_library_aborts():
    check = "from betabloom.system.surroundings import check_memory; check_memory(); import numpy; print(numpy.eye(2))"
    for megabytes, good in ((100, False), (400, True)):
        limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({megabytes} << 20,) * 2); "
        found = subprocess.run(
            [sys.executable, "-c", limit + check], env=HERE, capture_output=True, text=True, timeout=100
        )
        assert (found.returncode == 0) == good, found.stderr
        if not good:
            assert "may use only 100 MB of address space" in found.stderr.splitlines()[-1]


def after_a_stop(error):
    """An error that comes of a Ctrl-C."""
    try:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise error  # noqa: B904  (as an import that is cut short and tried again)
    except type(error) as found:
        return found


def test_a_stop_while_the_command_line_is_loaded_is_one_sentence(monkeypatch, capsys):
    class CutShort(types.ModuleType):
        def __getattr__(self, name):
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "betabloom.cli.main", CutShort("betabloom.cli.main"))
    from betabloom.__main__ import main

    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130
    assert capsys.readouterr().err == "betabloom: stopped.\n"


def test_a_stop_says_what_is_kept_where_there_is_something():
    with pytest.raises(Interrupted, match="two are kept"), when_stopped(lambda: "two are kept"):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), when_stopped(lambda: ""):
        raise KeyboardInterrupt


def test_every_error_is_a_sentence_and_an_exit_code():
    cases = [
        (UsageError("wrong"), "wrong", 2),
        (SourceError("nothing there"), "nothing there", 2),
        (BetabloomError("failed"), "failed", 1),
        (KeyboardInterrupt(), "stopped.", 130),
        (Interrupted("Stopped at step 3."), "Stopped at step 3.", 130),
        (after_a_stop(ImportError("cannot load module more than once per process")), "stopped.", 130),
        (OSError(errno.ENOSPC, "No space left on device", "a.png"), "The disk is full: a.png cannot be written.", 1),
        (MemoryError(), "does not fit in memory", 1),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "does not fit in memory", 1),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "does not fit in memory", 1),
        (PermissionError(13, "Permission denied", "a.png"), "Permission denied: a.png", 1),
        (BrokenPipeError(32, "Broken pipe"), "", 1),
        (TypeError("'NoneType'\nobject"), "(TypeError: 'NoneType' object). Please report it", 1),
    ]
    for error, words, code in cases:
        sentence, found = surroundings.failure(error, {})
        assert words in sentence
        assert found == code
        assert "\n" not in sentence
    with pytest.raises(TypeError):
        surroundings.failure(TypeError("x"), {"BETABLOOM_DEBUG": "1"})
