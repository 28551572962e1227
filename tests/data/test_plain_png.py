"""Plain PNGs are decoded quickly, with the same pixels and the same complaints as all others."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from betabloom.data.pictures import decode as decoding
from betabloom.data.pictures.decode import decode
from betabloom.data.pictures.png import decoded_plain
from betabloom.data.pictures.reading import Reading
from betabloom.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., Image.Image]


def encoded(image: Image.Image, **more: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **more)
    return file.getvalue()


def outcome(data: bytes) -> Any:
    try:
        image = decode(io.BytesIO(data))
    except PictureError as error:
        return str(error)
    return image.mode, np.asarray(image).tolist()


def by_the_long_way(data: bytes) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "decoded_plain", lambda *_: None)
        return outcome(data)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("side", [1, 16, 65])
def test_the_pixels_are_pillows_own(mode: str, side: int, make_picture: Make) -> None:
    image = make_picture(3).resize((side, side + 2)).convert(mode)
    for level in (0, 1, 9):
        data = encoded(image, compress_level=level)
        quick = decoded_plain(io.BytesIO(data))
        assert quick is not None
        assert np.array_equal(np.asarray(quick), np.asarray(image))
        assert outcome(data) == by_the_long_way(data)


def test_what_is_not_plain_goes_the_long_way(make_picture: Make) -> None:
    image = make_picture(1)
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", "x")
    others = [image.convert("P"), image.convert("RGBA"), image.convert("1"), image.convert("I;16")]
    kinds = [encoded(other) for other in others]
    kinds += [encoded(image, transparency=(1, 2, 3)), encoded(image, pnginfo=text), encoded(image, icc_profile=b"x")]
    kinds += [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a"]
    for data in kinds:
        assert decoded_plain(io.BytesIO(data)) is None
    assert decoded_plain(io.BytesIO(encoded(image)), min_size=image.height + image.width) is None
    with pytest.raises(PictureError, match="smaller"):
        decode(io.BytesIO(encoded(image)), Reading(min_size=image.height + image.width))


def test_damage_has_the_same_outcome_on_both_ways(make_picture: Make) -> None:
    data = encoded(make_picture(2).resize((9, 9)))
    rng = np.random.default_rng(0)
    cut = [data[:length] for length in range(0, len(data), 7)]
    changed = []
    for place in rng.integers(0, len(data), 60):
        each = bytearray(data)
        each[place] ^= 1 << int(rng.integers(8))
        changed.append(bytes(each))
    for each in [*cut, *changed]:
        assert outcome(each) == by_the_long_way(each)


def test_few_rows_under_right_checksums_have_the_same_outcome() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0))
    for rows in (0, 1, 3, 4, 9):
        packed = zlib.compress(bytes([0, *range(12)]) * rows)
        data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
        assert outcome(data) == by_the_long_way(data)
