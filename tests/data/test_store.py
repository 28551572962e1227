"""Preparing is repeatable, all or nothing, harmless to the originals, and stopped by no picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from betabloom.data import Folder, Pipeline, Source, Store, prepare
from betabloom.errors import BetabloomError, PictureError, SourceError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

SQUARE = Pipeline.named("square", (16, 16))
Make = Callable[..., Any]


def _files(store: Store) -> dict[str, bytes]:
    assert store.path is not None
    return {path.name: path.read_bytes() for path in store.path.iterdir()}


def test_it_holds_what_the_pipeline_makes(photos: Path) -> None:
    store = prepare(Folder(photos), SQUARE)
    assert store.pictures.shape == (40, 16, 16, 3)
    assert store.source_name == "photos"
    assert list(store.names) == [f"{i}.jpg" for i in range(40)]
    for i in (0, 17, 39):
        np.testing.assert_array_equal(store.pictures[i], SQUARE.load(photos / f"{i}.jpg"))


def test_the_number_of_workers_changes_no_byte(photos: Path, tmp_path: Path) -> None:
    for i in range(70):  # more than one piece
        (photos / f"copy {i}.jpg").write_bytes((photos / f"{i % 40}.jpg").read_bytes())
    one, four = (prepare(Folder(photos), SQUARE, cache=tmp_path / str(n), workers=n) for n in (1, 4))
    assert _files(one) == _files(four)


def test_originals_are_never_written(photos: Path, hashes: Callable[[Path], dict[str, str]]) -> None:
    before = hashes(photos)
    prepare(Folder(photos), Pipeline.named("enhance", (16, 16)))
    assert hashes(photos) == before


def test_a_second_time_opens_the_first(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(Folder(photos), SQUARE)
    monkeypatch.setattr(Folder, "read_reduced", None)
    second = prepare(Folder(photos), SQUARE)
    assert second.path == first.path
    assert second.fingerprint == first.fingerprint
    assert second.pipeline == SQUARE
    np.testing.assert_array_equal(second.pictures, first.pictures)
    np.testing.assert_array_equal(second.digests, first.digests)


def test_another_source_or_pipeline_makes_another_store(photos: Path, make_picture: Make) -> None:
    first = prepare(Folder(photos), SQUARE)
    other = prepare(Folder(photos), Pipeline.named("justcrop", (16, 16)))
    make_picture(99).save(photos / "99.jpg")
    more = prepare(Folder(photos), SQUARE)
    assert len({first.path, other.path, more.path}) == 3
    assert len({first.fingerprint, other.fingerprint, more.fingerprint}) == 3
    assert len(more) == 41


def test_bad_pictures_are_skipped_and_named(photos: Path) -> None:
    (photos / "3.jpg").write_bytes(b"")
    (photos / "7.jpg").write_bytes(b"<html>")
    store = prepare(Folder(photos), SQUARE)
    assert len(store) == 38
    assert [entry["name"] for entry in store.skipped] == ["3.jpg", "7.jpg"]
    assert "empty" in store.skipped[0]["reason"]
    assert "3.jpg" not in store.names
    assert list(prepare(Folder(photos), SQUARE).skipped) == list(store.skipped)


class Numbers(Source):
    """Pictures of one grey level each; the odd ones cannot be read."""

    name = "numbers"

    def __init__(self) -> None:
        self.names = [str(i) for i in range(10)]
        self.labels = np.arange(10)
        self.label_names = [f"class {i}" for i in range(10)]
        self.splits = {"train": np.array([0, 1, 2, 3]), "val": np.array([4, 5, 6]), "test": np.array([7, 8, 9])}

    def read(self, index: int) -> Image.Image:
        from PIL import Image

        if index % 2:
            raise PictureError("odd")
        return Image.new("L", (5, 5), index)

    def fingerprint(self) -> str:
        return "numbers"


def test_labels_and_splits_follow_what_is_kept() -> None:
    store = prepare(Numbers(), Pipeline.named("square", (2, 2), 1))
    assert store.pictures[:, 0, 0, 0].tolist() == [0, 2, 4, 6, 8]
    assert store.labels is not None
    assert store.labels.tolist() == [0, 2, 4, 6, 8]
    assert {name: store.pictures[i, 0, 0, 0].tolist() for name, i in store.splits.items()} == {
        "train": [0, 2],
        "val": [4, 6],
        "test": [8],
    }
    train, validation = store.split()
    assert store.pictures[train, 0, 0, 0].tolist() == [0, 2, 8]
    assert store.pictures[validation, 0, 0, 0].tolist() == [4, 6]


def test_nothing_usable_names_the_first_few(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    for i in range(5):
        (tmp_path / "bad" / f"{i}.jpg").write_bytes(b"")
    with pytest.raises(SourceError, match=r"'0.jpg' \(empty file \(0 bytes\)\).*and 2 more"):
        prepare(Folder(tmp_path / "bad"), SQUARE)
    assert list((tmp_path / "cache" / "stores").iterdir()) == []


def test_progress_reaches_the_end(photos: Path) -> None:
    seen: list[tuple[int, int]] = []
    prepare(Folder(photos), SQUARE, progress=lambda done, total, _: seen.append((done, total)))
    assert seen[-1] == (40, 40)
    assert seen == sorted(seen)


def test_pictures_are_read_only(photos: Path) -> None:
    store = prepare(Folder(photos), SQUARE)
    with pytest.raises(ValueError, match="read-only"):
        store.pictures[0] = 0


def test_a_cache_that_cannot_be_written_is_named(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BetabloomError, match="set BETABLOOM_CACHE to a folder"):
        prepare(Folder(photos), SQUARE, cache=tmp_path / "file")


@pytest.mark.parametrize("damage", ["pictures.npy", "store.json", "names.bin", "skipped.bin", "index.npz"])
def test_a_damaged_store_is_prepared_anew(photos: Path, damage: str) -> None:
    first = prepare(Folder(photos), SQUARE)
    assert first.path is not None
    whole = _files(first)
    (first.path / damage).write_bytes(whole[damage][:-10])
    again = prepare(Folder(photos), SQUARE)
    assert again.path == first.path
    assert _files(again) == whole
    assert [path.name for path in again.path.parent.iterdir()] == [again.path.name]


def test_from_array_checks_what_it_gets() -> None:
    array = np.zeros((3, 8, 8, 3), dtype=np.uint8)
    store = Store.from_array(array, labels=np.array([0, 1, 0]))
    assert (len(store), store.pipeline.height, store.pipeline.channels) == (3, 8, 3)
    assert store.path is None
    with pytest.raises(UsageError, match=r"uint8 of shape \(N, H, W, C\), not float64 \(3, 8, 8, 3\)"):
        Store.from_array(array.astype(float))
    with pytest.raises(UsageError, match="should have 3 entries"):
        Store.from_array(array, names=["a"])


def test_a_ready_store_of_the_flowers_opens_without_a_picture_being_read(
    flowers102_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long that takes: benchmarks/data.py."""
    from betabloom.data import Flowers102, open_source

    pipeline = Pipeline.named("square", (8, 8))
    first = prepare(open_source(flowers102_path), pipeline)
    monkeypatch.setattr(Flowers102, "read_reduced", None)
    again = prepare(open_source(flowers102_path), pipeline)
    assert again.fingerprint == first.fingerprint
    assert [len(part) for part in again.split()] == [7169, 1020]
