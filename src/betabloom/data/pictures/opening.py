"""Opening a picture file; whatever is wrong with it ends as a `PictureError` whose message a person understands."""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

from betabloom.data.pictures.png import only_pixels, profile_in
from betabloom.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

__all__ = [
    "as_picture_error",
    "bytes_of",
    "open_leniently",
    "open_picture",
    "pixels_alone",
    "readable_formats",
    "readable_suffixes",
]

# Formats that run an outside program (Ghostscript) or that Pillow recognises without being able to decode.
_NOT_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"}


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
    formats.add("MPO")  # it opens as a JPEG does
    known = {suffix for suffix, name in Image.registered_extensions().items() if name in formats}
    return frozenset(known | {".heic", ".heif", ".avif"})


@contextlib.contextmanager
def open_picture(file: Path | BinaryIO) -> Iterator[Image.Image]:
    """Open a picture; whatever goes wrong, here or later, becomes a `PictureError`."""
    with as_picture_error(file), open_leniently(file) as image:
        yield image


@contextlib.contextmanager
def as_picture_error(file: Path | BinaryIO) -> Iterator[None]:
    """Whatever goes wrong in the block with the picture in this file becomes a `PictureError`."""
    try:
        yield
    except PictureError:
        raise
    except Exception as error:  # decoders of damaged files raise anything
        raise PictureError(_reason(file, error)) from error


def open_leniently(file: Path | BinaryIO) -> Image.Image:
    """Open a picture; of a PNG that Pillow refuses because of what is beside its pixels, open the pixels alone."""
    try:
        return Image.open(file, formats=readable_formats())
    except Exception:  # decoders of damaged files raise anything
        image = pixels_alone(file)
        if image is None:
            raise
        return image


def pixels_alone(file: Path | BinaryIO) -> Image.Image | None:
    """Open the pixels of a PNG and its colour profile alone; None if it is no PNG."""
    with contextlib.suppress(OSError), bytes_of(file) as opened:
        copy = only_pixels(opened)
        if copy is None:
            return None
        image = Image.open(copy, formats=("PNG",))
        if (profile := profile_in(opened)) is not None:
            image.info["icc_profile"] = profile
        return image
    return None


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


def _start(file: Path | BinaryIO) -> bytes:
    with bytes_of(file) as opened:
        opened.seek(0)
        return opened.read(512)


@contextlib.contextmanager
def bytes_of(file: Path | BinaryIO) -> Iterator[BinaryIO]:
    """Open a path for reading; a file that is open already is taken as it is, and stays open."""
    if isinstance(file, os.PathLike):
        with open(file, "rb") as opened:  # noqa: PTH123
            yield opened
    else:
        yield file
