"""One picture file in, one upright RGB or greyscale picture out, or a reason why not.

Whatever is wrong with a file ends as a `PictureError` whose message a person understands. Nothing is written.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from betabloom.errors import PictureError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TypeAlias

    Colour: TypeAlias = tuple[int, int, int]

__all__ = ["MAX_PIXELS", "decode", "extent", "readable_formats", "readable_suffixes", "upright"]

MAX_PIXELS = 80_000_000
"""A header that announces more is refused before anything is decoded."""

WHITE: Colour = (255, 255, 255)

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


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """Name the formats that Pillow can decode by itself here, JPEG and PNG first."""
    Image.init()
    common = ("JPEG", "PNG")
    return common + tuple(name for name in sorted(Image.OPEN) if name not in _NOT_PICTURES and name not in common)


@functools.cache
def readable_suffixes() -> frozenset[str]:
    """Return the file name endings of those formats, in lower case and with their dot."""
    formats = set(readable_formats())
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


def decode(path: Path, *, at_least: tuple[int, int] | None = None, background: Colour = WHITE) -> Image.Image:
    """Decode the (first) picture of a file.

    Arguments:
        path: The file; it is only read.
        at_least: (height, width) that the caller will shrink it to. A JPEG may then be decoded at 1/2, 1/4 or 1/8
            scale, never below this size; `extent` tells its exact size at that scale.
        background: RGB colour, 0..255, seen through transparent pixels.

    Returns:
        The picture, upright, in mode RGB or L.

    Raises:
        PictureError: It cannot be decoded; the message is the reason, without the name.
    """
    try:
        with Image.open(path, formats=readable_formats()) as image:
            _check_size(image.size)
            if at_least is not None:
                _reduce(image, at_least)
            image.load()
            return upright(image, background=background)
    except PictureError:
        raise
    except Exception as error:  # decoders of damaged files raise anything
        raise PictureError(_reason(path, error)) from error


def extent(image: Image.Image) -> tuple[float, float]:
    """Return (width, height) in pixels; 227 px decoded at half scale fill 113.5 of the 114 px that hold them."""
    size: tuple[float, float] = image.info.get("extent", image.size)
    return size


def upright(image: Image.Image, *, background: Colour = WHITE) -> Image.Image:
    """Turn a decoded picture of any mode into an upright one in mode RGB or L.

    Transparency is laid over `background`. 16-bit values v become v / 257; 32-bit integer and float pictures whose
    values exceed the range 0..255 (0..1 for floats) are scaled so that the largest value becomes 255.
    """
    turn = _UPRIGHT.get(_orientation(image))
    if image.mode not in ("RGB", "L") or image.has_transparency_data:
        image = _plain(image, background)
    if turn is None:
        return image
    image = image.transpose(turn)
    image.info.pop("exif", None)
    image.info.pop("extent", None)
    image.getexif().pop(_ORIENTATION, None)
    return image


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise PictureError(_too_large(f"{width} × {height} pixels"))


def _too_large(what: str) -> str:
    return f"too large: {what}, and the limit is {MAX_PIXELS // 1_000_000} million"


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


def _plain(image: Image.Image, background: Colour) -> Image.Image:
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, (*background, 255))
        return Image.alpha_composite(paper, layer).convert("RGB")
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_eight_bits(np.asarray(image), sixteen=image.mode.startswith("I;16")))
    return image.convert("L" if image.mode == "1" else "RGB")


def _eight_bits(values: np.ndarray, *, sixteen: bool) -> np.ndarray:
    """Map (H, W) integers or floats to uint8, as `upright` documents."""
    exact = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0).clip(0)
    largest = exact.max(initial=0.0)
    if sixteen or (values.dtype.kind != "f" and 255 < largest <= 65535):
        exact /= 257
    elif values.dtype.kind == "f" and largest <= 1:
        exact *= 255
    elif largest > 255:
        exact *= 255 / largest
    eight_bits: np.ndarray = np.rint(exact).astype(np.uint8)
    return eight_bits


def _reason(path: Path, error: Exception) -> str:
    match error:
        case PermissionError():
            return "permission denied"
        case FileNotFoundError():
            return "no such file (moved, deleted, or a link to nothing)"
        case IsADirectoryError():
            return "a folder, not a picture"
        case Image.DecompressionBombError() | Image.DecompressionBombWarning():
            return _too_large("its header announces more pixels than any photo has")
        case MemoryError():
            return "too large for the memory of this machine"
        case UnidentifiedImageError():
            return _what_it_is_instead(path)
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    if isinstance(error, EOFError) or any(sign in str(error).lower() for sign in ("truncated", "unexpected end")):
        return "cut short: the end of the file is missing"
    return f"damaged: {error or type(error).__name__}"


def _what_it_is_instead(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        return "empty file (0 bytes)"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "not a picture but a web page (HTML); a download probably went wrong"
    if start.isascii() and b"\x00" not in start:
        return "not a picture but text"
    return "not a picture, or of a kind that Pillow cannot read here"
