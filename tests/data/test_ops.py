"""The operations against their published formulas, computed here a second time, pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from betabloom.data.pictures import ops

RNG = np.random.default_rng(0)
X = RNG.random((9, 7, 3), dtype=np.float32)
BYTES = RNG.integers(0, 256, (12, 15, 3), dtype=np.uint8)


def clip(v: float) -> float:
    return min(max(v, 0.0), 1.0)


def test_blur_is_a_gaussian_convolution_with_enough_support() -> None:
    sigma, size = 1.3, 21
    spot = np.zeros((size, size, 1), dtype=np.float32)
    spot[size // 2, size // 2] = 1
    weight = [math.exp(-(d**2) / (2 * sigma**2)) if abs(d) <= math.ceil(3 * sigma) else 0 for d in range(-10, 11)]
    expected = np.outer(weight, weight) / sum(weight) ** 2
    np.testing.assert_allclose(ops.blur(spot, sigma)[..., 0], expected, atol=1e-6)


def test_blur_of_sigma_two_spans_thirteen_pixels() -> None:
    line = np.zeros((41, 41, 1), dtype=np.float32)
    line[20] = 1
    assert np.count_nonzero(ops.blur(line, 2.0)[:, 20, 0]) == 13


def test_blur_keeps_a_flat_picture_and_the_channels_apart() -> None:
    flat = np.broadcast_to(np.array([0.2, 0.5, 0.9], dtype=np.float32), (8, 8, 3))
    np.testing.assert_allclose(ops.blur(flat, 3.0), flat, atol=1e-6)


def test_gamma() -> None:
    expected = [[[clip(1.1 * float(v) ** 1.6) for v in pixel] for pixel in row] for row in X]
    np.testing.assert_allclose(ops.gamma(X, 1.6, 1.1), expected, atol=1e-6)


@pytest.mark.parametrize("factor", [0.0, 0.7, 1.0, 2.5])
def test_brightness(factor: float) -> None:
    np.testing.assert_allclose(ops.brightness(X, factor), np.minimum(factor * X.astype(float), 1), atol=1e-6)


@pytest.mark.parametrize("factor", [0.0, 1.0, 1.5])
def test_saturation(factor: float) -> None:
    r, g, b = np.moveaxis(X.astype(float), -1, 0)
    luma = (0.299 * r + 0.587 * g + 0.114 * b)[..., None]
    np.testing.assert_allclose(ops.saturation(X, factor), np.clip(factor * X + (1 - factor) * luma, 0, 1), atol=1e-6)


def test_autocontrast_stretches_each_channel_and_leaves_flat_ones() -> None:
    x = X.copy()
    x[..., 1] = 0.4
    result = ops.autocontrast(x)
    assert result[..., 0].min() == 0
    assert result[..., 0].max() == 1
    np.testing.assert_array_equal(result[..., 1], x[..., 1])
    low, high = float(x[..., 2].min()), float(x[..., 2].max())
    np.testing.assert_allclose(result[..., 2], (x[..., 2] - low) / (high - low), atol=1e-6)


def test_sharpness_with_its_borders_kept() -> None:
    factor, expected = 4.0, X.astype(float)
    smooth = expected.copy()
    kernel = ((1, 1, 1), (1, 5, 1), (1, 1, 1))
    for y in range(1, 8):
        for x in range(1, 6):
            smooth[y, x] = sum(kernel[j][i] * expected[y + j - 1, x + i - 1] for j in range(3) for i in range(3)) / 13
    np.testing.assert_allclose(
        ops.sharpness(X, factor), np.clip(factor * expected + (1 - factor) * smooth, 0, 1), atol=1e-5
    )


@pytest.mark.parametrize(
    ("own", "pillow"),
    [
        (lambda x: ops.brightness(x, 0.7), lambda i: ImageEnhance.Brightness(i).enhance(0.7)),
        (lambda x: ops.saturation(x, 1.5), lambda i: ImageEnhance.Color(i).enhance(1.5)),
        (ops.autocontrast, ImageOps.autocontrast),
    ],
)
def test_agrees_with_pillow_to_one_grey_level(own: object, pillow: object) -> None:
    mine = np.rint(own(BYTES.astype(np.float32) / 255) * 255)  # type: ignore[operator]
    theirs = np.asarray(pillow(Image.fromarray(BYTES)), dtype=float)  # type: ignore[operator]
    assert np.abs(mine - theirs).max() <= 1


def test_what_changes_nothing() -> None:
    for unchanged in (ops.gamma(X, 1, 1), ops.brightness(X, 1), ops.saturation(X, 1), ops.sharpness(X, 1)):
        np.testing.assert_allclose(unchanged, X, atol=1e-6)


@pytest.mark.parametrize(
    ("fit", "size"), [("cover", (8, 6)), ("fill", (8, 6)), ("outside", (9, 6)), ("inside", (8, 5))]
)
def test_resize_sizes(fit: str, size: tuple[int, int]) -> None:
    assert ops.resize(Image.new("RGB", (30, 20)), 6, 8, fit).size == size


def test_resize_cover_is_resize_outside_then_crop() -> None:
    image = Image.fromarray(RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    expected = ops.crop(ops.resize(image, 8, 8, "outside"), 8, 8)
    np.testing.assert_array_equal(np.asarray(ops.resize(image, 8, 8, "cover")), np.asarray(expected))
