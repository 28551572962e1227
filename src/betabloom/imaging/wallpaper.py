"""Large pictures from many small ones: a meadow of flowers that goes on over its edges.

Every picture is enlarged and laid on the canvas with soft edges, on places that are spread evenly but not in rows.
What leaves the canvas on one side comes in on the other, so that copies laid side by side show no seam.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from betabloom.errors import UsageError
from betabloom.imaging.alpha import over

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["meadow", "resize_to_cover"]

LARGEST = 1 << 26  # pixels: twice 8K
SMALLEST = 16  # pixels, a side
OVERLAP = 1.9  # side of an enlarged picture, in distances between places
UNEVEN = 0.22  # largest shift of a place, in distances
SOLID, SOFT = 0.45, 1.0  # a picture is opaque up to there and gone from there on, in half sides


def meadow(pictures: np.ndarray, width: int, height: int, seed: int = 0) -> Image.Image:
    """Lay pictures on a canvas that wraps around in both directions.

    Arguments:
        pictures: uint8 (N, H, W, C), N ≥ 1; more pictures are smaller pictures.
        width: Of the canvas, in pixels.
        height: Of the canvas, in pixels.
        seed: Of the places.

    Returns:
        An RGB image. Memory: three bytes a pixel, and one enlarged picture.
    """
    check_size(width, height)
    rng = np.random.default_rng(seed)
    canvas = Image.new(
        "RGB", (width, height), tuple(int(c) for c in np.broadcast_to(over(pictures).mean((0, 1, 2)), 3))
    )
    places = rng.permutation(_places(len(pictures), width, height, rng))
    side = OVERLAP * math.sqrt(width * height / len(pictures))
    for ground in (True, False):  # first their surroundings, so that no gap is left; then the flowers
        for index in rng.permutation(len(pictures)):
            size = max(2, round(side * (1.5 if ground else rng.uniform(0.8, 1.2))))
            picture = Image.fromarray(_rgb(pictures[index]))
            _lay(canvas, picture.resize((size, size), Image.Resampling.LANCZOS), places[index])
    return canvas


def resize_to_cover(picture: np.ndarray, width: int, height: int) -> Image.Image:
    """One picture, uint8 (H, W, C), enlarged until it covers the size, and cut evenly to it."""
    check_size(width, height)
    rows, columns = picture.shape[:2]
    scale = max(width / columns, height / rows)
    left, top = 0.5 * (columns - width / scale), 0.5 * (rows - height / scale)
    box = (left, top, left + width / scale, top + height / scale)
    return Image.fromarray(_rgb(picture)).resize((width, height), Image.Resampling.LANCZOS, box=box)


def check_size(width: int, height: int) -> None:
    """Refuse a canvas that is too small to see or too large to hold."""
    if min(width, height) < SMALLEST or width * height > LARGEST:
        raise UsageError(
            f"A wallpaper has sides of at least {SMALLEST} and up to {LARGEST:,} pixels in all, "
            f"not {width}x{height}. Example: --size 1920x1080"
        )


def _rgb(picture: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.broadcast_to(over(picture), (*picture.shape[:2], 3)))


def _places(n: int, width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """Middles (n, 2), x and y, spread over the canvas: rows of equal height, each next one shifted, all shaken."""
    rows = min(n, max(1, round(math.sqrt(n * height / width))))
    places = []
    for row, members in enumerate(np.array_split(np.arange(n), rows)):
        across = (np.arange(len(members)) + 0.5 * (row % 2)) / len(members)
        places += [(width * x, height * (row + 0.5) / rows) for x in across]
    return np.array(places) + rng.uniform(-UNEVEN, UNEVEN, (n, 2)) * math.sqrt(width * height / n)


def _lay(canvas: Image.Image, picture: Image.Image, middle: np.ndarray) -> None:
    """Lay a picture with soft edges on the canvas, and what leaves it on the other side."""
    size, mask = picture.width, _mask(picture.width)
    for left in _repeats(round(middle[0] - size / 2), size, canvas.width):
        for top in _repeats(round(middle[1] - size / 2), size, canvas.height):
            canvas.paste(picture, (left, top), mask)


def _repeats(first: int, size: int, period: int) -> Iterator[int]:
    """All positions first + k · period at which something of that size touches [0, period)."""
    return iter(range((first + size - 1) % period - size + 1, period, period))


def _mask(size: int) -> Image.Image:
    """Opaque in the middle, transparent outside of the inscribed circle, smooth between."""
    x = (np.arange(size, dtype=np.float32) + 0.5) / (0.5 * size) - 1
    radius = np.hypot(x[:, None], x)
    t = np.clip((SOFT - radius) / (SOFT - SOLID), 0, 1)
    return Image.fromarray(np.rint(255 * t * t * (3 - 2 * t)).astype(np.uint8))
