"""PNG files as far as their pixels go: checksums, and a copy without the chunks that may keep Pillow from opening it.

What is beside the pixels (long texts, metadata, a profile, a damaged comment) never makes the pixels unusable.
"""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING

from betabloom.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = ["check_sums", "only_pixels", "profile_in"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_KEPT = (*_CRITICAL, b"tRNS", b"eXIf", b"acTL", b"fcTL", b"fdAT")
_PROFILE = 16 << 20  # bytes of a colour profile
_LARGEST = 512 << 20  # bytes of a file that is copied


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
    """Return the ICC profile of a PNG, unpacked, if it is sound and of a bearable size."""
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
