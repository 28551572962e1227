"""Whitening undoes the covariance; rates are those of the closed form."""

from __future__ import annotations

import numpy as np
import pytest

from betabloom.latent import Space, dimension_rates


def test_whitened_codes_vary_by_one_and_independently():
    mixing = np.array([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, 3.0, 1.0]])
    codes = np.random.default_rng(0).standard_normal((20_000, 3)) @ mixing.T + 5
    space = Space.of(codes)
    white = space.whiten(codes)
    assert np.allclose(np.cov(white.T), np.eye(3), atol=0.02)
    assert np.allclose(space.unwhiten(white), codes, atol=1e-4)
    assert np.allclose(space.spread, codes.std(0), rtol=0.01)


def test_fewer_codes_than_dimensions_still_make_a_space():
    space = Space.of(np.random.default_rng(0).standard_normal((5, 40)))
    assert np.isfinite(space.whiten(space.codes)).all()


def test_a_rate_is_the_kl_to_a_prior_with_the_moments_of_the_codes():
    rng = np.random.default_rng(0)
    mean, log_var = rng.standard_normal((500, 3)) * [0.1, 1, 3], rng.uniform(-4, 0, (500, 3))
    m, s2 = mean.mean(0), mean.var(0) + np.exp(log_var).mean(0)
    kl = 0.5 * (np.exp(log_var) / s2 + (mean - m) ** 2 / s2 - 1 - log_var + np.log(s2))
    assert dimension_rates(mean, log_var) == pytest.approx(kl.mean(0), abs=1e-5)


def test_dimensions_of_a_point_posterior_are_ordered_by_their_spread():
    mean = np.random.default_rng(0).standard_normal((500, 3)) * [1, 3, 2]
    assert np.argsort(-dimension_rates(mean, np.full((500, 3), -np.inf))).tolist() == [1, 2, 0]
