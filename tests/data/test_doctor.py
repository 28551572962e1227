"""The folder doctor counts what is there, names what is wrong, and finds copies but not look-alikes."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from betabloom.data import Folder, Pipeline, inspect, open_source, prepare, printable, summary_of
from betabloom.data.inspection.duplicates import Look, exact_groups, look_at, near_groups
from betabloom.data.pictures.decode import decode, peek
from betabloom.errors import PictureError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

Make = Callable[..., Any]


@pytest.fixture
def mess(photos: Path, make_picture: Make) -> Path:
    """40 JPEGs of 40 × 30, and 3 larger PNGs, an exact copy, a near copy, an empty file and others beside them."""
    for i in range(3):
        make_picture(100 + i, (300, 200)).save(photos / f"large {i}.png")
    (photos / "copy of 3.jpg").write_bytes((photos / "3.jpg").read_bytes())
    Image.open(photos / "large 0.png").resize((150, 100)).save(photos / "smaller.webp")
    (photos / "empty.jpg").touch()
    (photos / "page.jpg").write_text("<html>404</html>")
    (photos / "clear.png").unlink(missing_ok=True)
    Image.new("RGBA", (70, 70), (1, 2, 3, 4)).save(photos / "clear.png")
    for name in ("notes.txt", ".hidden.jpg", "raw.CR2", "old.zip"):
        (photos / name).touch()
    return photos


def test_everything_is_counted_and_named(mess: Path) -> None:
    report = inspect(Folder(mess), 64)
    assert (report.total, report.looked_at, report.usable) == (48, 48, 46)
    assert report.formats == {"JPEG": 41, "PNG": 4, "WEBP": 1}
    assert report.sizes == {"smallest": (40, 30), "median": (40, 30), "largest": (300, 200)}
    assert report.histogram == {"under 32 px": 41, "32 to 63 px": 0, "64 to 127 px": 2, "128 to 255 px": 3}
    assert report.shapes == {"wide": 45, "tall": 0, "square": 1}
    assert report.exact == [["3.jpg", "copy of 3.jpg"]]
    assert report.near == [["large 0.png", "smaller.webp"]]
    assert {entry["name"]: entry["reason"][:18] for entry in report.unreadable} == {
        "empty.jpg": "empty file (0 byte",
        "page.jpg": "not a picture but ",
    }
    assert report.remarks == {
        "with transparency; shown on the background colour unless `--channels 4` keeps it": ["clear.png"]
    }
    assert report.left_alone == {".cr2": 1, ".txt": 1, ".zip": 1, "hidden": 1}
    assert (
        report.advice[0]
        == "41 of 46 are smaller than 64 px and will be enlarged. Use `--min-size 64` to leave them out."
    )
    for word in ("copies", "few", "web pages", "raw photos", "archives"):
        assert any(word in sentence for sentence in report.advice), word


def test_the_text_is_one_screen_and_the_json_has_all(mess: Path) -> None:
    for i in range(200):
        (mess / f"bad {i}.jpg").touch()
    report = inspect(Folder(mess))
    lines = report.text().splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    assert "empty.jpg" in json.dumps(report.to_dict())
    assert len(report.to_dict()["unreadable"]) == 202
    assert "and 197 more" in report.text()


def test_least_size_leaves_out_and_says_so(mess: Path) -> None:
    report = inspect(open_source(mess, min_size=64))
    assert report.usable == 5
    assert "smaller (40 × 30) than the 64 px asked for" in report.unreadable[0]["reason"]
    with pytest.raises(UsageError, match="'min_size' should be"):
        Folder(mess, min_size=-1)
    assert len({Folder(mess, min_size=size).fingerprint() for size in (0, 32, 64)}) == 3


def test_a_quick_look_decodes_a_few_only(mess: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, decoded = Folder.read_reduced, list[int]()
    monkeypatch.setattr(Folder, "read", None)
    monkeypatch.setattr(Folder, "read_reduced", lambda *of: decoded.append(of[1]) or read(*of))
    seen: list[tuple[int, int]] = []
    quick = inspect(Folder(mess), quick=True, progress=lambda done, total, _: seen.append((done, total)))
    assert seen[-1] == (48, 48)
    assert len(decoded) <= 8  # to see how bright they are
    assert quick.usable == 46
    assert (quick.exact, quick.near) == ([], [])


def test_a_quick_look_at_very_many_is_spread_evenly(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("betabloom.data.inspection.inspect._QUICK", 10)
    report = inspect(Folder(photos), quick=True)
    assert (report.total, report.looked_at) == (40, 10)
    assert "10, evenly spread, were looked at" in report.text()


def test_advice_on_shapes_follows_the_target(tmp_path: Path, make_picture: Make) -> None:
    (tmp_path / "p").mkdir()
    for i in range(10):
        make_picture(i, (200, 100)).save(tmp_path / "p" / f"{i}.png")
    assert any("--pipeline pad" in sentence for sentence in inspect(Folder(tmp_path / "p"), 64).advice)
    assert not any("--pipeline pad" in sentence for sentence in inspect(Folder(tmp_path / "p"), (32, 64)).advice)


@pytest.fixture
def folder_of(tmp_path: Path, make_picture: Make) -> Callable[[int], Folder]:
    """Makes a folder with that many small photos."""

    def make(count: int) -> Folder:
        buffer = io.BytesIO()
        make_picture(0, (16, 16)).save(buffer, "PNG")
        for i in range(count):
            (tmp_path / f"{i}.png").write_bytes(buffer.getvalue())
        return Folder(tmp_path)

    return make


@pytest.mark.parametrize(("size", "start"), [
    (64, "`--from flowers64 --budget 20m`"), (128, "`--from flowers64 --budget 20m`"),
    (96, "`--from flowers64 --size 64 --budget 20m`"), ((64, 128), "`--from flowers64 --size 64 --budget 20m`"),
    (32, "`--from flowers64 --size 64 --budget 20m`"),
], ids=str)  # fmt: skip
def test_hundreds_of_pictures_are_few_and_it_is_said_how_to_start(
    size: int | tuple[int, int], start: str, folder_of: Callable[[int], Folder]
) -> None:
    (sentence,) = (each for each in inspect(folder_of(300), size, quick=True).advice if "are few" in each)
    assert start in sentence
    assert "300 pictures are few" in sentence
    assert "Expect" in sentence
    (sentence,) = (each for each in inspect(folder_of(300), size, quick=True, started=True).advice if "are few" in each)
    assert "--from" not in sentence  # who has typed it need not be told
    assert "300 pictures are few: expect" in sentence


def test_thousands_of_pictures_are_not_few(folder_of: Callable[[int], Folder]) -> None:
    assert not any("are few" in each for each in inspect(folder_of(2000), 64, quick=True).advice)


def test_classes_and_sources_without_files() -> None:
    report = inspect(open_source("drawn:30"), 16)
    assert sum(report.classes.values()) == 30
    assert report.formats == {}
    assert "drawn: 30 pictures, all usable" in report.text()


def test_not_one_usable_picture_is_said(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.jpg").touch()
    assert "None of these pictures" in inspect(Folder(tmp_path / "p")).text()


@pytest.mark.parametrize(
    ("name", "safe"),
    [("a\nb\x1b[31m.jpg", "a\\nb\\x1b[31m.jpg"), ("\udcff.jpg", "\\udcff.jpg"), ("ümlaut 日本.jpg", "ümlaut 日本.jpg")],
)
def test_names_are_safe_to_print(name: str, safe: str) -> None:
    assert printable(name) == safe
    assert len(printable("x" * 255)) == 60


def test_peek_agrees_with_decode(mess: Path) -> None:
    for path in sorted(mess.iterdir()):
        try:
            size = decode(path).size
        except PictureError as error:
            with pytest.raises(PictureError, match=str(error)[:10]):
                peek(path)
        else:
            assert (peek(path).width, peek(path).height) == size


def variants(image: Image.Image) -> dict[str, Image.Image]:
    saved = io.BytesIO()
    image.save(saved, "JPEG", quality=60)
    return {
        "smaller": image.resize((image.width // 2, image.height // 2)),
        "larger": image.resize((image.width * 3, image.height * 3)),
        "compressed": Image.open(saved),
        "a little brighter": image.point(lambda v: v * 1.02),
    }


def distance(a: Look, b: Look) -> int:
    return (a.bits ^ b.bits).bit_count()


def _stack(looks: list[Look]) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.array([look.bits for look in looks], dtype=np.uint64),
        np.array([list(look.colours) for look in looks], dtype=np.uint8),
    )


def test_a_changed_copy_is_near_and_another_picture_is_not(make_picture: Make) -> None:
    originals = [make_picture(seed, (120, 90)) for seed in range(60)]
    for image in originals[:20]:
        for name, copy in variants(image).items():
            assert near_groups(*_stack([look_at(image), look_at(copy)])) == [[0, 1]], name
    assert near_groups(*_stack([look_at(image) for image in originals])) == []


def test_flat_pictures_of_other_colours_are_not_copies() -> None:
    looks = [look_at(Image.new("RGB", (20, 20), colour)) for colour in ("red", "green", "blue", "red")]
    assert near_groups(*_stack(looks)) == [[0, 3]]


def test_banding_finds_what_comparing_all_with_all_finds() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**64, 300, dtype=np.uint64)
    for i in range(0, 200, 2):  # a copy with 0..7 bits changed
        bits[i + 1] = bits[i] ^ np.bitwise_or.reduce(np.uint64(1) << rng.choice(64, i // 2 % 8 + 1).astype(np.uint64))
    colours = np.zeros((300, 48), dtype=np.uint8)
    near = {(a, b) for a, b in itertools.combinations(range(300), 2) if (int(bits[a]) ^ int(bits[b])).bit_count() <= 5}
    assert {tuple(group) for group in near_groups(bits, colours)} == near
    assert 50 < len(near) < 100


def test_a_crowd_of_equal_hashes_is_one_group() -> None:
    bits = np.random.default_rng(1).integers(0, 2**64, 30_000, dtype=np.uint64)
    bits[::30] = 7
    colours = np.zeros((30_000, 48), dtype=np.uint8)
    groups = near_groups(bits, colours)
    assert [len(group) for group in groups] == [1000]
    assert exact_groups(bits) == [list(range(0, 30_000, 30))]


def test_where_all_are_small_another_size_is_advised(photos: Path) -> None:
    assert "A smaller `--size` suits them" in inspect(Folder(photos), 64).advice[0]
    assert not any("px" in sentence for sentence in inspect(Folder(photos), 30).advice)


def test_the_summary_of_a_store_is_the_quick_look_and_is_kept_for_the_next_time(photos: Path) -> None:
    source = Folder(photos)
    store = prepare(source, Pipeline.named("square", (16, 16)))
    text = summary_of(store, source)
    assert text == inspect(source, 16, quick=True).text()
    (photos / "0.jpg").unlink()
    assert summary_of(store, source) == text  # not looked at again
    changed = prepare(Folder(photos), Pipeline.named("square", (16, 16)))
    assert "39 pictures" in summary_of(changed, Folder(photos))
