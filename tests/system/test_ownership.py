"""What betabloom made is told from what a person made."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from betabloom.errors import UsageError
from betabloom.imaging.animation import save_animation
from betabloom.imaging.files import write_each
from betabloom.imaging.output import save_image
from betabloom.imaging.png import save_png
from betabloom.system.ownership import is_result, is_sheet, record_in

PICTURE = np.zeros((4, 4, 3), np.uint8)


def test_pictures_of_ours_are_replaced_in_a_folder_and_those_of_a_person_are_not(tmp_path):
    for _ in range(2):
        assert write_each([[(0, PICTURE, {"alone": True}), (1, PICTURE, {"alone": True})]], tmp_path) == 2
    Image.new("RGB", (4, 4)).save(tmp_path / "000001.png")
    before = (tmp_path / "000001.png").read_bytes()
    with pytest.raises(UsageError, match=r"000001\.png is not replaced"):
        write_each([[(0, PICTURE, {}), (1, PICTURE, {})]], tmp_path)
    assert (tmp_path / "000001.png").read_bytes() == before


def test_a_record_is_seen_without_decoding(tmp_path):
    save_png(Image.new("RGB", (4, 4)), tmp_path / "a.png", {"n": 1, "name": "été"})
    assert json.loads(record_in(tmp_path / "a.png")) == {"n": 1, "name": "été"}
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"no picture")
    for name in ("b.png", "c.png", "d.png"):
        assert record_in(tmp_path / name) == ""


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif"])
def test_sheets_and_animations_are_told_from_pictures_in_every_format(tmp_path, suffix):
    record = {"n": 9, "betabloom": "1", "names": ["<&é>"] * 2000}
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8))
    photo.save(tmp_path / f"photo.{suffix}", comment=b"{holiday}", exif=photo.getexif())
    if suffix == "gif":
        save_animation(np.zeros((2, 4, 4, 3), np.uint8), tmp_path / "made.gif", record)
    else:
        save_image(photo, tmp_path / f"made.{suffix}", record)
        save_image(photo, tmp_path / f"one.{suffix}", {"n": 1, "alone": True})
    save_animation(np.zeros((2, 4, 4, 3), np.uint8), tmp_path / "made-too.webp", record)
    sheets = {path.name for path in tmp_path.iterdir() if is_sheet(record_in(path))}
    assert sheets == {f"made.{suffix}", "made-too.webp"}
    with (tmp_path / f"made.{suffix}").open("rb") as file:
        assert is_sheet(record_in(file))


@pytest.mark.parametrize(
    ("record", "sheet"),
    [
        ({"n": 64}, True),
        ({"n": 1}, False),
        ({"n": 1, "alone": True}, False),
        ({"n": 1, "size": "1920x1080"}, True),
        ({"n": 4, "tile": True}, True),
        ({"verb": "reconstruct"}, True),
        ([], False),
        ("text", False),
    ],
)
def test_sheets_are_told_from_pictures_of_one(record, sheet):
    assert is_sheet(json.dumps(record)) == sheet
    assert not is_sheet("{" * 100_000)


def test_runs_and_models_are_told_by_two_files_each():
    assert is_result({"config.yaml", "metrics.jsonl", "samples"})
    assert is_result({"config.json", "model.safetensors"})
    assert not is_result({"config.yaml", "a.png"})
    assert not is_result({"config.json", "a.png"})
