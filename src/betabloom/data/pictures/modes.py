"""From whatever Pillow decodes to plain RGB, L or RGBa: transparency, bit depth, colour spaces and colour profiles.

Large pictures are converted in strips, so that the intermediate copies stay small.
"""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from betabloom.data.pictures.depth import PACKING, Window, has_sixteen, is_deep, strips, values_of, window_of
from betabloom.data.pictures.reading import DEFAULT, Reading

if TYPE_CHECKING:
    from PIL import ImageCms

__all__ = ["plain"]

_GREY_STEP = {"L;2": 85, "L;4": 17}  # what one step of a value becomes, by Pillow's name of its packing


def plain(image: Image.Image, reading: Reading = DEFAULT, *, alpha: bool = False) -> Image.Image:
    """Convert a decoded picture of any mode to RGB, or to L where it is grey and opaque.

    Transparency is laid over the background. An embedded ICC profile is converted to sRGB; one that is damaged, or that
    belongs to another kind of picture, is ignored. `depth.window_of` says how values of other ranges are read.

    Arguments:
        image: A decoded picture.
        reading: Background and levels.
        alpha: Keep transparency: a picture that has it becomes RGBa, whose colours are multiplied by their alpha.
    """
    if alpha and image.mode == "RGBa":
        return image
    if image.mode in ("RGB", "L") and not image.has_transparency_data and _is_plain(image, reading):
        return image
    profile, window = _profile(image), window_of(image, reading)
    grey = (is_deep(image) or image.mode in ("1", "L")) and not image.has_transparency_data
    keep = alpha and image.has_transparency_data
    result = Image.new("L" if grey else "RGBa" if keep else "RGB", image.size)
    for box in strips(image.size):
        colours, opacity = _parts(image, box, window)
        colours = _in_srgb(colours, profile)
        if opacity is not None:
            colours = _with_alpha(colours, opacity) if keep else _over(colours, opacity, reading)
        result.paste(colours.convert(result.mode), box[:2])
    result.info.update({key: image.info[key] for key in ("exif", "extent") if key in image.info})
    return result


def _is_plain(image: Image.Image, reading: Reading) -> bool:
    return not reading.levels and _profile(image) is None


def _parts(
    image: Image.Image, box: tuple[int, int, int, int], window: Window | None
) -> tuple[Image.Image, Image.Image | None]:
    """Return the colours of one strip, 8 bits a channel in mode L, RGB, CMYK or LAB, and its alpha or None."""
    part, opacity, key = image.crop(box), None, _key(image)
    if key is not None:
        opacity = _opaque_but(values_of(image, box), key)
    elif part.has_transparency_data:
        part = part.convert("RGBA")
        opacity = part.getchannel("A")
    if window is not None and (is_deep(image) or has_sixteen(image)):
        return Image.fromarray(window(values_of(image, box))), opacity
    if part.mode not in ("L", "CMYK", "LAB"):
        part.info.pop("transparency", None)
        part = part.convert("L" if part.mode == "1" else "RGB")
    return (part if window is None else _windowed(part, window)), opacity


def _key(image: Image.Image) -> np.ndarray | None:
    """Return the stored value, one for each channel, that a PNG declares transparent (tRNS); None if there is none."""
    key = image.info.get("transparency")
    if image.format != "PNG" or image.mode == "P" or not isinstance(key, int | tuple):
        return None
    step = _GREY_STEP.get(image.info.get(PACKING, ""), 1)
    return np.atleast_1d(key) * step


def _opaque_but(values: np.ndarray, key: np.ndarray) -> Image.Image:
    hidden = (values.reshape(*values.shape[:2], -1) == key).all(axis=-1)
    return Image.fromarray(np.where(hidden, 0, 255).astype(np.uint8))


def _windowed(part: Image.Image, window: Window) -> Image.Image:
    table = window(np.arange(256, dtype=np.float64)).tolist()
    return part.point(table * len(part.getbands()))


def _in_srgb(part: Image.Image, profile: bytes | None) -> Image.Image:
    transform = None if profile is None else _to_srgb(profile, part.mode)
    return part.convert("RGB") if transform is None else _apply(transform, part)


def _with_alpha(colours: Image.Image, opacity: Image.Image) -> Image.Image:
    whole = colours.copy()
    whole.putalpha(opacity)
    return whole.convert("RGBa")


def _over(colours: Image.Image, opacity: Image.Image, reading: Reading) -> Image.Image:
    paper = Image.new("RGB", colours.size, reading.colour)
    paper.paste(colours, mask=opacity)
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
    by_mode = {"1": "L", "LA": "L", "P": "RGB", "PA": "RGB", "RGBA": "RGB"}
    mode = "L" if is_deep(image) else by_mode.get(image.mode, image.mode)
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
