"""From whatever Pillow decodes to plain RGB or L: transparency, bit depth, colour spaces and colour profiles.

Large pictures are converted in strips, so that the intermediate copies stay small.
"""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from PIL import ImageCms

    Colour: TypeAlias = tuple[int, int, int]

__all__ = ["WHITE", "plain"]

WHITE: Colour = (255, 255, 255)
_STRIP = 1 << 22  # pixels that are converted at a time


def plain(image: Image.Image, background: Colour = WHITE) -> Image.Image:
    """Convert a decoded picture of any mode to RGB, or to L where it is grey and opaque.

    Transparency is laid over `background`. An embedded ICC profile is converted to sRGB; one that is damaged, or that
    belongs to another kind of picture, is ignored. 16-bit values v become v / 257; 32-bit integer and float pictures
    whose values exceed the range 0..255 (0..1 for floats) are scaled so that the largest value becomes 255.
    """
    deep = image.mode.startswith(("I", "F"))
    profile = _profile(image)
    if image.mode in ("RGB", "L") and not image.has_transparency_data and profile is None:
        return image
    scale = _scale(image) if deep else 1.0
    grey = (deep or image.mode in ("1", "L")) and not image.has_transparency_data
    result = Image.new("L" if grey else "RGB", image.size)
    for box in _strips(image.size):
        part = image.crop(box)
        part = _eight_bits(part, scale) if deep else part
        result.paste(_flat(part, background, profile).convert(result.mode), box[:2])
    result.info.update({key: image.info[key] for key in ("exif", "extent") if key in image.info})
    return result


def _strips(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    width, height = size
    rows = max(1, _STRIP // max(1, width))
    for top in range(0, height, rows):
        yield 0, top, width, min(top + rows, height)


def _flat(part: Image.Image, background: Colour, profile: bytes | None) -> Image.Image:
    """Bring one strip into sRGB and lay it over the background."""
    alpha = None
    if part.has_transparency_data:
        part = part.convert("RGBA")
        alpha = part.getchannel("A")
    if part.mode not in ("L", "CMYK", "LAB"):
        part = part.convert("L" if part.mode == "1" else "RGB")
    transform = None if profile is None else _to_srgb(profile, part.mode)
    part = part.convert("RGB") if transform is None else _apply(transform, part)
    if alpha is None:
        return part
    paper = Image.new("RGB", part.size, background)
    paper.paste(part, mask=alpha)
    return paper


def _apply(transform: ImageCms.ImageCmsTransform, part: Image.Image) -> Image.Image:
    from PIL import ImageCms

    result = ImageCms.applyTransform(part, transform)
    assert result is not None  # noqa: S101  # it is None only when converting in place
    return result


def _profile(image: Image.Image) -> bytes | None:
    """Return the embedded profile if it changes any colour."""
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not profile:
        return None
    mode = {"1": "L", "LA": "L", "P": "RGB", "PA": "RGB", "RGBA": "RGB"}.get(image.mode, image.mode)
    return profile if _to_srgb(profile, mode) is not None else None


@functools.lru_cache(maxsize=16)
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Build the conversion from a profile to sRGB, or return None where there is nothing to convert."""
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB", intent, flags)
        return None if mode in ("RGB", "L") and _changes_nothing(transform, mode) else transform
    except Exception:  # a damaged or foreign profile is no reason to lose the picture
        return None


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    levels = np.arange(0, 256, 51, dtype=np.uint8)
    lattice = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(6, 36, 3)
    sample = Image.fromarray(lattice if mode == "RGB" else lattice[..., 0])
    before, after = np.asarray(sample.convert("RGB")), np.asarray(_apply(transform, sample))
    return bool(np.abs(before.astype(int) - after).max() <= 1)


def _scale(image: Image.Image) -> float:
    """Return what the values of an integer or float picture are multiplied by to lie in 0..255."""
    if image.mode.startswith("I;16"):
        return 1 / 257
    largest = max(float(_values(image.crop(box)).max(initial=0.0)) for box in _strips(image.size))
    if image.mode.startswith("F") and largest <= 1:
        return 255.0
    if not image.mode.startswith("F") and 255 < largest <= 65535:
        return 1 / 257
    return 255 / largest if largest > 255 else 1.0


def _values(part: Image.Image) -> np.ndarray:
    values: np.ndarray = np.nan_to_num(np.asarray(part).astype(np.float64), posinf=0.0, neginf=0.0).clip(0)
    return values


def _eight_bits(part: Image.Image, scale: float) -> Image.Image:
    return Image.fromarray(np.rint((_values(part) * scale).clip(0, 255)).astype(np.uint8))
