"""Sheets and curves: arrays in, image out. Nothing here shows or saves by itself, but `save_png`."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from betabloom.errors import UsageError
from betabloom.imaging.alpha import straight

__all__ = ["grid", "pairs"]

BACKGROUND = 255


def grid(pictures: np.ndarray, columns: int = 0, gap: int = 2) -> Image.Image:
    """Arrange pictures in rows, left to right.

    Arguments:
        pictures: uint8 (N, H, W, C), or floats from 0 to 1, with 1, 3 or 4 channels, N ≥ 1. Four are premultiplied;
            the sheet is then transparent where they are.
        columns: Pictures in a row; 0 for the squarest sheet.
        gap: White or transparent pixels between and around pictures.
    """
    pictures = np.asarray(pictures)
    if pictures.ndim != 4 or len(pictures) == 0 or pictures.shape[3] not in (1, 3, 4):
        raise UsageError(f"A grid needs pictures of shape (N, H, W, 1, 3 or 4), not {pictures.shape}.")
    pictures = _levels(pictures)
    n, height, width, channels = pictures.shape
    columns = min(n, columns or math.ceil(math.sqrt(n * height / width)))
    rows = math.ceil(n / columns)
    size = (rows * (height + gap) + gap, columns * (width + gap) + gap, channels)
    sheet = np.full(size, _empty(channels), np.uint8)
    for index, picture in enumerate(pictures):
        top = gap + index // columns * (height + gap)
        left = gap + index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    if channels == 4:
        return Image.fromarray(straight(sheet))
    return Image.fromarray(sheet if channels == 3 else sheet[:, :, 0])


def _levels(pictures: np.ndarray) -> np.ndarray:
    """Pictures as uint8."""
    if pictures.dtype == np.uint8:
        return pictures
    if pictures.dtype.kind != "f" or not (pictures.min() >= 0 and pictures.max() <= 1):
        raise UsageError(f"Pictures are uint8, or floats from 0 to 1; these are {pictures.dtype}, and other numbers.")
    levels: np.ndarray = np.rint(255 * pictures).astype(np.uint8)
    return levels


def _empty(channels: int) -> int:
    return 0 if channels == 4 else BACKGROUND


def pairs(above: np.ndarray, below: np.ndarray, columns: int = 8) -> Image.Image:
    """Rows of originals, each with the row that belongs to it below: both uint8 (N, H, W, C)."""
    if above.shape != below.shape:
        raise UsageError(f"Pairs need equal shapes, not {above.shape} and {below.shape}.")
    columns = min(columns, len(above))
    blank = np.full_like(above[:1], _empty(above.shape[3]))
    rows = []
    for first in range(0, len(above), columns):
        parts = (above[first : first + columns], below[first : first + columns])
        rows += [np.concatenate([part, *[blank] * (columns - len(part))]) for part in parts]
    return grid(np.concatenate(rows), columns)
