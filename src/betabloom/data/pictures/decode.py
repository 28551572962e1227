"""One picture file in, one upright RGB or greyscale picture out, or a reason why not.

Whatever is wrong with a file ends as a `PictureError` whose message a person understands. Nothing is written.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from betabloom.data.pictures.depth import LOW, PACKING, bits_of, has_sixteen, is_deep
from betabloom.data.pictures.jpeg import reduced
from betabloom.data.pictures.modes import plain
from betabloom.data.pictures.opening import bytes_of, open_leniently, open_picture, pixels_alone
from betabloom.data.pictures.png import check_sums, decoded_plain
from betabloom.data.pictures.reading import DEFAULT, Reading
from betabloom.data.pictures.tiff import first_directory
from betabloom.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any, BinaryIO

__all__ = [
    "IN_ORDER",
    "MAX_PIXELS",
    "PAGED",
    "VERSION",
    "PictureFacts",
    "decode",
    "decode_open",
    "extent",
    "pages_in",
    "peek",
    "upright",
]

VERSION = 4
"""Rises when the same file gives other pixels than before; part of the fingerprint of sources of files."""

MAX_PIXELS = 80_000_000
"""A header that announces more is refused before anything is decoded."""

PAGED = ("AVIF", "DCX", "FLI", "GIF", "PNG", "TIFF", "WEBP")
"""Formats whose pages or frames are pictures of their own (an MPO holds depth or gain maps, a PSD layers)."""

IN_ORDER = ("FLI", "GIF", "PNG", "WEBP")
"""Formats whose frames are made from those before, all of one size."""

_MOST_PAGES = 100_000
_SUBFILE, _REDUCED = 254, 1  # TIFF tag NewSubfileType, and its bit for a smaller copy of another page

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


def decode(
    file: Path | BinaryIO,
    reading: Reading = DEFAULT,
    *,
    at_least: tuple[int, int] | None = None,
    alpha: bool = False,
    page: int = 0,
    refuse: Callable[[Path | BinaryIO], None] = lambda file: None,
) -> Image.Image:
    """Decode a picture of a file.

    Arguments:
        file: A path, or a file opened in binary mode; it is only read.
        reading: Background, smallest size and levels.
        at_least: (height, width) that the caller will shrink it to. A JPEG may then be decoded at 1/2, 3/8, 1/4 or
            1/8 scale, never below this size; `extent` tells its exact size at that scale.
        alpha: Keep transparency: a picture that has it has mode RGBa.
        page: Which of the pages or frames of the file, counted from 0; see `pages_in`.
        refuse: Raises a `PictureError` for a file that is not wanted because of its metadata; plain files have none.

    Returns:
        The picture, upright, in mode RGB, L or, with `alpha`, RGBa (red, green and blue multiplied by alpha).

    Raises:
        PictureError: It cannot be decoded, or is too small; the message is the reason, without the name.
    """
    if (quickly := None if reading.levels or page else _quickly(file, reading, at_least)) is not None:
        return quickly
    refuse(file)
    with open_picture(file) as image:
        image.seek(_place(image, page))
        return decode_open(image, file, reading, at_least=at_least, alpha=alpha)


def decode_open(
    image: Image.Image,
    file: Path | BinaryIO,
    reading: Reading,
    *,
    at_least: tuple[int, int] | None = None,
    alpha: bool = False,
    whole: bool = True,
) -> Image.Image:
    """Decode the page or frame of an open picture that it stands at; see `decode`.

    Arguments:
        image: The picture, not yet decoded there.
        file: What it was opened from.
        reading: Background, smallest size and levels.
        at_least: (height, width) that the caller will shrink it to.
        alpha: Keep transparency.
        whole: Whether to look for damage in the rest of the file too.
    """
    _check_size(image, reading.min_size)
    if at_least is not None:
        _reduce(image, at_least)
    with one_at_a_time if image.width * image.height > _LARGE else contextlib.nullcontext():
        return upright(_loaded(image, file, reading, whole), reading, alpha=alpha)


def _quickly(file: Path | BinaryIO, reading: Reading, at_least: tuple[int, int] | None) -> Image.Image | None:
    """Decode a plain JPEG that is wanted small, or a plain PNG; None for everything else."""
    image = None if at_least is None else reduced(file, at_least, reading.min_size)
    return decoded_plain(file, reading.min_size) if image is None else image


def peek(file: Path | BinaryIO, reading: Reading = DEFAULT, page: int = 0) -> PictureFacts:
    """Read what the header of a picture file says, without decoding it.

    Arguments:
        file: A path, or a file opened in binary mode; it is only read.
        reading: How it will be read: its smallest size, and what the remarks say.
        page: Which of its pages or frames, counted from 0.

    Raises:
        PictureError: It is not a picture, or one that `decode` would refuse for its size; the message is the reason.
    """
    with open_picture(file) as image:
        several = reading.pages == "first" and _has_pages(image) and (image.format != "TIFF" or len(_pages(image)) > 1)
        image.seek(0 if image.format in IN_ORDER else _place(image, page))  # their frames have one size
        _check_size(image, reading.min_size)
        turn = _orientation(image)
        width, height = image.size if turn < 5 else image.size[::-1]
        return PictureFacts(width, height, image.format or "", tuple(_remarks(image, turn, several, reading)))


def pages_in(file: Path | BinaryIO) -> tuple[int, list[int]]:
    """Count the pages or frames of a file that are pictures of their own; reduced copies (thumbnails) are not.

    Returns:
        How many there are, and where in the file the directory of each is, if it is a TIFF (see `tiff.from_page`).
        What is not a TIFF is decoded in order by `frames.Frames`.

    Raises:
        PictureError: It is not a picture; the message is the reason.
    """
    with open_picture(file) as image:
        pages = _pages(image)
        if image.format != "TIFF":
            return len(pages), []
        with bytes_of(file) as opened:
            opened.seek(0)
            directories = [first_directory(opened.read(16))]
        for page in range(pages[-1]):
            image.seek(page)
            directories.append(image.tag_v2.next)  # type: ignore[attr-defined]
        return len(pages), [directories[page] for page in pages]


def _place(image: Image.Image, page: int) -> int:
    """Return the position in the file of a page that is a picture of its own."""
    if not page and not (image.format == "TIFF" and _is_reduced(image)):
        return 0
    return _pages(image)[page]


def _has_pages(image: Image.Image) -> bool:
    return image.format in PAGED and getattr(image, "is_animated", False)


def _is_reduced(image: Image.Image) -> bool:
    return bool(image.tag_v2.get(_SUBFILE, 0) & _REDUCED)  # type: ignore[attr-defined]


def _pages(image: Image.Image) -> list[int]:
    """Return the positions of pages or frames; [0] where there is one, or where the rest is damaged."""
    if not _has_pages(image):
        return [0]
    if image.format != "TIFF":
        return list(range(max(1, getattr(image, "n_frames", 1))))
    pages = []
    with contextlib.suppress(Exception):  # what is damaged behind the first page is no reason to lose that
        for place in range(_MOST_PAGES):
            image.seek(place)
            if not _is_reduced(image):
                pages.append(place)
    image.seek(0)
    return pages or [0]


def _remarks(image: Image.Image, turn: int, several: bool, reading: Reading) -> Iterator[str]:
    if several and reading.pages == "first":
        yield "with several pages or frames; the first one is used (`--pages all` takes each as a picture)"
    if image.format == "MPO":
        yield "with more pictures inside (MPO); the first one is used"
    if image.has_transparency_data:
        yield "with transparency; shown on the background colour unless `--channels 4` keeps it"
    if image.mode == "CMYK":
        yield "in print colours (CMYK); converted to RGB"
    if is_deep(image):
        yield _on_depth(image, reading)
    if turn in _UPRIGHT:
        yield "rotated by its EXIF orientation; corrected"


def _on_depth(image: Image.Image, reading: Reading) -> str:
    if reading.levels:
        return f"with more than 8 bits per channel; its levels are {reading.levels}"
    if (bits := bits_of(image)) < 32:
        last = (1 << bits) - 1
        return f"with {bits} bits per channel; 0 to {last} is read as black to white (`--levels LOW,HIGH` changes it)"
    return "with 32 bits per channel; black and white are guessed from each picture's values (`--levels` sets them)"


def _loaded(image: Image.Image, file: Path | BinaryIO, reading: Reading, whole: bool) -> Image.Image:
    """Decode the pixels, and where they are needed also the lower eight bits of 16 that Pillow leaves out."""
    packing, page = _packing(image), image.tell()
    try:
        image.load()
    except Exception:  # what stands behind the pixels may be damaged
        rest = pixels_alone(file) if image.format == "PNG" else None
        if rest is None:
            raise
        image = rest
        image.seek(page)
        image.load()
    if image.format == "PNG" and whole:
        with bytes_of(file) as opened:
            check_sums(opened)
    image.info[PACKING] = packing
    if has_sixteen(image) and (reading.levels or image.info.get("transparency") is not None):
        image.info[LOW] = _lower_bits(file, page)
    return image


def _packing(image: Image.Image) -> str:
    """Return Pillow's name of how the first tile of a picture packs its values."""
    tiles = getattr(image, "tile", ())
    arguments = tiles[0].args if tiles else ""
    name = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return name if isinstance(name, str) else ""


