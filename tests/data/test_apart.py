"""Sources that look alike are told apart, and what betabloom makes beside the pictures is none of them."""

from __future__ import annotations

import os
import shutil
import tarfile
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from betabloom.data import Folder, Pipeline, open_source, prepare
from betabloom.errors import SourceError
from betabloom.imaging.png import save_png

if TYPE_CHECKING:
    from pathlib import Path

CATS, DOGS = (250, 20, 20), (20, 20, 250)
THEN = (1_000_000_000, 1_000_000_000)


def paint(folder: Path, colour: tuple[int, int, int]) -> None:
    """Five pictures with the same names, sizes in bytes and dates, whatever their colour."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(5):
        Image.new("RGB", (40, 40), colour).save(folder / f"{number}.bmp")
        os.utime(folder / f"{number}.bmp", THEN)
    os.utime(folder, THEN)


def as_folder(place: Path, colour: tuple[int, int, int]) -> Path:
    paint(place / "train", colour)
    return place / "train"


def as_tar(place: Path, colour: tuple[int, int, int]) -> Path:
    paint(place / "train", colour)
    with tarfile.open(place / "train.tar", "w") as tar:
        tar.add(place / "train", "train")
    os.utime(place / "train.tar", THEN)
    shutil.rmtree(place / "train")
    return place / "train.tar"


def as_zip(place: Path, colour: tuple[int, int, int]) -> Path:
    paint(place / "train", colour)
    made = shutil.make_archive(str(place / "train"), "zip", place / "train")
    os.utime(made, THEN)
    return place / "train.zip"


def as_table(place: Path, colour: tuple[int, int, int]) -> Path:
    paint(place / "train", colour)
    (place / "train.csv").write_text("path\n" + "".join(f"train/{number}.bmp\n" for number in range(5)))
    return place / "train.csv"


def colour_of(path: Path) -> tuple[int, ...]:
    return tuple(prepare(open_source(path), Pipeline.named("square", (16, 16))).pictures[0, 0, 0].tolist())


@pytest.mark.parametrize("make", [as_folder, as_tar, as_zip, as_table])
def test_equal_names_sizes_and_dates_in_two_places_are_two_sources(make, tmp_path):
    assert colour_of(make(tmp_path / "cats", CATS)) == CATS
    assert colour_of(make(tmp_path / "dogs", DOGS)) == DOGS


@pytest.mark.parametrize("make", [as_folder, as_tar, as_zip, as_table])
def test_other_pictures_in_the_same_place_with_the_old_dates_are_another_source(make, tmp_path):
    assert colour_of(make(tmp_path / "pets", CATS)) == CATS
    assert colour_of(make(tmp_path / "pets", DOGS)) == DOGS


def test_files_are_told_apart_where_the_system_tells_nothing_but_size_and_date(tmp_path, monkeypatch):
    """FAT and some network disks number files anew at every look, and know no time of change."""
    from betabloom.data.sources import folder

    monkeypatch.setattr(folder, "stamp_of", lambda status: (status.st_size, status.st_mtime_ns))
    cats, dogs = as_folder(tmp_path / "cats", CATS), as_folder(tmp_path / "dogs", DOGS)
    assert Folder(cats).fingerprint() != Folder(dogs).fingerprint()
    assert Folder(cats).fingerprint() == Folder(cats).fingerprint()


@pytest.mark.parametrize("names", [("config.yaml", "metrics.jsonl"), ("config.json", "model.safetensors")])
def test_runs_and_models_among_the_pictures_are_no_pictures_and_are_counted(names, tmp_path):
    photos = as_folder(tmp_path, CATS)
    before = Folder(photos).fingerprint()
    made = photos / "runs" / "tulips"
    paint(made / "samples", DOGS)
    for name in names:
        (made / name).touch()
    source = Folder(photos)
    assert len(source) == 5
    assert source.left_alone["made by betabloom"] == 3
    assert source.fingerprint() == before
    shutil.rmtree(photos)
    paint(photos / "a" / "samples", DOGS)
    (photos / "a" / "config.yaml").touch()
    assert len(Folder(photos)) == 5, "a config.yaml alone says nothing"


def test_a_folder_with_nothing_but_a_run_says_so(tmp_path):
    paint(tmp_path / "run", CATS)
    for name in ("config.yaml", "metrics.jsonl"):
        (tmp_path / "run" / name).touch()
    with pytest.raises(SourceError, match="made by betabloom"):
        Folder(tmp_path)
    assert len(Folder(tmp_path / "run")) == 5, "named itself, it is a folder like any other"


def test_a_sheet_among_the_pictures_is_named_and_does_not_change_what_is_learned(tmp_path):
    """`cd photos; betabloom train .; betabloom generate runs/…` leaves a sheet beside the photos."""
    photos = as_folder(tmp_path, CATS)
    before = prepare(Folder(photos), Pipeline.named("square", (16, 16)))
    save_png(Image.new("RGB", (200, 200)), photos / "generated.png", {"verb": "generate", "n": 64})
    after = prepare(Folder(photos), Pipeline.named("square", (16, 16)))
    assert after.fingerprint == before.fingerprint
    assert list(after.skipped) == [
        {"name": "generated.png", "reason": "a sheet of pictures or an animation that betabloom made"}
    ]
    save_png(Image.new("RGB", (16, 16)), photos / "one.png", {"verb": "generate", "n": 1, "alone": True})
    assert "one.png" in list(prepare(Folder(photos), Pipeline.named("square", (16, 16))).names)


def test_addresses_of_files_in_a_table_are_files_here_or_say_why_not(tmp_path):
    photos = as_folder(tmp_path, CATS)
    (photos / "0.bmp").rename(photos / "été 50% #1.bmp")
    uris = [(photos / "été 50% #1.bmp").as_uri(), "file://nas/a.bmp", "https://example.org/a.bmp"]
    (tmp_path / "t.csv").write_text("path\n" + "\n".join(uris) + "\n")
    store = prepare(open_source(tmp_path / "t.csv"), Pipeline.named("square", (16, 16)))
    assert len(store) == 1
    assert ["another machine" in store.skipped[0]["reason"], "web address" in store.skipped[1]["reason"]] == [True] * 2
