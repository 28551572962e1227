"""Plain JPEGs take a short way to the same pictures and the same reasons as all other files."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from betabloom.data import Folder
from betabloom.data.pictures import decode as picture
from betabloom.data.pictures import jpeg
from betabloom.data.pictures.decode import decode, extent
from betabloom.data.pictures.jpeg import reduced, scales
from betabloom.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[..., Image.Image]

KINDS: dict[str, dict[str, Any]] = {
    "4:2:0": {"subsampling": 2},
    "4:2:2": {"subsampling": 1},
    "4:4:4": {"subsampling": 0},
    "progressive": {"progressive": True},
    "with restarts": {"restart_marker_rows": 1},
    "with a comment": {"comment": b"a comment"},
    "grey": {},
}


def encoded(image: Image.Image, kind: str = "4:2:0", **more: Any) -> bytes:
    file = io.BytesIO()
    (image.convert("L") if kind == "grey" else image).save(file, "JPEG", **KINDS[kind], **more)
    return file.getvalue()


def outcome(data: bytes, at_least: tuple[int, int]) -> Any:
    """The picture's size, mode and pixels, or the reason why there is none."""
    try:
        image = decode(io.BytesIO(data), at_least=at_least)
    except PictureError as error:
        return str(error)
    return image.size, image.mode, extent(image), image.tobytes()


def by_the_long_way(data: bytes, at_least: tuple[int, int]) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(picture, "reduced", lambda *_: None)
        return outcome(data, at_least)


def test_the_common_libraries_can_do_three_eighths() -> None:
    if not features.check_feature("libjpeg_turbo"):
        pytest.skip("another JPEG library")
    assert scales() == (1, 2, 3, 4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [200, 110, 56, 28])
def test_at_pillows_own_scales_the_pixels_are_pillows_own(kind: str, side: int, make_picture: Make) -> None:
    data = encoded(make_picture(1, (227, 229)), kind)
    assert reduced(io.BytesIO(data), (side, side)) is not None
    assert outcome(data, (side, side)) == by_the_long_way(data, (side, side))


@pytest.mark.parametrize("kind", KINDS)
def test_at_three_eighths_it_is_the_same_picture_in_the_same_place(kind: str, make_picture: Make) -> None:
    whole = make_picture(2, (224, 152))
    small = reduced(io.BytesIO(encoded(whole, kind, quality=95)), (56, 84))
    assert small is not None
    assert (small.size, extent(small)) == ((84, 57), (84.0, 57.0))
    expected = whole.convert(small.mode).resize((84, 57), Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(small).astype(int) - np.asarray(expected)).mean() < 1
    odd = reduced(io.BytesIO(encoded(make_picture(2, (227, 151)), kind)), (56, 85))
    assert odd is not None
    assert (odd.size, extent(odd)) == ((86, 57), (85.125, 56.625))


def test_without_three_eighths_the_half_is_taken(monkeypatch: pytest.MonkeyPatch, make_picture: Make) -> None:
    data = encoded(make_picture(3, (224, 224)))
    assert outcome(data, (70, 70))[0] == (84, 84)
    monkeypatch.setattr(jpeg, "scales", lambda: (1, 2, 4))
    assert outcome(data, (70, 70)) == by_the_long_way(data, (70, 70))
    assert outcome(data, (70, 70))[0] == (112, 112)


def test_prepared_pictures_are_told_apart_by_the_scales_that_were_had(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Folder(photos).fingerprint()
    assert Folder(photos).fingerprint() == before
    monkeypatch.setattr("betabloom.data.sources.encoded.scales", lambda: (1, 2, 4) if 3 in scales() else (1, 2, 3, 4))
    assert Folder(photos).fingerprint() != before


def test_what_is_not_plain_goes_the_long_way(make_picture: Make) -> None:
    image = make_picture(4, (64, 64))
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    png = io.BytesIO()
    image.save(png, "PNG")
    plain = encoded(image)
    for data in (
        encoded(image, exif=exif),
        encoded(image, icc_profile=profile),
        encoded(image.convert("CMYK")),
        encoded(image, "4:4:4", keep_rgb=True),  # carries Adobe's mark
        png.getvalue(),
        b"",
        plain[:100],
        plain[:-200],
        plain[:2] + b"\0" + plain[2:],  # something between the marks
        plain + bytes(33 << 20),  # more than a photo of this size can be
    ):
        assert reduced(io.BytesIO(data), (30, 30)) is None
        assert outcome(data, (30, 30)) == by_the_long_way(data, (30, 30))
    assert reduced(io.BytesIO(plain), (30, 30), min_size=65) is None
    assert reduced(io.BytesIO(plain), (30, 30), min_size=64) is not None


def test_a_turned_photo_is_the_plain_one_turned(make_picture: Make) -> None:
    whole, exif = make_picture(5, (224, 160)), Image.Exif()
    exif[0x0112] = 6
    turned = decode(io.BytesIO(encoded(whole, quality=95, exif=exif)), at_least=(100, 70))
    plain = decode(io.BytesIO(encoded(whole, quality=95)), at_least=(70, 100))
    np.testing.assert_array_equal(np.asarray(turned), np.asarray(plain.transpose(Image.Transpose.ROTATE_270)))


@pytest.mark.parametrize("kind", ["4:2:0", "progressive", "grey"])
def test_damage_has_the_same_outcome_on_both_ways(kind: str, make_picture: Make) -> None:
    good = encoded(make_picture(6, (227, 227)), kind)
    rng = np.random.default_rng(0)
    cut = [good[:length] for length in (*range(0, len(good), 97), len(good) - 2, len(good) - 1)]
    flipped = []
    for _ in range(300):
        bad = bytearray(good)
        bad[rng.integers(0, min(len(bad), 700))] ^= 1 << rng.integers(8)
        flipped.append(bytes(bad))
    for data in cut + flipped:
        short, long = outcome(data, (110, 110)), by_the_long_way(data, (110, 110))
        if short != long:  # a flipped size: other scales may be chosen, and nothing else
            assert not isinstance(short, str)
            assert not isinstance(long, str)
            assert short[0] != long[0]


def test_an_empty_or_missing_file_is_named(tmp_path: Path) -> None:
    assert reduced(tmp_path / "none.jpg", (8, 8)) is None
    with pytest.raises(PictureError, match="no such file"):
        decode(tmp_path / "none.jpg", at_least=(8, 8))
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(PictureError, match="empty file"):
        decode(tmp_path / "a.jpg", at_least=(8, 8))