def _lower_bits(file: Path | BinaryIO, page: int) -> Image.Image | None:
    """Decode a colour picture of 16 bits in the other order of bytes: what Pillow takes for the upper are the lower."""
    with open_leniently(file) as image:
        image.seek(page)
        packing = _packing(image)
        own = "16B" if packing.endswith("16B") or (packing.endswith("16N") and sys.byteorder == "big") else "16L"
        if packing.partition(";")[0] not in ("RGB", "RGBA", "RGBX"):
            return None
        other = packing.partition(";")[0] + (";16L" if own == "16B" else ";16B")
        opened: Any = image
        opened.tile = [_repacked(tile, packing, other) for tile in opened.tile]
        image.load()
        return image.convert("RGB")


def _repacked(tile: Any, packing: str, other: str) -> Any:
    if isinstance(tile.args, tuple):
        return tile._replace(args=tuple(other if part == packing else part for part in tile.args))
    return tile._replace(args=other)


def extent(image: Image.Image) -> tuple[float, float]:
    """Return (width, height) in pixels; 227 px decoded at half scale fill 113.5 of the 114 px that hold them."""
    size: tuple[float, float] = image.info.get("extent", image.size)
    return size


def upright(image: Image.Image, reading: Reading = DEFAULT, *, alpha: bool = False) -> Image.Image:
    """Turn a decoded picture of any mode into an upright one in mode RGB, L or, with `alpha`, RGBa.

    How colours, depth and transparency are converted is described at `modes.plain`.
    """
    turn = _UPRIGHT.get(_orientation(image))
    image = plain(image, reading, alpha=alpha)
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
