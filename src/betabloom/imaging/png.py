"""Pictures as PNG files that carry the record of how they were made."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, PngImagePlugin

from betabloom.system.atomic import replacing_file
from betabloom.system.ownership import RECORD

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import numpy as np

__all__ = ["plain_png", "save_png"]

KINDS = {1: 0, 2: 4, 3: 2, 4: 6}  # what a PNG calls pixels of so many channels


def save_png(image: Image.Image, path: str | os.PathLike[str], record: Mapping[str, Any]) -> None:
    """Write a PNG that carries `record`, what is needed to make it again, as JSON in its text chunk "betabloom".

    The file appears whole or not at all. The bytes depend on the picture and the record alone.
    """
    path = Path(path)
    text = PngImagePlugin.PngInfo()
    text.add_itxt(RECORD, json.dumps(record, sort_keys=True))
    with replacing_file(path, synced=False) as part:
        # Run lengths alone: photographs take a quarter of the time and no more space (drawings take more: it is rare).
        image.save(part, "PNG", pnginfo=text, compress_type=zlib.Z_RLE)


def plain_png(picture: np.ndarray) -> bytes:
    """A small picture, uint8 (H, W, C), as a PNG that is not compressed: five times as fast, half as large again."""
    height, width, channels = picture.shape
    rows = b"".join(b"\0" + row.tobytes() for row in picture)
    header = struct.pack(">IIBBBBB", width, height, 8, KINDS[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*each) for each in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
