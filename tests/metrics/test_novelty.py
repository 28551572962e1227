"""Near copies: found when they are planted, and not where pictures are only smooth."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.distance import cdist

from betabloom.data import Drawn
from betabloom.errors import UsageError
from betabloom.metrics import novelty
from betabloom.metrics.novelty import Limits, near_copies, nearest, pixel_rows


@pytest.fixture(scope="module")
def flowers():
    source = Drawn(520, seed=4, size=32)
    return np.stack([np.asarray(source.read(i)) for i in range(520)])


@pytest.fixture(scope="module")
def known(flowers):
    return pixel_rows(flowers[:300])


def look(pictures, known):
    return nearest(pixel_rows(pictures), known, pixel_rows(pictures[:, :, ::-1]))


@pytest.fixture(scope="module")
def limits(flowers, known):
    return Limits.learned(look(flowers[300:420], known))


def test_the_nearest_row_is_that_of_the_definition():
    rng = np.random.default_rng(0)
    rows, known = rng.normal(100, 30, (40, 12)), rng.normal(100, 30, (70, 12))
    distances = cdist(rows, known) / np.sqrt(12)
    found = nearest(rows, known)
    ordered = np.sort(distances, 1)
    assert (found.index == distances.argmin(1)).all()
    assert_allclose(found.distance, ordered[:, 0], rtol=1e-5)
    assert_allclose(found.ratio, ordered[:, 0] / ordered[:, 1:51].mean(1), rtol=1e-4)
    assert not found.mirrored.any()


def test_copies_and_mirrored_copies_are_at_distance_zero(flowers, known):
    found = look(np.concatenate([flowers[10:20], flowers[20:30, :, ::-1]]), known)
    assert (found.index == np.arange(10, 30)).all()
    assert_allclose(found.distance, 0, atol=1e-4)
    assert found.mirrored[10:].all()


def test_planted_near_copies_are_found(flowers, known, limits):
    noise = np.random.default_rng(1).normal(0, 6, flowers[:60].shape)
    noisy = np.clip(flowers[:60] + noise, 0, 255).astype(np.uint8)
    assert near_copies(look(flowers[:60], known), limits).value == 1
    assert near_copies(look(noisy, known), limits).value > 0.95
    assert near_copies(look(noisy[:, :, ::-1], known), limits).value > 0.95


def test_new_pictures_are_not_called_copies_more_often_than_real_ones(flowers, known, limits):
    result = near_copies(look(flowers[420:], known), limits)
    assert result.value <= 0.05
    assert result.n == {"pictures": 100}


def test_smooth_pictures_are_near_everything_and_still_no_copies(flowers, known, limits):
    rng = np.random.default_rng(2)
    smooth = np.stack([flowers[rng.integers(0, 300, 40)].mean(0) for _ in range(50)]).astype(np.uint8)
    found = look(smooth, known)
    assert found.ratio.min() > limits.ratio
    assert near_copies(found, limits).value == 0


def test_flat_squares_are_no_copies_unless_training_pictures_are_flat_too(flowers, known):
    grey = np.full((20, 32, 32, 3), flowers.mean(), np.uint8)
    generous = Limits(distance=np.inf, ratio=np.inf, n=100)
    assert near_copies(look(grey, known), generous).value == 0
    assert near_copies(look(grey, pixel_rows(np.concatenate([flowers[:20], grey[:1]]))), generous).value == 1
    assert near_copies(look(flowers[:20], known), generous).value == 1


def test_blocks_change_nothing(monkeypatch, flowers, known):
    whole = look(flowers[300:340], known)
    monkeypatch.setattr("betabloom.metrics.neighbours.BLOCK", 7)
    monkeypatch.setattr(novelty, "BLOCK", 7)
    parts = look(flowers[300:340], known)
    assert (parts.index == whole.index).all()
    assert_allclose(parts.distance, whole.distance, rtol=1e-4)
    assert_allclose(parts.ratio, whole.ratio, rtol=1e-4)


def test_one_known_picture_and_few_held_out(flowers):
    found = look(flowers[:5], pixel_rows(flowers[:1]))
    assert (found.index == 0).all()
    assert_allclose(found.ratio, 1)
    assert "learned from only 5 held-out pictures" in near_copies(found, Limits.learned(found)).warning
    with pytest.raises(UsageError, match="cannot be compared"):
        nearest(pixel_rows(flowers[:5]), np.empty((0, 768)))
