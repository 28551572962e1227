"""Children take coordinates from their parents; recolouring swaps colours and keeps the form; more-like moves there."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from betabloom.errors import UsageError
from betabloom.latent import Space, crossed, moved_along, preferred_direction, recoloured

ONE, OTHER = np.array([2.0, -1, 1.5, 1]), np.array([-2.0, 1, -1.5, -1])


def test_all_of_one_parent_is_that_parent(space):
    assert np.allclose(crossed(space, ONE, OTHER, 3, share=1.0), ONE, atol=1e-5)
    assert np.allclose(crossed(space, ONE, OTHER, 3, share=0.0), OTHER, atol=1e-5)


def test_each_principal_coordinate_is_that_of_one_parent(space):
    axes = np.linalg.eigh(space.factor @ space.factor.T)[1]
    children = (crossed(space, ONE, OTHER, 200, seed=5) - space.mean) @ axes
    a, b = (ONE - space.mean) @ axes, (OTHER - space.mean) @ axes
    from_one = np.isclose(children, a, atol=1e-4)
    assert (from_one | np.isclose(children, b, atol=1e-4)).all()
    assert 0.4 < from_one.mean() < 0.6
    assert np.array_equal(crossed(space, ONE, OTHER, 3, seed=5), crossed(space, ONE, OTHER, 200, seed=5)[:3])
    with pytest.raises(UsageError, match="'share' must lie between 0 and 1"):
        crossed(space, ONE, OTHER, 1, share=1.5)


def test_recolouring_takes_the_colours_and_keeps_the_form(discs, space):
    """With 20 latents more than colours depend on: those that nothing depends on stay."""
    wide = SimpleNamespace(decode=lambda codes: discs.decode(codes[:, :4]))
    codes = np.random.default_rng(0).standard_normal((1024, 24)).astype(np.float32)
    one, other = np.resize(ONE, 24), np.resize(OTHER, 24)
    code = recoloured(wide, Space.of(codes), one, other)
    assert np.abs(code[1:4] - other[1:4]).max() < 0.5
    assert np.linalg.norm(code[4:] - one[4:]) < 0.4 * np.linalg.norm(code[4:] - other[4:])


def test_a_preference_is_found_and_followed(space, discs):
    rng = np.random.default_rng(0)
    good, bad = (rng.standard_normal((8, 4)) + sign * np.array([0, 0, 2, 0]) for sign in (1, -1))
    direction, place = preferred_direction(space, good, bad)
    assert direction[2] > 0.9
    assert place == pytest.approx(2, abs=0.8)
    codes = discs.draw(50, 3)
    moved = moved_along(space, codes, direction, place)
    assert np.allclose(
        np.linalg.norm(moved - space.mean, axis=1), np.linalg.norm(codes - space.mean, axis=1), rtol=1e-4
    )
    assert ((moved - codes) @ direction).mean() > 0.8


def test_good_without_bad_and_nothing_to_tell_apart(space):
    good = np.array([[3.0, 0, 0, 0]])
    direction, place = preferred_direction(space, good)
    assert direction[0] > 0.95
    assert place == pytest.approx(3, abs=0.3)
    with pytest.raises(UsageError, match="At least one good picture"):
        preferred_direction(space, good[:0])
    with pytest.raises(UsageError, match="nothing tells them apart"):
        preferred_direction(space, good, good)
