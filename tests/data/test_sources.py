"""Sources: what is found, in which order, and what is said where nothing is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.io import savemat

from betabloom.data import Flowers102, Folder, fetch_flowers102, find_flowers102, open_source
from betabloom.data.sources.flowers102 import CLASSES
from betabloom.errors import FetchError, PictureError, SourceError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

Make = Callable[..., Any]


@pytest.fixture
def small_flowers102(tmp_path: Path, make_picture: Make) -> Path:
    folder = tmp_path / "copy" / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    for i in range(1, 7):
        make_picture(i).save(folder / "jpg" / f"image_{i:05d}.jpg")
    savemat(folder / "imagelabels.mat", {"labels": np.array([[1, 1, 2, 54, 102, 102]], dtype=np.uint8)})
    splits = {"trnid": [[1, 2]], "valid": [[3]], "tstid": [[4, 6, 5]]}
    savemat(folder / "setid.mat", {key: np.array(ids, dtype=np.uint16) for key, ids in splits.items()})
    return folder


def test_importing_is_light() -> None:
    code = "import sys, betabloom.data; print([m for m in ('torch', 'scipy', 'urllib.request') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_names_sort_as_people_do_whatever_the_order_on_disk(tmp_path: Path, make_picture: Make) -> None:
    for name in ("10.jpg", "9.jpg", "2.PNG", "b/1.gif", "a b/3.bmp", "日本 語.jpg", "new\nline.jpg"):
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        make_picture(0).convert("RGB").save(tmp_path / "p" / name)
    source = Folder(tmp_path / "p")
    assert list(source.names) == ["2.PNG", "9.jpg", "10.jpg", "a b/3.bmp", "b/1.gif", "new\nline.jpg", "日本 語.jpg"]
    assert source.labels is None
    assert all(source.read(i).size == (40, 30) for i in range(len(source)))


def test_hidden_and_other_files_are_left_out(tmp_path: Path, make_picture: Make) -> None:
    for name in ("a.jpg", ".b.jpg", ".hidden/c.jpg", "notes.txt", "plot.eps"):
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        make_picture(0).save(tmp_path / "p" / name, format="JPEG")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "p" / "pipe.jpg")
    assert list(Folder(tmp_path / "p").names) == ["a.jpg"]


def test_first_level_folders_are_classes_if_all_pictures_are_in_them(tmp_path: Path, make_picture: Make) -> None:
    for name in ("tulip 10/x/a.jpg", "tulip 2/b.jpg", "tulip 10/c.jpg"):
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        make_picture(0).save(tmp_path / "p" / name)
    source = Folder(tmp_path / "p")
    assert source.label_names == ["tulip 2", "tulip 10"]
    assert source.labels is not None
    assert [source.label_names[i] for i in source.labels] == [name.split("/")[0] for name in source.names]


def test_links_are_followed_once_and_loops_end(tmp_path: Path, make_picture: Make) -> None:
    (tmp_path / "p" / "in").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    make_picture(0).save(tmp_path / "p" / "in" / "a.jpg")
    make_picture(1).save(tmp_path / "elsewhere" / "b.jpg")
    (tmp_path / "p" / "in" / "loop").symlink_to(tmp_path / "p")
    (tmp_path / "p" / "again").symlink_to(tmp_path / "p" / "in")
    (tmp_path / "p" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "p" / "self.jpg").symlink_to(tmp_path / "p" / "self.jpg")
    (tmp_path / "p" / "broken.jpg").symlink_to(tmp_path / "nothing")
    source = Folder(tmp_path / "p")
    assert list(source.names) == ["broken.jpg", "in/a.jpg", "linked/b.jpg", "self.jpg"]
    with pytest.raises(PictureError, match="link to nothing"):
        source.read(0)
    with pytest.raises(PictureError, match="symbolic links"):
        source.read(3)


def test_the_fingerprint_follows_names_sizes_and_times(photos: Path, make_picture: Make) -> None:
    before = Folder(photos).fingerprint()
    assert Folder(photos).fingerprint() == before
    assert Folder(photos, background="black").fingerprint() != before
    os.utime(photos / "3.jpg", (1, 1))
    touched = Folder(photos).fingerprint()
    (photos / "3.jpg").rename(photos / "x.jpg")
    renamed = Folder(photos).fingerprint()
    assert len({before, touched, renamed}) == 3


def test_flowers102_labels_splits_and_names(small_flowers102: Path) -> None:
    source = Flowers102(small_flowers102)
    assert source.labels is not None
    assert source.labels.tolist() == [0, 0, 1, 53, 101, 101]
    assert {name: indices.tolist() for name, indices in source.splits.items()} == {
        "train": [0, 1],
        "val": [2],
        "test": [3, 5, 4],
    }
    assert source.label_names is not None
    assert source.label_names[53] == "sunflower"
    assert len(set(CLASSES)) == 102
    assert source.read(5).size == (40, 30)


def test_flowers102_damaged_lists_are_reported(small_flowers102: Path) -> None:
    savemat(small_flowers102 / "setid.mat", {"trnid": [[1, 99]], "valid": [[3]], "tstid": [[4]]})
    with pytest.raises(SourceError, match="out of range"):
        Flowers102(small_flowers102)
    (small_flowers102 / "setid.mat").write_bytes(b"damaged")
    with pytest.raises(SourceError, match=r"setid\.mat' is damaged"):
        Flowers102(small_flowers102)


def test_flowers102_is_found_where_it_may_lie(small_flowers102: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (small_flowers102, small_flowers102.parent):
        monkeypatch.setenv("BETABLOOM_DATA", str(place))
        assert find_flowers102() == small_flowers102
        assert isinstance(open_source(None), Flowers102)
        assert isinstance(open_source(str(place)), Flowers102)
    assert isinstance(open_source(small_flowers102 / "jpg"), Folder)


def test_a_whole_copy_has_the_official_sizes(flowers102_path: Path) -> None:
    source = open_source(flowers102_path)
    assert len(source) == 8189
    assert {name: len(indices) for name, indices in source.splits.items()} == {"train": 1020, "val": 1020, "test": 6149}
    assert sorted(np.concatenate(list(source.splits.values())).tolist()) == list(range(8189))
    assert source.labels is not None
    assert np.bincount(source.labels).min() == 40


def test_drawn_flowers_by_name() -> None:
    assert len(open_source("drawn:12")) == 12
    assert open_source("drawn").name == "drawn"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no/such/folder", "there is no folder or file 'no/such/folder'. Give a folder"),
        ("drawn:many", "as in `drawn:4096`"),
        ("a.txt", "is a file, not a folder"),
        ("nothing", "it is empty"),
        ("texts", "no pictures among the 1 files"),
    ],
)
def test_what_cannot_be_a_source_names_what_to_type(tmp_path: Path, spec: str, message: str) -> None:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").touch()
    (tmp_path / "a.txt").touch()
    with pytest.raises(SourceError, match=message):
        open_source(spec)


def test_without_a_copy_and_without_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("betabloom.data.sources.flowers102.user_data", lambda: tmp_path / "user")
    with pytest.raises(SourceError, match="betabloom train drawn"):
        open_source("flowers102", download=False)


def test_offline_says_so_and_leaves_nothing_half_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*address: Any, **options: Any) -> Any:  # no resolver is asked, which may keep the test waiting
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    monkeypatch.setattr("betabloom.data.sources.flowers102.user_data", lambda: tmp_path / "user")
    with pytest.raises(FetchError, match=r"offline: host\.invalid.*betabloom train drawn"):
        fetch_flowers102(tmp_path / "data", base_url="http://host.invalid/")
    assert find_flowers102() is None
    assert not [path for path in (tmp_path / "data").iterdir() if path.suffix != ".lock"]


def test_an_unknown_background_is_named(photos: Path) -> None:
    with pytest.raises(UsageError, match="'background' should be a colour"):
        Folder(photos, background="nocolour")
