"""Animations keep their frames, their pace and the record of how they were made."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from betabloom.errors import FormatError, UsageError
from betabloom.imaging.animation import save_animation
from betabloom.imaging.output import read_record

FRAMES = np.zeros((5, 16, 12, 3), np.uint8) + np.array([0, 60, 120, 180, 240], np.uint8)[:, None, None, None]
RECORD = {"verb": "morph", "points": ["a<b>&c", "seed:7"], "n": 5}


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_frames_pace_and_record_survive(tmp_path, name):
    save_animation(FRAMES, tmp_path / name, RECORD, fps=25)
    with Image.open(tmp_path / name) as image:
        assert image.n_frames == 5
        assert image.info["loop"] == 0
        for i in range(5):
            image.seek(i)
            assert abs(int(np.asarray(image.convert("RGB")).mean()) - int(FRAMES[i].mean())) < 6
        assert image.info["duration"] == 40
    assert read_record(tmp_path / name) == RECORD
    first = (tmp_path / name).read_bytes()
    save_animation(FRAMES, tmp_path / name, RECORD, fps=25)
    assert (tmp_path / name).read_bytes() == first


def test_an_mp4_is_written_where_ffmpeg_is(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    save_animation(FRAMES, tmp_path / "a.mp4", RECORD)
    assert (tmp_path / "a.mp4").read_bytes()[4:8] == b"ftyp"
    assert b"seed:7" in (tmp_path / "a.mp4").read_bytes()


def test_an_mp4_without_ffmpeg_ends_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UsageError, match=r"pip install 'betabloom\[video\]'"):
        save_animation(FRAMES, tmp_path / "a.mp4", RECORD)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("frames", "name", "fps", "said"),
    [(FRAMES, "a.avi", 20, "gif"), (FRAMES[0], "a.gif", 20, "shape"), (FRAMES, "a.gif", 0, "frames a second")],
)
def test_impossible_animations_are_refused(tmp_path, frames, name, fps, said):
    with pytest.raises(UsageError, match=said):
        save_animation(frames, tmp_path / name, {}, fps)
    assert not list(tmp_path.iterdir())


def test_other_files_carry_no_record(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.gif")
    with pytest.raises(FormatError, match="has no record"):
        read_record(tmp_path / "plain.gif")


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_what_is_transparent_stays_so_in_every_frame(tmp_path, name):
    frames = np.zeros((3, 16, 16, 4), np.uint8)
    for i in range(3):  # a red bar that moves: premultiplied, opaque
        frames[i, :, 4 * i : 4 * i + 4] = (255, 0, 0, 255)
        frames[i, 0, 4 * i : 4 * i + 4] = (20, 0, 0, 20)
    save_animation(frames, tmp_path / name, RECORD)
    with Image.open(tmp_path / name) as image:
        for i in range(3):
            image.seek(i)
            shown = np.asarray(image.convert("RGBA"))
            assert np.array_equal(shown[..., 3] > 128, frames[i, ..., 3] > 128)
            assert np.abs(shown[frames[i, ..., 3] == 255].mean(0) - (255, 0, 0, 255)).max() < 24
