"""Sheets: every pixel at its place; records that come back."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from betabloom.errors import FormatError, UsageError
from betabloom.imaging.curves import curves
from betabloom.imaging.output import read_record
from betabloom.imaging.png import save_png
from betabloom.imaging.sheets import grid, pairs


@pytest.mark.parametrize(("n", "columns", "channels"), [(7, 3, 3), (1, 0, 3), (5, 0, 1), (4, 9, 3)])
def test_a_grid_holds_every_picture_at_its_place(n, columns, channels):
    pictures = np.random.default_rng(0).integers(0, 250, (n, 4, 6, channels), dtype=np.uint8)
    sheet = np.asarray(grid(pictures, columns, gap=2)).reshape(*np.asarray(grid(pictures, columns)).shape[:2], channels)
    columns = (sheet.shape[1] - 2) // 8
    for index, picture in enumerate(pictures):
        top, left = 2 + index // columns * 6, 2 + index % columns * 8
        assert np.array_equal(sheet[top : top + 4, left : left + 6], picture)
    assert (sheet < 250).sum() == (pictures < 250).sum()  # nothing else but white


def test_pairs_put_each_original_above_its_partner():
    above, below = (np.full((5, 2, 2, 3), value, np.uint8) for value in (10, 20))
    sheet = np.asarray(pairs(above, below, columns=3))[:, :, 0]
    rows = list(range(2, sheet.shape[0], 4))
    assert [sheet[row, 2] for row in rows] == [10, 20, 10, 20]
    assert (sheet == 10).sum() == (sheet == 20).sum() == 20


def test_a_single_pair_stands_one_above_the_other():
    above, below = (np.full((1, 2, 2, 3), value, np.uint8) for value in (10, 20))
    sheet = np.asarray(pairs(above, below))[:, :, 0]
    assert sheet.shape == (10, 6)
    assert (sheet[2, 2], sheet[6, 2]) == (10, 20)


def test_impossible_sheets_are_refused():
    for bad in (np.zeros((0, 2, 2, 3), np.uint8), np.zeros((1, 2, 2, 2), np.uint8), np.zeros((2, 2, 3), np.uint8)):
        with pytest.raises(UsageError, match="A grid needs"):
            grid(bad)
    with pytest.raises(UsageError, match="Pairs need equal shapes"):
        pairs(np.zeros((1, 2, 2, 3), np.uint8), np.zeros((2, 2, 2, 3), np.uint8))


def test_records_come_back_and_the_bytes_depend_on_nothing_else(tmp_path):
    record = {"seed": 7, "name": "größe β", "n": 64}
    for name in ("a.png", "b.png"):
        save_png(Image.new("RGB", (5, 5), "red"), tmp_path / name, record)
    assert read_record(tmp_path / "a.png") == record
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_failed_save_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        save_png(Image.new("RGB", (5, 5)), tmp_path / "no" / "a.png", {})
    with pytest.raises(TypeError):
        save_png(Image.new("RGB", (5, 5)), tmp_path / "a.png", {"x": object()})
    assert list(tmp_path.iterdir()) == []


def test_foreign_pictures_have_no_record(tmp_path):
    Image.new("RGB", (5, 5)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("hello")
    for name in ("a.png", "b.png", "c.png"):
        with pytest.raises(FormatError, match="not a picture made by betabloom"):
            read_record(tmp_path / name)


def test_curves_draw_both_splits():
    records = [
        {"step": s, "split": split, "distortion": 100.0 / s, "rate": float(s), "beta": 1.0, "active_units": s}
        for s in range(1, 9)
        for split in ("train", "validation")
    ]
    image = curves(records)
    assert image.width > 600
    assert np.asarray(image).std() > 10
    assert curves([]).size == image.size


def test_enlarged_pixel_art_has_no_colour_that_it_had_not():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)
    squares = np.asarray(grid(pictures, 2, gap=0, scale=3, crisp=True))
    assert np.array_equal(squares[:12, :18], pictures[0].repeat(3, 0).repeat(3, 1))
    smooth = np.asarray(grid(pictures, 2, gap=0, scale=3))
    assert len(np.unique(smooth.reshape(-1, 3), axis=0)) > len(np.unique(squares.reshape(-1, 3), axis=0))
