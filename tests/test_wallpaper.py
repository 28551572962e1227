"""Large pictures: no seam, every picture on them, bounded in size."""

from __future__ import annotations

import numpy as np
import pytest

from betabloom.errors import UsageError
from betabloom.imaging import wallpaper


@pytest.fixture(scope="module")
def pictures():
    """Flowers: discs of many colours on many greens."""
    rng = np.random.default_rng(0)
    made = np.empty((30, 32, 32, 3), np.uint8)
    made[:] = rng.integers(0, 120, (30, 1, 1, 3))
    y, x = np.mgrid[:32, :32] - 15.5
    made[:, np.hypot(x, y) < 11] = rng.integers(60, 256, (30, 1, 3))
    return made


def steps(canvas, axis):
    """Mean difference from each row or column to the next; the last one is over the edge."""
    canvas = canvas.astype(float)
    return np.abs(np.roll(canvas, -1, axis) - canvas).mean((1 - axis, 2))


@pytest.mark.parametrize(("width", "height"), [(200, 160), (97, 301), (640, 64)])
@pytest.mark.parametrize("n", [1, 2, 7, 30])
def test_there_is_no_seam(pictures, n, width, height):
    canvas = np.asarray(wallpaper.meadow(pictures[:n], width, height, seed=4))
    assert canvas.shape == (height, width, 3)
    for axis in (0, 1):
        inside = steps(canvas, axis)
        assert inside[-1] <= inside[:-1].max() + 1e-9


def test_a_seam_would_be_found(pictures):
    canvas = np.asarray(wallpaper.meadow(pictures, 200, 160, seed=4))[:130, :170]
    for axis in (0, 1):
        inside = steps(canvas, axis)
        assert inside[-1] > 1.5 * inside[:-1].max()


def test_the_same_seed_gives_the_same_places(pictures):
    one, same, other = (np.asarray(wallpaper.meadow(pictures, 160, 120, seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_places_cover_the_canvas_evenly():
    """No place of the canvas is further from a picture's middle than a picture's opaque part reaches, twice."""
    rng = np.random.default_rng(0)
    for n, width, height in ((64, 1920, 1080), (50, 300, 300), (9, 900, 100)):
        places = wallpaper._places(n, width, height, rng)
        assert places.shape == (n, 2)
        grid = np.stack(np.meshgrid(np.linspace(0, width, 40), np.linspace(0, height, 40)), -1).reshape(-1, 1, 2)
        gap = np.abs(grid - places)
        gap = np.minimum(gap, np.abs(np.array([width, height]) - gap))
        nearest = np.linalg.norm(gap, axis=2).min(1)
        assert nearest.max() < 1.3 * np.sqrt(width * height / n)


def test_a_single_picture_is_enlarged_to_cover_and_cut_evenly():
    ramp = np.broadcast_to(np.linspace(0, 255, 64, dtype=np.uint8)[:, None, None], (64, 64, 3))
    image = np.asarray(wallpaper.resize_to_cover(ramp, 400, 200)).astype(int)
    assert image.shape == (200, 400, 3)
    assert np.ptp(image, axis=1).max() == 0  # the ramp stays one
    assert abs(image[0, 0, 0] - 64) < 3  # a quarter is cut off above and below
    assert abs(image[-1, 0, 0] - 191) < 3


def test_grey_pictures_make_grey_wallpapers(pictures):
    canvas = np.asarray(wallpaper.meadow(pictures[..., :1], 100, 80)).astype(int)
    assert np.ptp(canvas, axis=2).max() == 0


@pytest.mark.parametrize("size", [(100_000, 100_000), (8, 100), (0, 0)])
def test_sizes_that_cannot_be_meant_are_refused(pictures, size):
    with pytest.raises(UsageError, match="--size 1920x1080"):
        wallpaper.meadow(pictures, *size)
