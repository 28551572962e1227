"""Ways pass their stops, keep the distance from the middle, close; frames are an even distance apart."""

from __future__ import annotations

import numpy as np
import pytest

from betabloom.errors import UsageError
from betabloom.latent import even_pace, morph, way

STOPS = np.random.default_rng(0).standard_normal((3, 8))


@pytest.mark.parametrize("kind", ["slerp", "linear"])
def test_a_way_passes_its_stops(kind):
    assert np.allclose(way(STOPS, [0, 0.5, 1], np.zeros(8), kind), STOPS, atol=1e-6)
    loop = way(STOPS, [0, 1 / 3, 2 / 3, 1], np.zeros(8), kind, loop=True)
    assert np.allclose(loop, [*STOPS, STOPS[0]], atol=1e-6)


def test_a_spherical_way_keeps_the_distance_from_the_middle():
    middle = np.full(8, 2.0)
    stops = middle + STOPS / np.linalg.norm(STOPS, axis=1, keepdims=True)
    codes = way(stops, np.linspace(0, 1, 50), middle)
    assert np.allclose(np.linalg.norm(codes - middle, axis=1), 1, atol=1e-5)
    straight = way(stops, np.linspace(0, 1, 50), middle, "linear")
    assert np.linalg.norm(straight - middle, axis=1).min() < 0.95


def test_equal_and_opposite_stops_have_a_way_too():
    one = np.array([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    assert np.isfinite(way(one, np.linspace(0, 1, 9), np.zeros(2))).all()


def test_frames_are_an_even_distance_apart_and_loops_close(discs):
    stops = np.array([[0, 0, 0, 0], [2, 2, 0, 0], [0, -2, 2.0, 2.0]], np.float32)
    frames, codes = morph(discs, stops, 40, loop=True, kind="linear")
    assert np.allclose(codes[0], stops[0], atol=1e-6)
    flat = frames.reshape(40, -1).astype(float)
    steps = np.sqrt(np.square(np.roll(flat, -1, 0) - flat).mean(1))  # the last step leads back to the first frame
    assert steps.max() < 1.3 * steps.mean()
    plain = discs.decode(way(stops, np.arange(40) / 40, stops.mean(0), "linear", True)).reshape(40, -1).astype(float)
    uneven = np.sqrt(np.square(np.roll(plain, -1, 0) - plain).mean(1))
    assert steps.std() < 0.6 * uneven.std()


def test_an_even_pace_goes_slowly_where_much_changes():
    pictures = np.array([0, 10, 100], np.uint8).reshape(3, 1, 1, 1)
    assert even_pace(pictures, np.array([0, 0.5, 1]), 3)[1] == pytest.approx(0.5 + 0.5 * 40 / 90, abs=0.01)


def test_impossible_morphs_are_refused(discs):
    with pytest.raises(UsageError, match="at least 2 pictures, not 1"):
        morph(discs, STOPS[:1, :4])
    with pytest.raises(UsageError, match="at least 2 frames"):
        morph(discs, STOPS[:, :4], 1)
    with pytest.raises(UsageError, match="slerp or linear, not 'crooked'"):
        way(STOPS, [0, 1], np.zeros(8), "crooked")
