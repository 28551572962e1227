r"""De-noising and inpainting: the code that explains what is seen of a picture, and is plausible in itself.

`betabloom.latent.posterior_mode` finds it, from the code of the picture whose holes the mean of what is seen fills.
Several completions start at different places, and end where they differ by what the pixels leave open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from betabloom.errors import UsageError
from betabloom.latent.posterior_mode import PIXEL_ERROR, posterior_mode
from betabloom.latent.space import code_space

if TYPE_CHECKING:
    from betabloom.model.model import Model

__all__ = ["box_mask", "denoise", "inpaint"]

STEPS = 120
APART = 0.7  # standard deviations of whitened codes that completions start apart


def box_mask(box: tuple[int, int, int, int], height: int, width: int) -> np.ndarray:
    """A mask, boolean (H, W), that is true in a box.

    Arguments:
        box: Left, top, right, bottom in pixels; right and bottom are outside.
        height: H.
        width: W.

    Returns:
        boolean (H, W).

    Raises:
        UsageError: The box is empty, leaves the picture, or is all of it.
    """
    left, top, right, bottom = box
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise UsageError(f"The box {left},{top},{right},{bottom} is not inside a picture of {width}x{height} pixels.")
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask


def inpaint(
    model: Model, picture: np.ndarray, mask: np.ndarray, n: int = 1, seed: int = 0, steps: int = STEPS
) -> np.ndarray:
    """Fill in the pixels of a picture that a mask covers.

    Arguments:
        model: The model.
        picture: uint8 (H, W, C), prepared.
        mask: Boolean (H, W), true where pixels are missing.
        n: How many completions.
        seed: Of where completions start.
        steps: Of Adam.

    Returns:
        uint8 (n, H, W, C), with the pixels that are seen as they were.

    Raises:
        UsageError: The mask has another size, or covers nothing or everything.
    """
    if mask.shape != picture.shape[:2]:
        height, width = picture.shape[:2]
        raise UsageError(f"The mask has {mask.shape[1]}x{mask.shape[0]} pixels, and the picture {width}x{height}.")
    if mask.all() or not mask.any():
        raise UsageError(
            f"The mask covers {'everything: no pixel is left to start from' if mask.all() else 'nothing'}."
        )
    filled = picture.copy()
    filled[mask] = np.rint(picture[~mask].mean(0))
    restored = _explained(model, picture, filled, ~mask, PIXEL_ERROR, n, seed, steps)
    return np.where(mask[None, :, :, None], restored, picture[None])


def denoise(model: Model, picture: np.ndarray, noise: float = 25.0, steps: int = STEPS) -> np.ndarray:
    """The picture, uint8 (H, W, C), that a noisy one was made from.

    Arguments:
        model: The model.
        picture: uint8 (H, W, C), prepared.
        noise: Standard deviation of the noise in grey levels.
        steps: Of Adam.

    Returns:
        uint8 (H, W, C).

    Raises:
        UsageError: The noise is not positive.
    """
    if not 0 < noise < 256:
        raise UsageError(f"'noise' is a standard deviation in grey levels between 0 and 256, not {noise}.")
    seen = np.ones(picture.shape[:2], bool)
    error = float(np.hypot(PIXEL_ERROR, noise / 255))
    restored: np.ndarray = _explained(model, picture, picture, seen, error, 1, 0, steps)[0]
    return restored


def _explained(
    model: Model, picture: np.ndarray, start: np.ndarray, seen: np.ndarray, error: float, n: int, seed: int, steps: int
) -> np.ndarray:
    """Pictures (n, H, W, C) of codes that explain the seen pixels."""
    space, codes = code_space(model), np.repeat(model.encode(start[None])[0], n, 0)
    if n > 1:
        apart = np.stack([np.random.default_rng([seed, i]).standard_normal(codes.shape[1]) for i in range(n)])
        codes = space.unwhiten(space.whiten(codes) + APART * apart)
    return model.decode(posterior_mode(model, codes, np.repeat(picture[None], n, 0), steps, seen, error, space))
