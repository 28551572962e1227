"""Sheets of pictures: arrays in, one image out. Nothing here shows or saves by itself."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from betabloom.arguments import number, whole_number
from betabloom.errors import UsageError
from betabloom.imaging.alpha import straight

__all__ = ["as_bytes", "grid", "pairs", "scaled"]

BACKGROUND = 255
LONGEST = 65_000  # pixels, of a side of a sheet: PNG and JPEG end there or soon after


def grid(pictures: np.ndarray, columns: int = 0, gap: int = 2, scale: float = 1.0, crisp: bool = False) -> Image.Image:
    """Arrange pictures in rows, left to right.

    Arguments:
        pictures: uint8 (N, H, W, C), or floats in [0, 1], N ≥ 1; C is 1 (grey), 3 (colour) or 4
            (colours multiplied by their opacity, and opacity: see `alpha`).
        columns: Pictures in a row; 0 for the squarest sheet.
        gap: White pixels between and around pictures; transparent ones if the pictures have an opacity.
        scale: Factor on the size of everything, for print.
        crisp: Enlarged pixels stay squares, as pixel art wants it; else they are smoothed.

    Returns:
        The sheet, in mode L, RGB or RGBA.

    Raises:
        UsageError: The array is of another type or shape, or the sheet is too large for an image.

    Examples:
        >>> import numpy as np, betabloom
        >>> pictures = np.zeros((6, 32, 32, 3), np.uint8)
        >>> betabloom.grid(pictures, columns=3).size
        (104, 70)
    """
    columns = whole_number(columns, "'columns'")
    pictures = scaled(as_bytes(pictures), number(scale, "'scale'", above=True), crisp)
    gap = round(gap * scale)
    n, height, width, channels = pictures.shape
    columns = min(n, columns or math.ceil(math.sqrt(n * height / width)))
    rows = math.ceil(n / columns)
    size = rows * (height + gap) + gap, columns * (width + gap) + gap
    if max(size) > LONGEST:
        raise UsageError(
            f"A sheet of {size[1]:,} × {size[0]:,} pixels is too large. Ask for fewer or smaller pictures."
        )
    sheet = np.full((*size, channels), BACKGROUND if channels < 4 else 0, np.uint8)
    for index, picture in enumerate(pictures):
        top = gap + index // columns * (height + gap)
        left = gap + index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    if channels == 4:
        return Image.fromarray(straight(sheet))
    return Image.fromarray(sheet if channels > 1 else sheet[:, :, 0])


def as_bytes(pictures: np.ndarray) -> np.ndarray:
    """Pictures as uint8 (N, H, W, C): floats in [0, 1] become levels of 0 … 255.

    Raises:
        UsageError: They are of another type or shape.
    """
    try:
        pictures = np.asarray(pictures)
    except ValueError as error:
        raise UsageError("A grid needs pictures of one size.") from error
    if pictures.ndim != 4 or len(pictures) == 0 or pictures.shape[3] not in (1, 3, 4):
        raise UsageError(f"A grid needs pictures of shape (N, H, W, 1, 3 or 4), not {pictures.shape}.")
    if np.issubdtype(pictures.dtype, np.floating) and pictures.min() >= 0 and pictures.max() <= 1:
        pictures = np.rint(255 * pictures).astype(np.uint8)
    if pictures.dtype != np.uint8:
        raise UsageError(
            f"A grid needs pictures of type uint8, or floats from 0 to 1, not {pictures.dtype} with values from "
            f"{pictures.min():g} to {pictures.max():g}."
        )
    return pictures


def scaled(pictures: np.ndarray, scale: float, crisp: bool = False) -> np.ndarray:
    """Pictures, uint8 (N, H, W, C), of another size, each by itself; see `grid`."""
    if scale == 1:
        return pictures
    n, height, width, channels = pictures.shape
    if max(width, height) * scale > LONGEST:
        raise UsageError(f"Pictures {scale:g} times as large are too large. Ask for a smaller scale.")
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = Image.Resampling.NEAREST if crisp else Image.Resampling.LANCZOS
    made = [np.asarray(_band(each).resize(size, how)) for each in pictures]
    return np.stack(made).reshape(n, size[1], size[0], channels)


def _band(picture: np.ndarray) -> Image.Image:
    """One picture as an image; four channels as premultiplied ones, of which resizing makes means of what is seen."""
    if picture.shape[2] == 4:
        return Image.frombytes("RGBa", (picture.shape[1], picture.shape[0]), np.ascontiguousarray(picture).tobytes())
    return Image.fromarray(picture if picture.shape[2] > 1 else picture[:, :, 0])


def pairs(
    above: np.ndarray, below: np.ndarray, columns: int = 8, scale: float = 1.0, crisp: bool = False
) -> Image.Image:
    """Rows of originals, each with the row that belongs to it below: both uint8 (N, H, W, C). See `grid`.

    Arguments:
        above: Originals, uint8 (N, H, W, C).
        below: What belongs to each of them, of the same shape.
        columns: Pictures in a row.
        scale: Factor on the size of everything, for print.
        crisp: See `grid`.

    Returns:
        The sheet; see `grid`.

    Raises:
        UsageError: The shapes differ, or a sheet cannot be made of such arrays.
    """
    above, below = as_bytes(above), as_bytes(below)
    if above.shape != below.shape:
        raise UsageError(f"Pairs need equal shapes, not {above.shape} and {below.shape}.")
    columns = min(columns, len(above))
    blank = np.full_like(above[:1], BACKGROUND if above.shape[3] < 4 else 0)
    rows = []
    for first in range(0, len(above), columns):
        parts = (above[first : first + columns], below[first : first + columns])
        rows += [np.concatenate([part, *[blank] * (columns - len(part))]) for part in parts]
    return grid(np.concatenate(rows), columns, scale=scale, crisp=crisp)
