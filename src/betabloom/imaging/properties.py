r"""What can be measured of a picture without knowing what it shows: hue, lightness, size, symmetry and others.

The *subject* of a picture is where it differs from its edge: with d the distance in Oklab of each pixel from the median
colour of the border, weights are d² / Σ d². Size, roundness and place are those of the weights.
"""

from __future__ import annotations

import numpy as np

from betabloom.imaging import colour

__all__ = ["PROPERTIES", "measure_properties", "oklab_pictures"]

PROPERTIES = (
    "hue, green to red", "hue, blue to yellow", "lightness", "lightness of the surroundings", "colourfulness", "size",
    "roundness", "symmetry", "detail", "place, left to right", "place, top to bottom",
)  # fmt: skip
SIDE = 32  # pixels that a picture is looked at with: finer detail has no part in these but in `detail`


def oklab_pictures(pictures: np.ndarray) -> np.ndarray:
    """Oklab colours of pictures, uint8 (N, H, W, C), halved by means until no side is above `SIDE`: (N, h, w, 3)."""
    x = colour.floats(pictures)
    while max(x.shape[1:3]) > SIDE and not (x.shape[1] % 2 or x.shape[2] % 2):
        x = x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2, 3).mean((2, 4))
    return colour.oklab(x)


def measure_properties(pictures: np.ndarray) -> np.ndarray:
    """The numbers (N, 11) that `PROPERTIES` names, of pictures, uint8 (N, H, W, C).

    | property | what it is |
    |---|---|
    | hue, green to red; blue to yellow | Oklab's opponent coordinates a and b of the subject's mean colour |
    | lightness | Oklab's L of the subject, and of the border |
    | colourfulness | Hasler & Süsstrunk 2003: see `betabloom.imaging.colour.colourfulness` |
    | size | root of the second moment of the subject's weights about their middle, in half sides |
    | roundness | shorter axis / longer axis of the ellipse with these moments, in [0, 1] |
    | symmetry | correlation of the lightness with that of the mirrored picture, in [−1, 1] |
    | detail | mean step of lightness between neighbouring pixels |
    | place | middle of the subject, −1 left or top … 1 right or bottom |
    """
    lab = oklab_pictures(pictures)
    border = _border(lab)
    weight = np.square(lab - border[:, None, None]).sum(3)
    weight = weight / np.maximum(weight.sum((1, 2), keepdims=True), 1e-12)
    subject = (weight[..., None] * lab).sum((1, 2))
    size, roundness, x, y = _moments(weight)
    light = lab[..., 0]
    return np.stack(
        [
            subject[:, 1], subject[:, 2], subject[:, 0], border[:, 0], colour.colourfulness(pictures), size, roundness,
            _symmetry(light), _detail(pictures), x, y,
        ],
        axis=1,
    )  # fmt: skip


def _border(lab: np.ndarray) -> np.ndarray:
    """Median colours (N, 3) of the outermost eighth of pictures."""
    edge = max(1, min(lab.shape[1:3]) // 8)
    inside = np.zeros(lab.shape[1:3], bool)
    inside[edge:-edge, edge:-edge] = True
    border: np.ndarray = np.median(lab[:, ~inside], axis=1)
    return border


def _moments(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Size, roundness and middle of weights (N, h, w) that sum to 1."""
    y, x = (np.linspace(-1, 1, n) for n in weight.shape[1:])
    middle_x, middle_y = (weight.sum(1) * x).sum(1), (weight.sum(2) * y).sum(1)
    dx, dy = x[None, None, :] - middle_x[:, None, None], y[None, :, None] - middle_y[:, None, None]
    xx, yy, xy = ((weight * part).sum((1, 2)) for part in (dx * dx, dy * dy, dx * dy))
    half, apart = (xx + yy) / 2, np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    roundness = np.sqrt(np.maximum(half - apart, 0) / np.maximum(half + apart, 1e-12))
    return np.sqrt(xx + yy), roundness, middle_x, middle_y


def _symmetry(light: np.ndarray) -> np.ndarray:
    """Correlation (N,) of lightness (N, h, w) with its mirror image."""
    centred = light - light.mean((1, 2), keepdims=True)
    power = np.square(centred).sum((1, 2))
    symmetry: np.ndarray = (centred * centred[:, :, ::-1]).sum((1, 2)) / np.maximum(power, 1e-12)
    return symmetry


def _detail(pictures: np.ndarray) -> np.ndarray:
    """Mean absolute step (N,) between neighbouring pixels, in parts of the range."""
    grey = colour.floats(pictures).mean(3)
    detail: np.ndarray = np.abs(np.diff(grey, axis=1)).mean((1, 2)) + np.abs(np.diff(grey, axis=2)).mean((1, 2))
    return detail
