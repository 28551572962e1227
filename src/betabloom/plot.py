"""Sheets and curves: arrays in, image out. Nothing here shows or saves by itself, but `save_png`."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, PngImagePlugin

from betabloom.durable import replacing_file
from betabloom.errors import FormatError, UsageError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

__all__ = ["curves", "grid", "pairs", "read_png", "save_png"]

BACKGROUND = 255
KEYWORD = "betabloom"


def grid(pictures: np.ndarray, columns: int = 0, gap: int = 2) -> Image.Image:
    """Arrange pictures in rows, left to right.

    Arguments:
        pictures: uint8 (N, H, W, C) with 1 or 3 channels, N ≥ 1.
        columns: Pictures in a row; 0 for the squarest sheet.
        gap: White pixels between and around pictures.
    """
    if pictures.ndim != 4 or len(pictures) == 0 or pictures.shape[3] not in (1, 3):
        raise UsageError(f"A grid needs pictures of shape (N, H, W, 1 or 3), not {pictures.shape}.")
    n, height, width, channels = pictures.shape
    columns = min(n, columns or math.ceil(math.sqrt(n * height / width)))
    rows = math.ceil(n / columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), BACKGROUND, np.uint8)
    for index, picture in enumerate(pictures):
        top = gap + index // columns * (height + gap)
        left = gap + index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return Image.fromarray(sheet if channels == 3 else sheet[:, :, 0])


def pairs(above: np.ndarray, below: np.ndarray, columns: int = 8) -> Image.Image:
    """Rows of originals, each with the row that belongs to it below: both uint8 (N, H, W, C)."""
    if above.shape != below.shape:
        raise UsageError(f"Pairs need equal shapes, not {above.shape} and {below.shape}.")
    columns = min(columns, len(above))
    blank = np.full_like(above[:1], BACKGROUND)
    rows = []
    for first in range(0, len(above), columns):
        parts = (above[first : first + columns], below[first : first + columns])
        rows += [np.concatenate([part, *[blank] * (columns - len(part))]) for part in parts]
    return grid(np.concatenate(rows), columns)


def curves(records: Sequence[Mapping[str, Any]]) -> Image.Image:
    """Draw distortion, rate, β and active units over the steps of a run.

    Arguments:
        records: The lines of `metrics.jsonl`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    titles = {
        "distortion": "Distortion D (nats per image)",
        "rate": "Rate R = KL (nats per image)",
        "beta": "β",
        "active_units": "Active units",
    }
    for axis, (key, title) in zip(figure.subplots(2, 2).flat, titles.items(), strict=True):
        for split, style in (("train", "-"), ("validation", "o--")):
            points = [(r["step"], r[key]) for r in records if r["split"] == split and r.get(key) is not None]
            points = points[1:] if split == "train" and len(points) > 2 else points  # without the untrained network
            if points:
                axis.plot(*zip(*points, strict=True), style, label=split, markersize=3, linewidth=1.2)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("step", fontsize=8)
        axis.grid(alpha=0.25)
        if axis.lines:
            axis.legend(fontsize=8)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return Image.fromarray(pixels[:, :, :3].copy())


def save_png(image: Image.Image, path: str | os.PathLike[str], record: Mapping[str, Any]) -> None:
    """Write a PNG that carries `record`, what is needed to make it again, as JSON in its text chunk "betabloom".

    The file appears whole or not at all. The bytes depend on the picture and the record alone.
    """
    path = Path(path)
    text = PngImagePlugin.PngInfo()
    text.add_itxt(KEYWORD, json.dumps(record, sort_keys=True))
    with replacing_file(path, synced=False) as part:
        # Run lengths alone: photographs take a quarter of the time and no more space (drawings take more: it is rare).
        image.save(part, "PNG", pnginfo=text, compress_type=zlib.Z_RLE)


def read_png(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read back the record of a picture that `save_png` wrote.

    Raises:
        FormatError: It is not such a picture.
    """
    try:
        with Image.open(path) as image:
            image.load()
            text = getattr(image, "text", {})
        record = json.loads(text[KEYWORD])
    except (OSError, SyntaxError, ValueError, KeyError, RecursionError, Image.DecompressionBombError) as error:
        raise FormatError(f"{path} is not a picture made by betabloom: it carries no record of how.") from error
    if not isinstance(record, dict):
        raise FormatError(f"The record in {path} is damaged.")
    return record
