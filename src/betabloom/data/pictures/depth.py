"""Stored values that are not 8 bits: what they mean, and how they become 0..255.

Pillow hands on numbers without their meaning. What a file says of it is found here: bits, signs, whether white is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

    from betabloom.data.pictures.reading import Reading

__all__ = ["HAIR", "LOW", "PACKING", "Window", "bits_of", "has_sixteen", "is_deep", "strips", "values_of", "window_of"]

PACKING = "packing"
"""Key in `Image.info`: Pillow's name of how the file packs its values, such as "RGB;16B"; set when it is decoded."""

LOW = "low"
"""Key in `Image.info`: the lower eight bits of a colour picture of 16 bits, of which Pillow reads the upper eight."""

_STRIP = 1 << 22  # pixels that are converted at a time

HAIR = 0.002
"""Half a level of 255, as a part of a range: what resizing and rounding put beyond it."""

_BITS, _WHITE_IS, _FORMAT = 258, 262, 339  # TIFF tags: BitsPerSample, PhotometricInterpretation, SampleFormat
_UNSIGNED = 1


@dataclass(frozen=True)
class Window:
    """The stored values that become 0 and 255; what lies beyond is clipped.

    Attributes:
        low: The value that becomes 0.
        high: The value that becomes 255.
        inverted: Whether white is 0, so that `low` becomes 255 and `high` 0.
    """

    low: float
    high: float
    inverted: bool = False

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return round(255 · (v − low) / (high − low)) as uint8, of any shape; what is not finite counts as `low`."""
        values = np.where(np.isfinite(values), values, self.low)
        levels = np.rint(((values - self.low) * (255 / ((self.high - self.low) or 1))).clip(0, 255)).astype(np.uint8)
        inverted: np.ndarray = ~levels
        return inverted if self.inverted else levels


def is_deep(image: Image.Image) -> bool:
    """Tell whether a picture has more than 8 bits for each pixel's brightness."""
    return image.mode.startswith(("I", "F"))


def bits_of(image: Image.Image) -> int:
    """Return how many bits the file gives each value of a deep picture: 12, 16 or 32."""
    if not image.mode.startswith("I;16"):
        return 32
    return 12 if _tag(image, _BITS, 16) == 12 else 16


def strips(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Cut (width, height) into boxes of whole rows, so that intermediate copies stay small."""
    width, height = size
    rows = max(1, _STRIP // max(1, width))
    for top in range(0, height, rows):
        yield 0, top, width, min(top + rows, height)


def has_sixteen(image: Image.Image) -> bool:
    """Tell whether the file has 16 bits for each of several channels."""
    return ";16" in image.info.get(PACKING, "") and not is_deep(image)


def values_of(image: Image.Image, box: tuple[int, int, int, int]) -> np.ndarray:
    """Return the stored brightness or colours in a box as float64, shape (H, W) or (H, W, 3); 1 bit as 0 and 255."""
    part = image.crop(box)
    if not is_deep(image):
        part = part.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
    values = np.asarray(part)
    if part.mode == "I" and _tag(image, _BITS) == 32 and _tag(image, _FORMAT, _UNSIGNED) == _UNSIGNED:
        values = values.view(np.uint32)
    result: np.ndarray = values.astype(np.float64)
    low = image.info.get(LOW)
    if low is not None:
        result = 256 * result + np.asarray(low.crop(box))[..., :3]
    elif has_sixteen(image):
        result *= 257
    return result


def window_of(image: Image.Image, reading: Reading) -> Window | None:
    """Return what maps the stored values of a picture to 0..255, or None where they are these already.

    With `levels`, that is what a person asked for. Otherwise 16 bits mean 0..65535 and 12 bits 0..4095. Values of 32
    bits say nothing of their range, so it is guessed for each picture: floats mean 0..1 if none is larger, else
    0..255, else up to the largest; whole numbers 0..255, else 0..65535, else up to the largest; where some are
    negative, from the smallest to the largest.
    """
    inverted = is_deep(image) and _tag(image, _WHITE_IS, 1) == 0
    if reading.window is not None:
        return Window(*reading.window, inverted)
    if reading.levels == "auto":
        return Window(*_extremes(image), inverted)
    if not is_deep(image):
        return None
    if image.mode.startswith("I;16"):
        return Window(0, (1 << bits_of(image)) - 1, inverted)
    return Window(*_guessed(*_extremes(image), floating=image.mode.startswith("F")), inverted)


def _guessed(low: float, high: float, *, floating: bool) -> tuple[float, float]:
    if low < -HAIR * max(1.0, abs(high)):
        return low, high
    usual = (1, 255) if floating else (255, 65535)
    return 0.0, next((float(top) for top in usual if high <= top * (1 + HAIR)), high)


def _extremes(image: Image.Image) -> tuple[float, float]:
    low, high = np.inf, -np.inf
    for box in strips(image.size):
        values = values_of(image, box)
        values = values[np.isfinite(values)]
        low, high = min(low, values.min(initial=np.inf)), max(high, values.max(initial=-np.inf))
    return (float(low), float(high)) if low <= high else (0.0, 0.0)


def _tag(image: Image.Image, number: int, default: Any = None) -> Any:
    """Return the first value of a TIFF tag; `default` where there is none."""
    if image.format != "TIFF":
        return default
    value = image.tag_v2.get(number, default)  # type: ignore[attr-defined]
    return value[0] if isinstance(value, tuple) and value else value
