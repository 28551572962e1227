"""The steps that pictures are prepared with: small pure functions.

Geometry works on Pillow pictures (mode RGB, L or RGBa); tone and colour work on float32 arrays of shape (H, W, C) with
values in [0, 1] and return the same. The colour operations follow the definitions that torchvision publishes in
`transforms.functional`; each docstring gives the formula, where clip(x) = min(max(x, 0), 1).
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from betabloom.data.pictures.decode import MAX_PIXELS, extent
from betabloom.errors import PictureError

__all__ = [
    "alpha",
    "autocontrast",
    "blur",
    "brightness",
    "crop",
    "gamma",
    "grey",
    "pad",
    "resize",
    "saturation",
    "sharpness",
]

_FILTERS = {"smooth": Image.Resampling.BICUBIC, "nearest": Image.Resampling.NEAREST}
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def resize(image: Image.Image, height: int, width: int, fit: str, filter: str = "smooth") -> Image.Image:  # noqa: A002
    """Resize with Pillow's antialiased bicubic filter, or where `filter` is "nearest" by taking the nearest pixel.

    `fit` is "cover" (fill height × width exactly, cutting what overhangs evenly), "fill" (the same by stretching),
    "outside" (keep the shape, smallest size that covers) or "inside" (keep the shape, largest size that fits).

    Raises:
        PictureError: It is so long and thin that the result would not fit in memory.
    """
    full = extent(image)
    size: tuple[int, int] = (width, height)
    box: tuple[float, float, float, float] = (0.0, 0.0, *full)
    if fit == "cover":
        box = _centred(full, width / height)
    elif fit in ("outside", "inside"):
        size = _same_shape(full, size, outside=fit == "outside")
        if size[0] * size[1] > MAX_PIXELS:
            raise PictureError(f"too long and thin: resized it would have {size[0]} × {size[1]} pixels")
    result = image.resize(size, _FILTERS[filter], box=box, reducing_gap=3.0)
    result.info.pop("extent", None)
    return result


def _centred(full: tuple[float, float], aspect: float) -> tuple[float, float, float, float]:
    """Return the largest centred box of shape `aspect` = width / height."""
    width, height = min(full[0], full[1] * aspect), min(full[1], full[0] / aspect)
    left, top = (full[0] - width) / 2, (full[1] - height) / 2
    return left, top, left + width, top + height


def _same_shape(full: tuple[float, float], size: tuple[int, int], *, outside: bool) -> tuple[int, int]:
    """Scale `full` until one side is that of `size`; the other is rounded down, as torchvision's Resize does."""
    by_width = (size[0] * full[1] >= size[1] * full[0]) == outside
    if by_width:
        return size[0], max(1, int(size[0] * full[1] / full[0]))
    return max(1, int(size[1] * full[0] / full[1])), size[1]


def crop(image: Image.Image, height: int, width: int) -> Image.Image:
    """Cut height × width pixels from the middle.

    Raises:
        PictureError: The picture is smaller than that.
    """
    if image.width < width or image.height < height:
        raise PictureError(f"smaller ({image.width} × {image.height}) than the crop to {width} × {height}")
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def pad(image: Image.Image, height: int, width: int, colour: list[int]) -> Image.Image:
    """Put the picture in the middle of height × width pixels of an RGB colour, 0..255; transparent ones of mode RGBa.

    Raises:
        PictureError: The picture is larger than that.
    """
    if image.width > width or image.height > height:
        raise PictureError(f"larger ({image.width} × {image.height}) than the padding to {width} × {height}")
    if image.mode == "RGBa":
        paper = Image.new("RGBa", (width, height), (0, 0, 0, 0))
    else:
        paper = Image.new("RGB", (width, height), (colour[0], colour[1], colour[2])).convert(image.mode)
    paper.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return paper


def grey(image: Image.Image) -> Image.Image:
    """Keep the brightness only, in one channel: 0.299 R + 0.587 G + 0.114 B (ITU-R 601)."""
    return image.convert("L")


def alpha(image: Image.Image) -> Image.Image:
    """Keep transparency: four channels, the colours multiplied by their alpha (mode RGBa)."""
    return image if image.mode == "RGBa" else image.convert("RGBA").convert("RGBa")


def blur(x: np.ndarray, sigma: float) -> np.ndarray:
    """Convolve with a Gaussian of standard deviation `sigma` pixels, g(d) ∝ exp(−d²/2σ²) for |d| ≤ ⌈3σ⌉.

    That is a kernel of 2⌈3σ⌉ + 1 pixels; a smaller one (the reference document used 3 for σ = 2) is not a Gaussian.
    Beyond the border the picture is mirrored.
    """
    from scipy.ndimage import gaussian_filter  # 0.3 s to import: only for pipelines that blur

    result: np.ndarray = gaussian_filter(x, (sigma, sigma, 0), mode="mirror", radius=(math.ceil(3 * sigma),) * 2 + (0,))
    return result


def gamma(x: np.ndarray, gamma: float, gain: float) -> np.ndarray:
    """Return clip(gain · x^gamma)."""
    with np.errstate(divide="ignore"):
        power = np.exp(gamma * np.log(x))  # nearly twice as fast as x ** gamma
    return _clip(gain * power)


def brightness(x: np.ndarray, factor: float) -> np.ndarray:
    """Return clip(factor · x): a blend of the picture with black."""
    return _blend(x, np.zeros_like(x), factor)


def saturation(x: np.ndarray, factor: float) -> np.ndarray:
    """Return clip(factor · x + (1 − factor) · luma), luma = 0.299 R + 0.587 G + 0.114 B; one channel stays as it is."""
    if x.shape[-1] == 1:
        return x
    return _blend(x, (x @ _LUMA)[..., None], factor)


def sharpness(x: np.ndarray, factor: float) -> np.ndarray:
    """Return clip(factor · x + (1 − factor) · smooth), smooth = x * [[1,1,1],[1,5,1],[1,1,1]] / 13, borders kept."""
    if min(x.shape[:2]) < 3:
        return x
    smooth = x.copy()
    rows = x[:-2] + x[1:-1] + x[2:]
    smooth[1:-1, 1:-1] = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * x[1:-1, 1:-1]) / 13
    return _blend(x, smooth, factor)


def autocontrast(x: np.ndarray) -> np.ndarray:
    """Return clip((x − min) / (max − min)) for each channel; a channel of one value stays as it is."""
    height, width, _ = x.shape
    low, high = x.min(axis=0).min(axis=0), x.max(axis=0).max(axis=0)  # one axis at a time: ten times as fast
    flat = high == low
    low, high = np.where(flat, 0, low), np.where(flat, 1, high)
    rows = x.reshape(height, -1) - np.tile(low, width)  # whole rows: four times as fast as three numbers at a time
    rows /= np.tile(high - low, width)
    return _clip(rows.reshape(x.shape))


def _blend(x: np.ndarray, other: np.ndarray, factor: float) -> np.ndarray:
    return _clip(factor * x + (1 - factor) * other)


def _clip(x: np.ndarray) -> np.ndarray:
    clipped: np.ndarray = np.clip(x, 0, 1, dtype=np.float32)
    return clipped
