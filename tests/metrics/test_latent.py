"""The codes: dimensions in use, and the gap between codes and prior, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from betabloom.errors import UsageError
from betabloom.metrics import active_units, aggregate_gap
from betabloom.metrics.measure import of_mean, of_share


def log_standard(z):
    return -0.5 * (np.square(z) + np.log(2 * np.pi)).sum(1)


def test_active_units_are_those_whose_means_vary():
    means = np.random.default_rng(0).standard_normal((500, 3)) * [1, 0.05, 0.2] + [0, 9, 0]
    assert active_units(means) == 2
    assert active_units(means, 0.0001) == 3


def test_the_gap_of_gaussian_codes_has_a_closed_form():
    rng = np.random.default_rng(1)
    mean, std = np.array([1.0, -0.5, 0, 0]), np.array([0.5, 1, 2, 1])
    exact = 0.5 * (mean**2 + std**2 - 1 - np.log(std**2)).sum()
    gap = aggregate_gap(mean + std * rng.standard_normal((6000, 4)), log_standard)
    assert gap.low < exact < gap.high
    assert_allclose(gap.value, exact, rtol=0.05)
    assert gap.warning == ""


def test_codes_from_the_prior_have_no_gap_and_correlated_ones_have():
    z = np.random.default_rng(2).standard_normal((4000, 3))
    assert abs(aggregate_gap(z, log_standard).value) < 0.02
    z[:, 1] = 0.8 * z[:, 0] + 0.6 * z[:, 1]  # each dimension alone is still standard normal
    assert_allclose(aggregate_gap(z, log_standard).value, -np.log(0.6), atol=0.06)


def test_a_lower_bound_where_codes_are_not_gaussian():
    rng = np.random.default_rng(3)
    z = rng.standard_normal((5000, 1)) * 0.1 + rng.choice([-1, 1], (5000, 1))  # two narrow heaps
    density = np.logaddexp(*(-0.5 * ((z - m) / 0.1) ** 2 - np.log(0.1 * np.sqrt(2 * np.pi)) for m in (-1, 1)))[:, 0]
    exact = (density - np.log(2) - log_standard(z)).mean()
    assert -0.05 < aggregate_gap(z, log_standard).value < exact


def test_few_codes_are_named():
    z = np.random.default_rng(4).standard_normal((20, 8))
    assert "few for 8 dimensions" in aggregate_gap(z, log_standard).warning
    with pytest.raises(UsageError, match="At least 4"):
        aggregate_gap(z[:3], log_standard)


def test_intervals_of_means_and_shares_hold_in_19_of_20_samples():
    rng = np.random.default_rng(5)
    means = [of_mean("m", rng.exponential(2, 60)) for _ in range(600)]
    shares = [of_share("s", rng.random(50) < 0.1) for _ in range(600)]
    assert 0.91 < np.mean([m.low <= 2 <= m.high for m in means]) < 0.98
    assert 0.91 < np.mean([s.low <= 0.1 <= s.high for s in shares]) < 0.99
    nothing = of_share("s", np.zeros(100, bool))
    assert nothing.value == nothing.low == 0
    assert_allclose(nothing.high, 0.037, atol=1e-3)
