"""Pictures of four channels: red, green and blue, each multiplied by alpha ("premultiplied"), and alpha.

So they are prepared, learned and drawn. What lies under transparent pixels is 0, and a weighted mean of pixels is the
mean of what is seen. PNG files, and most programs, hold colours that are not multiplied: `straight` makes these.
"""

from __future__ import annotations

import numpy as np

__all__ = ["over", "straight"]


def straight(pictures: np.ndarray) -> np.ndarray:
    """Divide colours by alpha: c = min(255, 255 · c′ / a), and 0 where a is 0.

    Arguments:
        pictures: uint8 (…, 4), premultiplied.

    Returns:
        uint8 of the same shape, as PNG files hold them.
    """
    alpha = pictures[..., 3:].astype(np.float32)
    colours = 255 * pictures[..., :3].astype(np.float32) / np.maximum(alpha, 1)
    colours = np.where(alpha > 0, colours, 0)
    result: np.ndarray = np.concatenate([np.rint(colours.clip(0, 255)).astype(np.uint8), pictures[..., 3:]], axis=-1)
    return result


def over(pictures: np.ndarray, background: int = 255) -> np.ndarray:
    """Lay pictures over a grey level: c′ + (1 − a/255) · background; pictures of 1 or 3 channels stay as they are.

    Arguments:
        pictures: uint8 (…, C); four channels are premultiplied.
        background: Grey level, 0..255.

    Returns:
        uint8 (…, C), of four channels the first three.
    """
    if pictures.shape[-1] != 4:
        return pictures
    rest = np.rint((255 - pictures[..., 3:].astype(np.float32)) * (background / 255))
    flat: np.ndarray = (pictures[..., :3] + rest).clip(0, 255).astype(np.uint8)
    return flat
