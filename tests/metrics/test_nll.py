"""Bounds on the likelihood: a linear-Gaussian model, of which everything is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from betabloom.metrics.nll import bounds, importance_bound


def log_normal(x, mean, variance):
    return -0.5 * (np.log(2 * np.pi * variance) + np.square(x - mean) / variance)


@pytest.fixture(scope="module")
def linear():
    """z ~ N(0, 1), x ~ N(2 z, 1), so x ~ N(0, 5) and p(z|x) = N(2 x / 5, 1 / 5); and a posterior that is a bit off."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, np.sqrt(5), 400)

    def log_weights(samples, mean_off=0.15, variance=0.3, seed=1):
        mean = 0.4 * x + mean_off
        z = mean + np.sqrt(variance) * np.random.default_rng(seed).standard_normal((samples, len(x)))
        return log_normal(x, 2 * z, 1) + log_normal(z, 0, 1) - log_normal(z, mean, variance)

    return x, log_weights


def test_the_exact_posterior_gives_the_exact_likelihood_with_one_sample(linear):
    x, log_weights = linear
    assert_allclose(importance_bound(log_weights(1, 0, 0.2)), log_normal(x, 0, 5), rtol=1e-12)


def test_the_elbo_is_the_likelihood_less_the_divergence_of_the_posterior(linear):
    x, log_weights = linear
    divergence = 0.5 * (0.3 / 0.2 + 0.15**2 / 0.2 - 1 - np.log(0.3 / 0.2))
    elbo = bounds(log_weights(20_000))[0].value
    assert_allclose(elbo, log_normal(x, 0, 5).mean() - divergence, atol=2e-3)


def test_the_bound_grows_with_the_samples_to_the_likelihood(linear):
    x, log_weights = linear
    values = [measure.value for measure in bounds(log_weights(4000), (1, 2, 8, 50, 1000))[1:]]
    assert (np.diff(values) > 0).all()
    assert_allclose(values[-1], log_normal(x, 0, 5).mean(), atol=2e-3)


def test_one_sample_is_the_elbo(linear):
    weights = linear[1](5)
    elbo, first = bounds(weights, (1,))
    assert_allclose([first.value, first.low, first.high], [elbo.value, elbo.low, elbo.high], rtol=1e-12)
    assert_allclose(importance_bound(weights[:1]), weights[0])


def test_weights_far_from_one_do_not_overflow():
    weights = np.array([[-30_000.0, 900], [-30_001, 800]])
    assert_allclose(importance_bound(weights), [-30_000 + np.log((1 + np.exp(-1)) / 2), 900 - np.log(2)])
