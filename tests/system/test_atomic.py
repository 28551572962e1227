"""What is written appears whole or not at all, and nothing that was there is lost on the way."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path

import pytest
import torch

from betabloom.errors import BetabloomError, FileError, UsageError
from betabloom.system import atomic
from betabloom.system.ownership import FolderKind
from betabloom.system.tensors import write_tensors

LETTER = FolderKind("a letter", r"letter\.txt|stamp", lambda folder: (folder / "letter.txt").is_file())


@pytest.fixture(params=["at once", "in two renames"])
def way(request, monkeypatch):
    """Both ways of putting a folder in the place of another."""
    if request.param == "in two renames":
        monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    return request.param


def write(path: Path, text: str) -> None:
    with atomic.replacing(path, LETTER.check) as part:
        (part / "letter.txt").write_text(text)


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_folder_of_ours_is_replaced_and_nothing_stays_beside_it(tmp_path, way):
    for text in ("first", "second"):
        write(tmp_path / "post", text)
        assert contents(tmp_path) == {"post/letter.txt": text}


def test_folders_are_exchanged_at_once_where_the_system_can(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "mine").touch()
    if atomic._exchange(tmp_path / "a", tmp_path / "b"):
        assert not (tmp_path / "a" / "mine").exists()
        assert (tmp_path / "b" / "mine").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("call", [1, 2])
def test_whatever_goes_wrong_between_two_renames_what_was_there_is_there(tmp_path, monkeypatch, error, call):
    monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    write(tmp_path / "post", "first")
    rename, calls = Path.rename, []

    def failing(self, target):
        calls.append(target)
        if len(calls) == call:
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(error):
        write(tmp_path / "post", "second")
    assert contents(tmp_path) == {"post/letter.txt": "first"}


@pytest.mark.parametrize("place", ["post", "letter.txt"])
def test_a_full_disk_is_said_with_the_name_that_a_person_gave(tmp_path, place):
    writer = atomic.replacing_file if "." in place else lambda path: atomic.replacing(path, lambda _: None)
    for inside in (lambda part: None, lambda part: str(part), lambda part: str(part / "model.safetensors")):
        with pytest.raises(OSError, match="disk is full") as found, writer(tmp_path / place) as part:
            raise OSError(errno.ENOSPC, "No space left on device", inside(part))
        assert isinstance(found.value, BetabloomError)
        assert found.value.errno == errno.ENOSPC
        assert found.value.filename == str(tmp_path / place)
    with pytest.raises(FileError, match=r"Permission denied: .*other\.txt"), writer(tmp_path / place):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "other.txt"))
    assert contents(tmp_path) == {}


def test_what_was_killed_between_two_renames_is_put_back_by_the_sweep_and_by_the_next_writer(tmp_path):
    for tidy in (lambda: atomic.remove_leftovers(tmp_path), lambda: write(tmp_path / "post", "second")):
        write(tmp_path / "post", "first")
        (tmp_path / "post").rename(tmp_path / ".post.7.old")
        (tmp_path / ".7-0a.part").mkdir()
        tidy()
        assert (tmp_path / "post" / "letter.txt").read_text() in ("first", "second")
        assert not (tmp_path / ".post.7.old").exists()


def test_the_sweep_removes_an_old_copy_only_where_the_new_one_is(tmp_path):
    write(tmp_path / "post", "new")
    (tmp_path / ".post.7.old").mkdir()
    for mine in (".notes.old", ".7.party", "7.part", ".draft.part"):
        (tmp_path / mine).write_text("mine")
    atomic.remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".7.party",
        ".draft.part",
        ".notes.old",
        "7.part",
        "post",
    ]


def test_what_a_person_keeps_in_a_folder_is_never_replaced(tmp_path, way):
    post = tmp_path / "post"
    post.mkdir()
    write(post, "an empty folder is nobody's")
    (post / "diary.txt").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=r"did not write all that is in it: diary\.txt"):
        write(post, "second")
    (post / "letter.txt").rename(post / "stamp")
    with pytest.raises(UsageError, match=r"it is not a letter: it holds diary\.txt"):
        write(post, "second")
    with pytest.raises(UsageError, match="is a file, and a letter is a folder"):
        write(post / "stamp", "second")
    (post / "stamp").rename(post / "letter.txt")
    assert contents(tmp_path) == before


def test_what_comes_into_a_folder_while_another_is_written_stays(tmp_path):
    write(tmp_path / "post", "first")

    def check_and_then_bring_mine(path: Path) -> None:
        LETTER.check(path)
        (path / "diary.txt").write_text("mine")

    with pytest.raises(UsageError, match="diary"), atomic.replacing(tmp_path / "post", check_and_then_bring_mine):
        pass
    assert contents(tmp_path) == {"post/diary.txt": "mine", "post/letter.txt": "first"}


def test_links_are_followed(tmp_path, way):
    (tmp_path / "far").mkdir()
    (tmp_path / "folder").symlink_to("far/post")
    (tmp_path / "file").symlink_to("far/note")
    for text in ("to nothing yet", "to what is there"):
        write(tmp_path / "folder", text)
        atomic.write_text(tmp_path / "file", text)
        assert (tmp_path / "folder").is_symlink()
        assert (tmp_path / "file").is_symlink()
        assert contents(tmp_path / "far") == {"note": text, "post/letter.txt": text}


def test_a_file_keeps_who_may_read_it_and_a_device_stays_a_device(tmp_path):
    (tmp_path / "secret").touch(mode=0o600)
    atomic.write_text(tmp_path / "secret", "new")
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match="not a regular file"):
            atomic.write_text(tmp_path / "pipe", "new")
        assert (tmp_path / "pipe").is_fifo()


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_writing_tensors_never_changes_the_permissions_of_what_other_threads_write(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask belongs to all threads"))
    write_tensors({"x": torch.zeros(1)}, tmp_path / "x")
    (tmp_path / "usual").touch()
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_threads_that_write_one_file_or_folder_leave_one_of_their_results(tmp_path):
    def work(number: int) -> None:
        for _ in range(10):
            atomic.write_json(tmp_path / "file", [number] * 1000, synced=False)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(json.loads((tmp_path / "file").read_text()))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_json_holds_any_name_in_any_encoding():
    for value in ("été", "日本", "\udce9", "plain"):
        for encoding in ("utf-8", "cp1252", "ascii"):
            text = atomic.json_text({"name": value}, encoding)
            assert json.loads(text.encode(encoding).decode(encoding)) == {"name": value}
    assert atomic.json_text("été") == '"été"'
    assert atomic.json_text("été", "cp1252") == '"été"'
