"""Distances of sets of features: closed forms, oracles, and intervals that hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from numpy.testing import assert_allclose

from betabloom.errors import UsageError
from betabloom.metrics import frechet_distance, kernel_distance


def normal(n, features, seed, mean=0.0, spread=1.0):
    rng = np.random.default_rng(seed)
    return (mean + spread * rng.standard_normal((n, features))).astype(np.float32)


def correlated(n, features, seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, features)) @ rng.standard_normal((features, features)) + rng.standard_normal(
        features
    )


def by_matrix_root(x, y):
    """The textbook formula, with a root of the product that is not symmetric."""
    c, d = np.cov(x.T), np.cov(y.T)
    root = scipy.linalg.sqrtm(c @ d)
    return np.square(x.mean(0) - y.mean(0)).sum() + np.trace(c + d - 2 * root.real)


@pytest.mark.parametrize(("n", "m"), [(60, 90), (400, 20), (2000, 11)])
def test_frechet_distance_is_the_textbook_formula(n, m):
    x, y = correlated(n, 10, 1), correlated(m, 10, 2)
    assert_allclose(frechet_distance(x, y).value, by_matrix_root(x, y), rtol=1e-8)


def test_frechet_distance_of_a_shifted_set_is_the_squared_shift():
    x, shift = correlated(300, 7, 3), np.linspace(-1, 2, 7)
    assert_allclose(frechet_distance(x, x + shift).value, shift @ shift, rtol=1e-9)


def test_frechet_distance_of_scaled_axes_has_a_closed_form():
    x = correlated(200, 5, 4)
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T  # exactly white
    scale = np.array([0.5, 1, 2, 3, 0.1])
    assert_allclose(frechet_distance(x, x * scale).value, np.square(1 - scale).sum(), rtol=1e-8)


def test_frechet_distance_of_equal_sets_is_zero_also_with_fewer_pictures_than_features():
    for x in (correlated(50, 8, 5), normal(12, 40, 6)):
        result = frechet_distance(x, x.copy())
        assert result.value < 1e-9 * np.var(x) * x.shape[1]
        assert result.high < 1e-5


def test_frechet_distance_is_symmetric_and_does_not_feel_rotations():
    x, y = correlated(80, 6, 7), correlated(90, 6, 8)
    turn = np.linalg.qr(correlated(6, 6, 9))[0]
    there, back, turned = frechet_distance(x, y), frechet_distance(y, x), frechet_distance(x @ turn, y @ turn)
    assert_allclose([back.value, turned.value], there.value, rtol=1e-9)
    assert_allclose([back.high, turned.high], there.high, rtol=1e-9)


def test_few_pictures_use_their_own_factors_and_say_so():
    x, y = normal(15, 30, 1), normal(20, 30, 2, 0.5)
    result = frechet_distance(x, y)
    assert_allclose(result.value, by_matrix_root(x.astype(float), y.astype(float)), rtol=1e-4)
    assert "15 pictures cannot fill 30 features" in result.warning
    assert frechet_distance(normal(200, 4, 1), normal(200, 4, 2)).warning == ""


@pytest.mark.parametrize(("measure", "scale"), [(frechet_distance, 1.0), (kernel_distance, 1.0)])
def test_intervals_are_as_wide_as_repetitions_differ(measure, scale):
    """The standard error that an interval implies, against that of 200 repetitions."""
    results = [measure(normal(150, 4, s), normal(220, 4, 10_000 + s, 0.5, 1.5)) for s in range(200)]
    implied = np.mean([(r.high - r.low) / (2 * 1.96) for r in results])
    assert_allclose(implied, scale * np.std([r.value for r in results]), rtol=0.15)


def test_kernel_distance_of_three_pictures_by_hand():
    x, y = np.array([[0.0], [1], [2]]), np.array([[1.0], [3], [0]])
    k = lambda a, b: (a * b + 1) ** 3  # noqa: E731
    within = [np.mean([k(a[i, 0], a[j, 0]) for i in range(3) for j in range(3) if i != j]) for a in (x, y)]
    between = np.mean([k(a, b) for a in x[:, 0] for b in y[:, 0]])
    assert_allclose(kernel_distance(x, y).value, sum(within) - 2 * between, rtol=1e-12)


def test_kernel_distance_is_unbiased_and_its_interval_covers_zero_on_equal_distributions():
    results = [kernel_distance(normal(60, 5, s), normal(40, 5, 5000 + s)) for s in range(300)]
    values = np.array([r.value for r in results])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values))
    assert (values < 0).any()
    assert np.mean([r.low <= 0 <= r.high for r in results]) > 0.9


def test_kernel_distance_jackknife_is_what_leaving_out_gives():
    x, y = normal(9, 3, 1), normal(7, 3, 2, 1.0)
    without = [[kernel_distance(np.delete(x, i, 0), y).value for i in range(9)]]
    without += [[kernel_distance(x, np.delete(y, i, 0)).value for i in range(7)]]
    error = np.sqrt(sum((len(v) - 1) / len(v) * np.square(np.array(v) - np.mean(v)).sum() for v in without))
    result = kernel_distance(x, y)
    assert_allclose((result.high - result.low) / 2, 1.959964 * error, rtol=1e-5)


def test_blocks_change_nothing(monkeypatch):
    x, y = normal(50, 6, 1), normal(40, 6, 2, 0.3)
    whole = kernel_distance(x, y)
    monkeypatch.setattr("betabloom.metrics.fidelity.BLOCK", 7)
    assert_allclose(kernel_distance(x, y).value, whole.value, rtol=1e-10)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(UsageError, match="cannot be compared"):
        frechet_distance(normal(9, 3, 0), normal(9, 4, 0))
    with pytest.raises(UsageError, match="At least 3 pictures"):
        kernel_distance(normal(2, 3, 0), normal(9, 3, 0))
    with pytest.raises(UsageError, match="NaN or infinite"):
        frechet_distance(np.full((9, 3), np.nan), normal(9, 3, 0))
