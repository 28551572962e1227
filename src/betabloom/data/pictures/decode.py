"""One picture file in, one upright RGB or greyscale picture out, or a reason why not.

Whatever is wrong with a file ends as a `PictureError` whose message a person understands. Nothing is written.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

from betabloom.data.pictures.jpeg import reduced
from betabloom.data.pictures.modes import WHITE, plain
from betabloom.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from betabloom.data.pictures.modes import Colour

__all__ = [
    "MAX_PIXELS",
    "VERSION",
    "PictureFacts",
    "decode",
    "extent",
    "peek",
    "readable_formats",
    "readable_suffixes",
    "upright",
]

VERSION = 3
"""Rises when the same file gives other pixels than before; part of the fingerprint of sources of files."""

MAX_PIXELS = 80_000_000
"""A header that announces more is refused before anything is decoded."""

_COPYING = ("AVIF", "WEBP")  # their decoders hold several copies: half the limit
_LARGE = 16_000_000  # pictures of more pixels are decoded one at a time, to bound the memory
one_at_a_time = threading.Lock()

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Formats that run an outside program (Ghostscript) or that Pillow recognises without being able to decode.
_NOT_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"}


@dataclass(frozen=True)
class PictureFacts:
    """What the header of a picture says.

    Attributes:
        width: Its width in pixels, upright.
        height: Its height in pixels, upright.
        format: "JPEG", "PNG" …; empty where pictures do not lie in files.
        remarks: What is unusual about it and how it is handled, each a few words.
    """

    width: int
    height: int
    format: str = ""
    remarks: tuple[str, ...] = ()


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """Name the formats that Pillow can decode by itself here, JPEG and PNG first."""
    Image.init()
    with contextlib.suppress(ImportError):  # the extra `heic`
        import pi_heif

        pi_heif.register_heif_opener()
    common = ("JPEG", "PNG")
    return common + tuple(name for name in sorted(Image.OPEN) if name not in _NOT_PICTURES and name not in common)


@functools.cache
def readable_suffixes() -> frozenset[str]:
    """Return the file name endings of pictures, in lower case and with their dot; HEIC even if it cannot be read."""
    formats = set(readable_formats())
    known = {suffix for suffix, name in Image.registered_extensions().items() if name in formats}
    return frozenset(known | {".heic", ".heif", ".avif"})


def decode(
    file: Path | BinaryIO,
    *,
    at_least: tuple[int, int] | None = None,
    background: Colour = WHITE,
    min_size: int = 0,
) -> Image.Image:
    """Decode the (first) picture of a file.

    Arguments:
        file: A path, or a file opened in binary mode; it is only read.
        at_least: (height, width) that the caller will shrink it to. A JPEG may then be decoded at 1/2, 3/8, 1/4 or
            1/8 scale, never below this size; `extent` tells its exact size at that scale.
        background: RGB colour, 0..255, seen through transparent pixels.
        min_size: Refuse pictures with a side of fewer pixels.

    Returns:
        The picture, upright, in mode RGB or L.

    Raises:
        PictureError: It cannot be decoded, or is too small; the message is the reason, without the name.
    """
    quickly = None if at_least is None else reduced(file, at_least, min_size)
    if quickly is not None:
        return quickly
    with _opened(file) as image:
        _check_size(image, min_size)
        if at_least is not None:
            _reduce(image, at_least)
        with one_at_a_time if image.width * image.height > _LARGE else contextlib.nullcontext():
            image.load()
            if image.format == "PNG":
                _check_sums(file)
            return upright(image, background=background)


def peek(file: Path | BinaryIO, min_size: int = 0) -> PictureFacts:
    """Read what the header of a picture file says, without decoding it.

    Arguments:
        file: A path, or a file opened in binary mode; it is only read.
        min_size: Refuse pictures with a side of fewer pixels.

    Raises:
        PictureError: It is no picture, or one that `decode` would refuse for its size; the message is the reason.
    """
    with _opened(file) as image:
        _check_size(image, min_size)
        turn = _orientation(image)
        width, height = image.size if turn < 5 else image.size[::-1]
        return PictureFacts(width, height, image.format or "", tuple(_remarks(image, turn)))


def _remarks(image: Image.Image, turn: int) -> Iterator[str]:
    if image.format in ("GIF", "PNG", "WEBP", "AVIF") and getattr(image, "is_animated", False):
        yield "animated; the first frame is used"
    if image.has_transparency_data:
        yield "with transparency; shown on the background colour"
    if image.mode == "CMYK":
        yield "in print colours (CMYK); converted to RGB"
    if image.mode.startswith(("I", "F")):
        yield "with more than 8 bits per channel; converted to 8"
    if turn in _UPRIGHT:
        yield "rotated by its EXIF orientation; corrected"


@contextlib.contextmanager
def _opened(file: Path | BinaryIO) -> Iterator[Image.Image]:
    """Open a picture; whatever goes wrong, here or later, becomes a `PictureError`."""
    try:
        with Image.open(file, formats=readable_formats()) as image:
            yield image
    except PictureError:
        raise
    except Exception as error:  # decoders of damaged files raise anything
        raise PictureError(_reason(file, error)) from error


def extent(image: Image.Image) -> tuple[float, float]:
    """Return (width, height) in pixels; 227 px decoded at half scale fill 113.5 of the 114 px that hold them."""
    size: tuple[float, float] = image.info.get("extent", image.size)
    return size


def upright(image: Image.Image, *, background: Colour = WHITE) -> Image.Image:
    """Turn a decoded picture of any mode into an upright one in mode RGB or L.

    How colours, depth and transparency are converted is described at `colour.plain`.
    """
    turn = _UPRIGHT.get(_orientation(image))
    image = plain(image, background)
    if turn is None:
        return image
    image = image.transpose(turn)
    image.info.pop("exif", None)
    image.info.pop("extent", None)
    image.getexif().pop(_ORIENTATION, None)
    return image


def _check_size(image: Image.Image, min_size: int) -> None:
    width, height = image.size
    limit = MAX_PIXELS // 2 if image.format in _COPYING else MAX_PIXELS
    if min(width, height) < min_size:
        raise PictureError(f"smaller ({width} × {height}) than the {min_size} px asked for")
    if width * height > limit:
        raise PictureError(f"too large: {width} × {height} pixels, and the limit is {limit // 1_000_000} million")


def _reduce(image: Image.Image, at_least: tuple[int, int]) -> None:
    height, width = at_least if _orientation(image) < 5 else at_least[::-1]
    full = image.size
    image.draft(None, (width, height))
    if image.size != full:
        scale = round(full[0] / image.size[0]) if full[0] > full[1] else round(full[1] / image.size[1])
        image.info["extent"] = (full[0] / scale, full[1] / scale)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # an unreadable EXIF block is no reason to lose the picture
        return 1


def _reason(file: Path | BinaryIO, error: Exception) -> str:
    match error:
        case PermissionError():
            return "permission denied"
        case FileNotFoundError():
            return "no such file (moved, deleted, or a link to nothing)"
        case IsADirectoryError():
            return "a folder, not a picture"
        case Image.DecompressionBombError() | Image.DecompressionBombWarning():
            return "too large: its header announces more pixels than any photo has"
        case MemoryError():
            return "too large for the memory of this machine"
        case UnidentifiedImageError():
            return _what_it_is_instead(file)
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    if isinstance(error, EOFError) or any(sign in str(error).lower() for sign in ("truncated", "unexpected end")):
        return "cut short: the end of the file is missing"
    return f"damaged: {error or type(error).__name__}"


def _what_it_is_instead(file: Path | BinaryIO) -> str:
    start = _start(file)
    if not start:
        return "empty file (0 bytes)"
    if start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS:
        return "a HEIC photo, which needs one more package here: type pip install 'betabloom[heic]'"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "not a picture but a web page (HTML); a download probably went wrong"
    if start.isascii() and b"\x00" not in start:
        return "not a picture but text"
    return "not a picture, or of a kind that Pillow cannot read here"


def _check_sums(file: Path | BinaryIO) -> None:
    """Refuse a PNG with a changed byte in its pixels: Pillow reads over those (a JPEG has nothing to tell it by)."""
    with _bytes_of(file) as opened:
        opened.seek(8)
        while len(header := opened.read(8)) == 8:
            size, kind = int.from_bytes(header[:4], "big"), header[4:]
            if kind not in (b"IHDR", b"PLTE", b"IDAT"):
                opened.seek(size + 4, os.SEEK_CUR)
                continue
            if zlib.crc32(opened.read(size), zlib.crc32(kind)) != int.from_bytes(opened.read(4), "big"):
                raise PictureError("damaged: a checksum in it is wrong")


def _start(file: Path | BinaryIO) -> bytes:
    with _bytes_of(file) as opened:
        opened.seek(0)
        return opened.read(512)


@contextlib.contextmanager
def _bytes_of(file: Path | BinaryIO) -> Iterator[BinaryIO]:
    if isinstance(file, os.PathLike):
        with open(file, "rb") as opened:  # noqa: PTH123
            yield opened
    else:
        yield file
