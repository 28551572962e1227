"""Colour spaces, profiles, depths and transparency against their published definitions, each on a file made for it."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from betabloom.data import Folder, inspect
from betabloom.data.pictures.decode import decode, peek, upright
from betabloom.data.pictures.modes import plain
from betabloom.data.pictures.reading import Reading
from betabloom.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Callable

LEVELS = np.arange(0, 256, 15, dtype=np.uint8)
COLOURS = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)

# Adobe RGB (1998), section 4.3: primaries adapted to D50 as in its ICC profile, gamma 563/256.
ADOBE = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
# IEC 61966-2-1 (sRGB): linear sRGB from XYZ adapted to D50 (Bradford), after Lindbloom, "RGB/XYZ Matrices".
TO_SRGB = np.array([[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540],
                    [0.0719453, -0.2289914, 1.4052427]])  # fmt: skip


def srgb(linear: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1: 12.92 v below 0.0031308, else 1.055 v^(1/2.4) − 0.055."""
    v = np.clip(linear, 0, 1)
    return 255 * np.where(v <= 0.0031308, 12.92 * v, 1.055 * v ** (1 / 2.4) - 0.055)


def fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC version 2 display profile (ICC.1:2001-04): header, table of tags, tags."""
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = {b"desc": text, b"cprt": b"text\0\0\0\0none\0", b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249), **tags}
    start, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    kinds = b"mntr" + space + b"XYZ " + bytes(12) + b"acspnone" + bytes(28)
    header = struct.pack(">I4sI", start + len(body), b"none", 0x02100000) + kinds + fixed(0.9642, 1, 0.8249)
    return header + bytes(128 - len(header)) + table + body


def adobe_profile() -> bytes:
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, 563) + b"\0\0"
    columns = {b"rXYZ": 0, b"gXYZ": 1, b"bXYZ": 2}
    tags = {name: b"XYZ \0\0\0\0" + fixed(*ADOBE[:, column]) for name, column in columns.items()}
    return profile(b"RGB ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def grey_profile(gamma: float) -> bytes:
    return profile(b"GRAY", {b"kTRC": b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"})


def test_adobe_rgb_becomes_srgb(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.png", icc_profile=adobe_profile())
    linear = (COLOURS / 255) ** (563 / 256) @ ADOBE.T @ TO_SRGB.T
    inside = ((linear >= 0) & (linear <= 1)).all(axis=-1)
    difference = np.abs(np.asarray(decode(tmp_path / "a.png")) - srgb(linear))[inside]
    assert inside.mean() > 0.5
    assert difference.max() <= 2
    assert np.abs(np.asarray(decode(tmp_path / "a.png")).astype(int) - COLOURS).max() > 10


def test_a_profile_is_used_below_transparency_and_in_strips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alpha = np.full((12, 12, 1), 255, np.uint8)
    Image.fromarray(COLOURS).save(tmp_path / "a.png", icc_profile=adobe_profile())
    Image.fromarray(np.concatenate([COLOURS, alpha], 2)).save(tmp_path / "b.png", icc_profile=adobe_profile())
    whole = np.asarray(decode(tmp_path / "a.png"))
    monkeypatch.setattr("betabloom.data.pictures.depth._STRIP", 30)
    for name in ("a.png", "b.png"):
        np.testing.assert_array_equal(np.asarray(decode(tmp_path / name)), whole)


def test_a_grey_profile_changes_the_tone(tmp_path: Path) -> None:
    grey = LEVELS.reshape(1, -1)
    Image.fromarray(grey).save(tmp_path / "a.png", icc_profile=grey_profile(1.0))
    result = decode(tmp_path / "a.png")
    assert result.mode == "L"
    assert np.abs(np.asarray(result) - srgb(grey / 255)).max() <= 1


@pytest.mark.parametrize("kind", ["srgb", "damaged", "of another kind", "empty"])
def test_a_profile_that_changes_nothing_is_ignored(tmp_path: Path, kind: str) -> None:
    content = {
        "srgb": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        "damaged": adobe_profile()[:150],
        "of another kind": grey_profile(1.0),
        "empty": b"",
    }[kind]
    Image.fromarray(COLOURS).save(tmp_path / "a.png", icc_profile=content)
    np.testing.assert_array_equal(np.asarray(decode(tmp_path / "a.png")), COLOURS)


def lab_bytes(rgb: np.ndarray) -> np.ndarray:
    """CIE 15:2004, 8.2.1: L* = 116 f(Y) − 16, a* = 500 (f(X) − f(Y)), b* = 200 (f(Y) − f(Z)), under D50."""
    v = rgb / 255
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    ratio = linear @ np.linalg.inv(TO_SRGB).T / (0.96422, 1, 0.82521)
    x, y, z = np.moveaxis(np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116), -1, 0)
    lab = np.stack([(116 * y - 16) * 2.55, 500 * (x - y), 200 * (y - z)], axis=-1)
    return np.rint(lab).astype(np.int16).astype(np.uint8)  # TIFF 6.0, section 23: a* and b* as signed bytes


def test_lab_follows_cie_1976(tmp_path: Path) -> None:
    muted = COLOURS // 2 + 60
    image = Image.frombytes("LAB", (12, 12), lab_bytes(muted).tobytes())
    image.save(tmp_path / "a.tif")
    for result in (decode(tmp_path / "a.tif"), upright(image)):
        assert np.abs(np.asarray(result).astype(int) - muted).max() <= 4  # half a step of a* is up to 3 levels of red


def test_hsv_and_ycbcr() -> None:
    image = Image.new("HSV", (2, 2), (85, 255, 255))  # a third of the circle: pure green
    assert np.abs(np.asarray(upright(image))[0, 0].astype(int) - (0, 255, 0)).max() <= 2
    ycbcr = Image.fromarray(COLOURS).convert("YCbCr")
    assert np.abs(np.asarray(upright(ycbcr)).astype(int) - COLOURS).max() <= 3


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_is_the_colour_that_ink_leaves(tmp_path: Path, suffix: str) -> None:
    inks = {(0, 0, 0, 0): (255, 255, 255), (255, 0, 0, 0): (0, 255, 255), (0, 255, 255, 0): (255, 0, 0)}
    inks |= {(0, 0, 0, 255): (0, 0, 0), (0, 0, 0, 128): (127, 127, 127)}
    for ink, colour in inks.items():
        Image.new("CMYK", (16, 16), ink).save(tmp_path / f"a.{suffix}")
        assert np.abs(np.asarray(decode(tmp_path / f"a.{suffix}"))[8, 8].astype(int) - colour).max() <= 2, ink
    assert "print" in peek(tmp_path / f"a.{suffix}").remarks[0]


def _png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_sixteen_bits_a_channel(tmp_path: Path) -> None:
    values = np.array([0, 257 * 50, 257 * 200, 65535, 257 * 100, 257 * 3], dtype=">u2")
    (tmp_path / "rgb.png").write_bytes(_png(2, 1, 16, 2, b"\0" + values.tobytes()))
    assert np.asarray(decode(tmp_path / "rgb.png")).tolist() == [[[0, 50, 200], [255, 100, 3]]]
    (tmp_path / "grey.png").write_bytes(_png(6, 1, 16, 0, b"\0" + values.tobytes()))
    assert np.asarray(decode(tmp_path / "grey.png")).tolist() == [[0, 50, 200, 255, 100, 3]]
    Image.fromarray(values.astype(np.uint16).reshape(1, -1)).save(tmp_path / "grey.tif")
    assert np.asarray(decode(tmp_path / "grey.tif")).tolist() == [[0, 50, 200, 255, 100, 3]]
    assert "16 bits per channel; 0 to 65535 is" in peek(tmp_path / "grey.tif").remarks[0]


def test_half_transparent_pixels_are_a_blend(tmp_path: Path) -> None:
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[..., 0], rgba[..., 3] = 200, 51  # a fifth
    Image.fromarray(rgba).save(tmp_path / "a.png")
    result = np.asarray(decode(tmp_path / "a.png", Reading(background="#0064ff")))[0, 0]
    assert np.abs(result.astype(int) - (40, 80, 204)).max() <= 1
    assert Folder(tmp_path, background="#0064ff").read(0).getpixel((0, 0)) == tuple(result)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "avif"])
def test_the_first_frame_of_every_animation(tmp_path: Path, suffix: str) -> None:
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow cannot write AVIF")
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("#c83200", "blue", "lime")]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], duration=50)
    result = np.asarray(decode(tmp_path / f"a.{suffix}").convert("RGB"))
    assert np.abs(result[16, 16].astype(int) - (200, 50, 0)).max() <= 6
    assert peek(tmp_path / f"a.{suffix}").remarks[0].startswith("with several pages or frames; the first one is used")


def test_avif_and_heic(tmp_path: Path, make_picture: Callable[..., Any]) -> None:
    image = make_picture(1, (64, 48))
    if features.check("avif"):
        image.save(tmp_path / "a.avif", quality=90)
        assert np.abs(np.asarray(decode(tmp_path / "a.avif")).astype(int) - np.asarray(image)).mean() < 4
    (tmp_path / "b.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    reason = inspect(Folder(tmp_path)).unreadable[-1]["reason"]
    assert "betabloom[heic]" in reason or "damaged" in reason or "not a picture" in reason


def test_heic_where_its_package_is(tmp_path: Path, make_picture: Callable[..., Any]) -> None:
    heif = pytest.importorskip("pillow_heif", reason="writing HEIC for this test needs pip install pillow-heif")
    pytest.importorskip("pi_heif", reason="the extra heic is not installed: pip install 'betabloom[heic]'")
    image = make_picture(1, (64, 48))
    heif.from_pillow(image).save(tmp_path / "a.heic", quality=95)
    result = decode(tmp_path / "a.heic")
    assert np.abs(np.asarray(result).astype(int) - np.asarray(image)).mean() < 5


def test_plain_pictures_are_not_copied(make_picture: Callable[..., Any]) -> None:
    for image in (make_picture(0), make_picture(0).convert("L")):
        assert plain(image) is image


MEMORY = """
import io, sys
from PIL import Image
from betabloom.data import Pipeline
from betabloom.data.pictures.decode import decode
from pathlib import Path
pipeline = Pipeline.named("square", (64, 64))
pipeline.load(Path(sys.argv[1]))
pipeline(decode(Path(sys.argv[1])))
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) // 1024)  # of this program alone: ru_maxrss begins with its parent's
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["RGBA.png", "LA.png", "I;16.png", "P.gif", "CMYK.jpg", "RGB.jpg", "RGBA.webp"])
def test_the_largest_pictures_take_less_than_a_gigabyte(tmp_path: Path, kind: str) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("the kernel tells no memory here")
    mode = kind.partition(".")[0]
    exif = Image.Exif()
    exif[0x0112] = 6
    side = 6300 if kind.endswith("webp") else 8900
    Image.new(mode, (side, side), 1).save(tmp_path / kind, **({"exif": exif} if kind.endswith("jpg") else {}))
    used = subprocess.check_output([sys.executable, "-c", MEMORY, str(tmp_path / kind)], text=True)
    assert int(used) < 1024


def test_a_broken_profile_in_a_stream_of_bytes(make_picture: Callable[..., Any]) -> None:
    file = io.BytesIO()
    make_picture(0).save(file, "PNG", icc_profile=bytes(50))
    assert decode(file).size == (40, 30)
    with pytest.raises(PictureError, match="empty file"):
        decode(io.BytesIO())
