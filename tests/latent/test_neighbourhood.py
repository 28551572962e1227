"""Sisters of a code: amount 0 is the code, the distance from the middle is kept, directions are those of neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from betabloom.errors import UsageError
from betabloom.model.model import load
from betabloom.samplers.neighbourhood import NEAREST, sisters


@pytest.fixture(scope="module")
def drawn():
    return np.random.default_rng(0).standard_normal((512, 20)).astype(np.float32)


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(1).standard_normal((2000, NEAREST))


def test_no_amount_is_the_code_itself(drawn, noise):
    assert np.allclose(sisters(drawn[3], drawn, noise[:5], 0.0), drawn[3], atol=1e-6)


@pytest.mark.parametrize("amount", [0.5, 1.0, 2.0])
def test_variations_are_as_far_from_the_middle_as_the_code(drawn, noise, amount):
    code = drawn[3]
    codes = sisters(code, drawn, noise, amount)
    middle = drawn.mean(0)
    mean_square = np.square(codes - middle).sum(1).mean()
    assert mean_square == pytest.approx(np.square(code - middle).sum(), rel=0.05)


def test_a_larger_amount_is_less_like_the_code(drawn, noise):
    likeness = [
        float((sisters(drawn[3], drawn, noise, t) @ drawn[3]).mean() / np.square(drawn[3]).sum())
        for t in (0, 0.5, 1, 2)
    ]
    assert likeness == sorted(likeness, reverse=True)
    assert likeness[2] > 0.5


def test_variations_stay_where_the_density_has_no_width(noise):
    flat = np.random.default_rng(2).standard_normal((512, 6)).astype(np.float32)
    flat[:, 4:] = 0.5
    assert np.allclose(sisters(flat[0], flat, noise, 2.0)[:, 4:], 0.5, atol=1e-6)


@pytest.mark.parametrize("amount", [-1.0, float("nan"), float("inf")])
def test_impossible_amounts_are_refused(drawn, noise, amount):
    with pytest.raises(UsageError, match="'amount' should be"):
        sisters(drawn[0], drawn, noise, amount)


def test_the_model_varies_far_more_than_its_posterior(small_store, tiny_model):
    model = load(tiny_model)
    picture = np.asarray(small_store.pictures[0])
    assert np.abs(model.vary(picture, 2, amount=0).astype(int) - model.reconstruct(picture[None])).max() <= 1
    assert np.array_equal(model.vary(picture, 4, seed=3)[:2], model.vary(picture, 2, seed=3))
    assert not np.array_equal(model.vary(picture, 2, seed=3), model.vary(picture, 2, seed=4))
    assert not np.array_equal(model.vary(picture, 2, posterior=True), model.vary(picture, 2))
