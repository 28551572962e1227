"""PNG files as far as their pixels go: checksums, and a copy without the chunks that may keep Pillow from opening it.

What is beside the pixels (long texts, metadata, a profile, a damaged comment) never makes the pixels unusable.

*Plain* PNGs, such as `betabloom shard --size` writes, are decoded without trying formats and reading marks in Python,
which takes several times as long as the pixels of a small picture: 8 bits, grey or three channels, not interlaced, and
nothing but pixels, the time and how large they are printed. Everything else is left to `decode.decode`.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from typing import TYPE_CHECKING

from PIL import Image

from betabloom.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["check_sums", "decoded_plain", "only_pixels", "profile_in"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_KEPT = (*_CRITICAL, b"tRNS", b"eXIf", b"acTL", b"fcTL", b"fdAT")
_PROFILE = 16 << 20  # bytes of a colour profile
_LARGEST = 512 << 20  # bytes of a file that is copied
_PLAIN = (b"IHDR", b"IDAT", b"pHYs", b"tIME")
_PLAIN_MODES = {0: "L", 2: "RGB"}  # by the colour type
_PLAIN_BYTES, _PLAIN_PIXELS = 32 << 20, 16_000_000


def decoded_plain(file: Path | BinaryIO, min_size: int = 0) -> Image.Image | None:
    """Decode a plain PNG.

    Returns:
        The picture in mode RGB or L, its (width, height) in `info["extent"]`; or None if the file is not a plain PNG,
        is damaged or large, or has a side of less than `min_size` pixels.
    """
    data = _plain_content(file)
    if data is None or data[12:16] != b"IHDR" or len(data) < 33:
        return None
    width, height, bits, colours, *rest = struct.unpack_from(">IIBBBBB", data, 16)
    if bits != 8 or any(rest) or colours not in _PLAIN_MODES or width * height > _PLAIN_PIXELS:
        return None
    packed = _plain_pixels(data)
    if packed is None or min(width, height) < max(1, min_size):
        return None
    mode = _PLAIN_MODES[colours]
    image = Image.new(mode, (width, height), None)
    try:
        image.frombytes(packed, "zip", (mode, 0))
    except (ValueError, OSError, MemoryError):
        return None
    image.info["extent"] = (width, height)
    return image


def _plain_content(file: Path | BinaryIO) -> bytes | None:
    """Read a file if it may be a plain PNG."""
    try:
        if isinstance(file, os.PathLike):
            with open(file, "rb", buffering=0) as opened:  # noqa: PTH123
                return _plain_content(opened)
        file.seek(0)
        start = file.read(len(_SIGNATURE))
        content = start + file.read(_PLAIN_BYTES) if start == _SIGNATURE else b""
    except (OSError, ValueError):  # also a name that no file can have
        return None
    return content if len(_SIGNATURE) < len(content) <= _PLAIN_BYTES else None


def _plain_pixels(data: bytes) -> bytes | None:
    """Return what the pixels are packed in, or None if a chunk is not plain, cut short or damaged."""
    parts, place = [], len(_SIGNATURE)
    while (kind := data[place + 4 : place + 8]) in _PLAIN:
        end = place + 8 + int.from_bytes(data[place : place + 4], "big")
        if zlib.crc32(data[place + 4 : end]) != int.from_bytes(data[end : end + 4], "big") or end + 4 > len(data):
            return None
        if kind == b"IDAT":
            parts.append(data[place + 8 : end])
        place = end + 4
    return b"".join(parts) if kind == b"IEND" else None


def check_sums(file: BinaryIO) -> None:
    """Refuse a PNG with a changed byte in its pixels, which Pillow reads over.

    Raises:
        PictureError: A checksum is wrong.
    """
    for kind, size, start in _chunks(file):
        if kind not in (b"IHDR", b"PLTE", b"IDAT"):
            continue
        file.seek(start)
        if zlib.crc32(file.read(size), zlib.crc32(kind)) != int.from_bytes(file.read(4), "big"):
            raise PictureError("damaged: a checksum in it is wrong")


def only_pixels(file: BinaryIO) -> io.BytesIO | None:
    """Return a copy of a PNG with the chunks that pixels need and sound ones beside these; None if it is no PNG."""
    file.seek(0)
    if file.read(8) != _SIGNATURE:
        return None
    copy = io.BytesIO()
    copy.write(_SIGNATURE)
    for kind, size, start in _chunks(file):
        if kind not in _KEPT or copy.tell() + size > _LARGEST:
            continue
        file.seek(start)
        content = file.read(size + 4)
        if kind in _CRITICAL or zlib.crc32(content[:-4], zlib.crc32(kind)) == int.from_bytes(content[-4:], "big"):
            copy.write(size.to_bytes(4, "big") + kind + content)
    copy.seek(0)
    return copy


def profile_in(file: BinaryIO) -> bytes | None:
    """Return the ICC profile of a PNG, unpacked, if it is intact and not too large."""
    for kind, size, start in _chunks(file):
        if kind != b"iCCP":
            continue
        file.seek(start)
        unpacker = zlib.decompressobj()
        try:
            profile = unpacker.decompress(file.read(size).partition(b"\0")[2][1:], _PROFILE)
        except zlib.error:
            return None
        return profile if unpacker.eof else None
    return None


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, bytes, where the content starts) of each chunk up to the end, reading headers only."""
    place = 8
    file.seek(place)
    while len(header := file.read(8)) == 8:
        size, kind = int.from_bytes(header[:4], "big"), header[4:]
        yield kind, size, place + 8
        if kind == b"IEND":
            return
        place += size + 12
        file.seek(place)
