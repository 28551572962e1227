"""Pictures as PNG, JPEG or WebP files that carry the record of how they were made; reading it back."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from betabloom.errors import FormatError, UsageError
from betabloom.imaging.png import save_png
from betabloom.system.atomic import replacing_file
from betabloom.system.ownership import RECORD

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = ["SUFFIXES", "on_white", "read_record", "save_image"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
DESCRIPTION = 0x010E  # the EXIF tag ImageDescription
MOST = 60_000  # bytes of EXIF: what does not fit into a segment of a JPEG is left out
LONGEST = {".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383}  # pixels of a side
QUALITY = {".jpg": 95, ".jpeg": 95, ".webp": 92}
DAMAGED = (OSError, SyntaxError, ValueError, KeyError, TypeError, RecursionError, Image.DecompressionBombError)


def save_image(image: Image.Image, path: str | os.PathLike[str], record: Mapping[str, Any]) -> None:
    """Write an image file that carries `record`, what is needed to make it again, as JSON.

    A PNG has it in its text chunk "betabloom", a JPEG or WebP in its EXIF description, there without the lists that
    have an entry for each picture if it is too long. The file appears whole or not at all.

    Raises:
        UsageError: The name ends otherwise, or the image is too large for that format.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"A picture is written as {', '.join(SUFFIXES)}, not as {path.name}.")
    if suffix == ".png":
        save_png(image, path, record)
        return
    if max(image.size) > LONGEST[suffix]:
        raise UsageError(f"A {suffix} file has at most {LONGEST[suffix]:,} pixels a side. Write a .png file.")
    exif = Image.Exif()
    exif[DESCRIPTION] = _short(record)
    kind = "WEBP" if suffix == ".webp" else "JPEG"
    with replacing_file(path, synced=False) as part:
        _opaque(image, kind).save(part, kind, quality=QUALITY[suffix], exif=exif)


def _opaque(image: Image.Image, kind: str) -> Image.Image:
    """The image as a format can hold it: JPEG has no opacity, so that white is put behind."""
    if kind == "WEBP" or image.mode != "RGBA":
        return image
    return on_white(image)


def on_white(image: Image.Image) -> Image.Image:
    """The image without opacity, as RGB."""
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _short(record: Mapping[str, Any]) -> str:
    """The record as ASCII JSON, without its lists where it is too long."""
    text = json.dumps({RECORD: record}, sort_keys=True)
    if len(text) <= MOST:
        return text
    return json.dumps({RECORD: {k: v for k, v in record.items() if not isinstance(v, list)}}, sort_keys=True)


def read_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read back the record of a picture that `save_image` wrote, or of a GIF or WebP that `save_animation` wrote.

    Raises:
        FormatError: It is not such a picture.
    """
    try:
        with Image.open(path) as image:
            record = _found(image)
    except DAMAGED as error:
        raise FormatError(f"{path} is not a picture made by betabloom: it has no record of how it was made.") from error
    if not isinstance(record, dict):
        raise FormatError(f"The record in {path} is damaged.")
    return record


def _found(image: Image.Image) -> Any:
    """The record, wherever files of this format have it."""
    if image.format == "GIF":
        return json.loads(image.info["comment"])
    _, mark, text = image.info.get("xmp", b"").partition(b"<betabloom>")
    if mark:
        return json.loads(html.unescape(text.partition(b"</betabloom>")[0].decode()))
    image.load()
    texts = getattr(image, "text", {})
    return json.loads(texts[RECORD]) if RECORD in texts else json.loads(image.getexif()[DESCRIPTION])[RECORD]
