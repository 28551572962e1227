"""Plain JPEGs, decoded at the scale that suffices: 1/8, 1/4, 3/8, 1/2 or whole.

It is Pillow's decoder that decodes, through `Image.frombytes`. What is left out is what plain files have no use for:
trying formats, and reading marks in Python. And there is the scale of 3/8, which `Image.draft` cannot ask for: it takes
a photo of 227 px to 86, where 1/2 leaves 114.

*Plain* means 8 bits, grey or three channels, and nothing in front of the pixels but tables, comments and the JFIF mark:
no EXIF, no colour profile, no Adobe mark, no second picture. Everything else, and whatever is wrong, is left to
`decode.decode`.
"""

from __future__ import annotations

import functools
import io
import os
import struct
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["reduced", "scales"]

_START = b"\xff\xd8"
_HEADER = 1 << 16  # bytes in which the pixels have to begin, or it is not plain
_LARGEST = 32 << 20  # bytes of a file
_PIXELS = 16_000_000

_SCAN = 0xDA
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive; the others are lossless or arithmetically coded
_PASSED_OVER = (0xC4, 0xDB, 0xDD, 0xE0, 0xFE)  # Huffman tables, quantisation, restart interval, JFIF, comment


def reduced(file: Path | BinaryIO, at_least: tuple[int, int], min_size: int = 0) -> Image.Image | None:
    """Decode a plain JPEG at the smallest scale that leaves (height, width) `at_least`; at whole scale if none does.

    Returns:
        The picture in mode RGB or L, its exact (width, height) at that scale in `info["extent"]`; or None if the file
        is not a plain JPEG, is damaged or large, or has a side of less than `min_size` pixels.
    """
    data = _content(file)
    frame = None if data is None else _frame(data)
    if data is None or frame is None:
        return None
    width, height, mode = frame
    if not max(1, min_size) <= min(width, height) or width * height > _PIXELS:
        return None
    eighths = _suffices(width, height, at_least)
    image = _decoded(data, mode, (-(-width * eighths // 8), -(-height * eighths // 8)), eighths)
    if image is not None and eighths < 8:
        image.info["extent"] = (width * eighths / 8, height * eighths / 8)
    return image


def _suffices(width: int, height: int, at_least: tuple[int, int]) -> int:
    """Return the smallest scale, in eighths, that leaves (height, width) `at_least`."""
    for eighths in scales():
        if width * eighths >= 8 * at_least[1] and height * eighths >= 8 * at_least[0]:
            return eighths
    return 8


@functools.cache
def scales() -> tuple[int, ...]:
    """Return the scales, in eighths, that the JPEG library of this Pillow decodes at.

    libjpeg-turbo, MozJPEG and libjpeg from version 7 on can do 3/8; libjpeg 6b takes it for 1/2. A picture of 8 × 8
    tells: it has 3 rows at 3/8, and more of them are an error. Room for 4 columns keeps 1/2 from writing beyond.
    """
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "JPEG")
    return (1, 2, 3, 4) if _decoded(file.getvalue(), "L", (4, 3), 3) is not None else (1, 2, 4)


def _content(file: Path | BinaryIO) -> bytes | None:
    """Read a file if it may be a plain JPEG."""
    if not isinstance(file, os.PathLike):
        file.seek(0)
        return _rest(file)
    try:
        with open(file, "rb", buffering=0) as opened:  # noqa: PTH123
            return _rest(opened)
    except OSError:
        return None


def _rest(file: BinaryIO | io.FileIO) -> bytes | None:
    start: bytes = file.read(_HEADER)
    if len(start) < _HEADER or _frame(start) is None:
        return start
    content = start + file.read(_LARGEST)
    return content if len(content) <= _LARGEST else None


def _frame(data: bytes) -> tuple[int, int, str] | None:
    """Return the width, height and mode that a plain JPEG announces, or None."""
    if data[:2] != _START:
        return None
    frame, place = None, 2
    while place + 10 <= len(data) and data[place] == 0xFF:
        kind = data[place + 1]
        if kind == _SCAN:
            return frame
        if kind in _FRAMES and frame is None:
            bits, height, width, channels = struct.unpack_from(">BHHB", data, place + 4)
            if bits != 8 or channels not in (1, 3):
                return None
            frame = (width, height, "RGB" if channels == 3 else "L")
        elif kind not in _PASSED_OVER:
            return None
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None


def _decoded(data: bytes, mode: str, size: tuple[int, int], eighths: int) -> Image.Image | None:
    """Decode at a scale of `eighths` / 8, at which a picture has `size`.

    The library is asked for a scale of 1/n and takes the next larger number of eighths: for 1/3, 3/8.
    """
    try:
        image = Image.new(mode, size, None)
        image.frombytes(data, "jpeg", (mode, "", -(-8 // eighths), 0))
    except (ValueError, OSError, MemoryError):
        return None
    return image
