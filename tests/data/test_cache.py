"""The cache can be looked at and freed, and nothing but our own folders in it is ever touched."""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from betabloom.cli.main import run
from betabloom.data import Folder, Pipeline, prepare
from betabloom.data.store.cache import clear, entries, lock_of
from betabloom.data.store.texts import Texts, write_texts
from betabloom.errors import UsageError
from betabloom.system.locks import locked, unless_locked

if TYPE_CHECKING:
    from pathlib import Path

SQUARE = Pipeline.named("square", (8, 8))
JUST = Pipeline.named("justcrop", (8, 8))


def _run(*words: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        run(["cache", *words])
    return out.getvalue()


def _age(folder: Path, days: float) -> None:
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (time.time() - days * 86400,) * 2)


def test_list_says_what_there_is(photos: Path) -> None:
    assert json.loads(_run("list", "--json"))["stores"] == []
    store = prepare(Folder(photos), SQUARE)
    assert store.path is not None
    (facts,) = json.loads(_run("list", "--json"))["stores"]
    assert (facts["source"], facts["pipeline"], facts["shape"]) == ("photos", "square", [40, 8, 8, 3])
    assert facts["bytes"] == sum(path.stat().st_size for path in store.path.iterdir())
    assert facts["date"].startswith(time.strftime("%Y-"))
    table = _run("list").splitlines()
    assert table[0].split() == ["source", "pictures", "size", "pipeline", "on", "disk", "date", "key"]
    assert table[1].split()[:4] == ["photos", "40", "8×8", "square"]
    assert "betabloom cache clear" in table[2]


def test_clear_frees_and_the_next_run_prepares_again(photos: Path) -> None:
    first = prepare(Folder(photos), SQUARE)
    size = json.loads(_run("list", "--json"))["bytes"]
    assert json.loads(_run("clear", "--json"))["bytes"] == size > 0
    assert entries() == []
    assert prepare(Folder(photos), SQUARE).fingerprint == first.fingerprint


def test_clear_takes_a_name_a_key_and_an_age(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.jpg").write_bytes((photos / "1.jpg").read_bytes())
    stores = [prepare(Folder(path), pipeline) for path in (photos, tmp_path / "other") for pipeline in (SQUARE, JUST)]
    paths = [store.path for store in stores if store.path is not None]
    _run("clear", paths[0].name[:8])
    assert [path.exists() for path in paths] == [False, True, True, True]
    _run("clear", "other")
    assert [path.exists() for path in paths] == [False, True, False, False]
    _run("clear", "--older-than", "2")
    assert paths[1].exists()
    _age(paths[1], 3)
    _run("clear", "--older-than", "2")
    assert not paths[1].exists()
    with pytest.raises(UsageError, match=r"of 'photo'\. To see what there is: betabloom cache list"):
        _run("clear", "photo")


def test_nothing_else_is_touched(photos: Path, tmp_path: Path) -> None:
    store = prepare(Folder(photos), SQUARE)
    assert store.path is not None
    stores = store.path.parent
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    (stores / ("a" * 32)).symlink_to(outside)
    (store.path / "link").symlink_to(outside)
    (stores / "notes").mkdir()
    (stores / "notes" / "precious").write_text("mine")
    (stores / ("b" * 32)).write_text("a file, not a store")
    (stores.parent / "precious").write_text("mine")
    _run("clear")
    left = sorted(path.relative_to(tmp_path / "cache").as_posix() for path in (tmp_path / "cache").rglob("*"))
    assert left == ["precious", "stores", f"stores/{'a' * 32}", f"stores/{'b' * 32}", "stores/notes",
                    "stores/notes/precious"]  # fmt: skip
    assert (outside / "precious").read_text() == "mine"


def test_what_is_just_being_prepared_stays(photos: Path) -> None:
    store = prepare(Folder(photos), SQUARE)
    assert store.path is not None
    with locked(lock_of(store.path)):
        assert "1 kept because they are in use" in _run("clear")
    assert store.path.exists()
    assert clear()[1] == 0
    assert not store.path.exists()


def test_a_damaged_or_foreign_store_is_listed_and_goes(photos: Path) -> None:
    store = prepare(Folder(photos), SQUARE)
    assert store.path is not None
    (store.path / "store.json").write_text("{}")
    assert json.loads(_run("list", "--json"))["stores"][0]["source"] == ""
    _run("clear")
    assert not store.path.exists()


def test_killed_leftovers_go_when_something_else_is_prepared(photos: Path) -> None:
    store = prepare(Folder(photos), SQUARE)
    assert store.path is not None
    stores, keys = store.path.parent, [digit * 32 for digit in "123"]
    for name in (f"{keys[0]}.part", f"{keys[1]}.part", f"{keys[2]}.trash"):
        (stores / name / "store").mkdir(parents=True)
    (stores / f"{keys[0]}.lock").touch()
    _age(stores / f"{keys[0]}.part", 8)
    other = prepare(Folder(photos), JUST)
    assert other.path is not None
    assert sorted(path.name for path in stores.iterdir()) == sorted(
        [store.path.name, other.path.name, f"{keys[1]}.part"]
    )


def test_a_lock_is_held_by_one_and_leaves_nothing(tmp_path: Path) -> None:
    path, waited = tmp_path / "lock", list[bool]()
    with locked(path, lambda: waited.append(True)):
        assert not waited
        with unless_locked(path) as held:
            assert not held
    assert not path.exists()
    with unless_locked(path) as held:
        assert held
    assert list(tmp_path.glob("lock")) == []


@given(st.lists(st.text(st.characters(codec=None), max_size=20), max_size=30))
def test_any_texts_come_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("texts") / "texts.bin"
    write_texts(path, texts, len(texts))
    read = Texts(path)
    assert list(read) == texts == [read[i] for i in range(len(texts))]
    assert read[1:-1] == texts[1:-1]
    assert read[::-1] == texts[::-1]


def test_texts_that_are_damaged_or_miscounted_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "texts.bin"
    write_texts(path, (str(i) for i in range(2000)), 2000)
    whole = path.read_bytes()
    for length in (0, 8, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut short|empty"):
            Texts(path)
    for count in (1999, 2001):
        with pytest.raises(ValueError, match="announced"):
            write_texts(path, map(str, range(2000)), count)
    assert np.array_equal(np.frombuffer(whole[:8], "<u8"), [2000])
