"""Whatever a file holds, it becomes an upright picture or a reason that a person understands."""

from __future__ import annotations

import contextlib
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from betabloom.data.pictures.decode import decode, extent, upright
from betabloom.data.pictures.reading import Reading
from betabloom.errors import PictureError

if TYPE_CHECKING:
    from pathlib import Path


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_header(width: int, height: int) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", zlib.compress(bytes(1000))) + _chunk(b"IEND", b"")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright_pixels = np.zeros((16, 32, 3), dtype=np.uint8)
    upright_pixels[:8, :8] = (255, 0, 0)
    upright_pixels[8:, 24:] = (0, 0, 255)
    undo = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90"}
    undo |= {7: "TRANSVERSE", 8: "ROTATE_270"}
    stored = Image.fromarray(upright_pixels)
    if orientation > 1:
        stored = stored.transpose(Image.Transpose[undo[orientation]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)

    once = decode(tmp_path / "a.png")

    np.testing.assert_array_equal(np.asarray(once), upright_pixels)
    np.testing.assert_array_equal(np.asarray(upright(once)), upright_pixels)  # turned once, not twice


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparent_pixels_show_the_background(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (4, 4), (10, 20, 30, 0)).convert(mode if mode != "PA" else "RGBA")
    if mode == "P":
        image = Image.new("P", (4, 4), 0)
        image.info["transparency"] = 0
    suffix = "png" if mode != "PA" else "tif"
    image.save(tmp_path / f"a.{suffix}")
    assert (np.asarray(decode(tmp_path / f"a.{suffix}")) == 255).all()
    assert (np.asarray(decode(tmp_path / f"a.{suffix}", Reading(background="#010203"))) == (1, 2, 3)).all()


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "tif", "webp", "ppm", "tga"])
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK"])
def test_every_mode_becomes_rgb_or_l_of_the_same_grey(tmp_path: Path, suffix: str, mode: str) -> None:
    path = tmp_path / f"a.{suffix}"
    image = Image.new("RGB", (8, 6), (255, 255, 255)).convert(mode)
    try:
        image.save(path)
    except (OSError, ValueError):
        pytest.skip(f"{suffix} does not store {mode}")
    result = decode(path)
    assert result.mode in ("RGB", "L")
    assert result.size == (8, 6)
    assert np.asarray(result).min() >= 253


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    values = np.array([[0, 257, 257 * 128, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert np.asarray(decode(tmp_path / "a.png")).tolist() == [[0, 1, 128, 255]]


def test_floats_are_scaled_into_range(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.0, 0.5, 1.0, np.nan]], dtype=np.float32)).save(tmp_path / "a.tif")
    assert np.asarray(decode(tmp_path / "a.tif")).tolist() == [[0, 128, 255, 0]]


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert np.asarray(decode(tmp_path / "a.gif").convert("RGB"))[0, 0].tolist() == [255, 0, 0]


def _good_jpeg(path: Path) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path / "good.jpg")
    return (path / "good.jpg").read_bytes()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty.jpg", "empty file"),
        ("page.jpg", "web page"),
        ("note.png", "text"),
        ("noise.png", "cannot read"),
        ("cut.jpg", "cut short"),
        ("bomb.png", "too large"),
        ("huge.png", "too large"),
        ("postscript.jpg", "not a picture"),
        ("missing.jpg", "no such file"),
        ("folder.jpg", "a folder"),
    ],
)
def test_a_bad_file_gets_a_reason(tmp_path: Path, name: str, reason: str) -> None:
    contents = {
        "empty.jpg": b"",
        "page.jpg": b"\n<!DOCTYPE html><html><body>404</body></html>",
        "note.png": b"buy milk\n",
        "noise.png": b"\x00\xff" * 50,
        "cut.jpg": _good_jpeg(tmp_path)[:-1500],
        "bomb.png": _png_header(50_000, 50_000),
        "huge.png": _png_header(9_000, 9_000),
        "postscript.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    }
    if name in contents:
        (tmp_path / name).write_bytes(contents[name])
    if name == "folder.jpg":
        (tmp_path / name).mkdir()
    with pytest.raises(PictureError, match=reason):
        decode(tmp_path / name)


def test_no_flipped_byte_escapes_as_another_error(tmp_path: Path) -> None:
    jpeg = _good_jpeg(tmp_path)
    Image.open(tmp_path / "good.jpg").save(tmp_path / "good.png")
    rng = np.random.default_rng(1)
    for good in (jpeg, (tmp_path / "good.png").read_bytes()):
        for _ in range(150):
            bad = bytearray(good)
            for place in rng.integers(0, min(len(bad), 700), 4):
                bad[place] ^= 1 << rng.integers(8)
            (tmp_path / "bad").write_bytes(bad)
            with contextlib.suppress(PictureError):
                decode(tmp_path / "bad")


def test_a_reduced_jpeg_is_large_enough_and_knows_its_size(tmp_path: Path) -> None:
    Image.new("RGB", (227, 101), "red").save(tmp_path / "a.jpg")
    half = decode(tmp_path / "a.jpg", at_least=(40, 90))
    assert half.size == (114, 51)
    assert extent(half) == (113.5, 50.5)
    whole = decode(tmp_path / "a.jpg", at_least=(60, 90))
    assert whole.size == extent(whole) == (227, 101)
