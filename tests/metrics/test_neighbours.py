"""Distances in blocks, and covariances of few samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.spatial.distance import cdist

from betabloom.metrics.covariance import shrunk_covariance
from betabloom.metrics.neighbours import distance_blocks


@pytest.mark.parametrize("block", [1, 7, 100])
def test_blocks_are_the_distances_of_all_rows(block, monkeypatch):
    monkeypatch.setattr("betabloom.metrics.neighbours.BLOCK", block)
    rng = np.random.default_rng(0)
    rows, points = (1000 + rng.standard_normal((n, 5)) for n in (23, 11))  # far from 0, where rounding is worst
    parts = list(distance_blocks(rows, points))
    assert [part.start for part, _ in parts] == list(range(0, 23, block))
    assert_allclose(np.concatenate([found for _, found in parts]), cdist(rows, points) ** 2, rtol=1e-3, atol=1e-4)


def test_a_point_is_at_no_distance_from_itself_and_none_is_negative():
    points = np.random.default_rng(0).standard_normal((40, 300))
    ((_, found),) = distance_blocks(points, points)
    assert (found >= 0).all()
    assert_allclose(found.diagonal(), 0, atol=1e-3)


def test_a_shrunk_covariance_is_that_of_the_samples_and_of_as_many_more_as_there_are_dimensions():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 3)) @ rng.standard_normal((3, 3))
    scatter = 12 * np.cov(x.T)
    expected = (scatter + 3 * np.diag(np.diag(scatter) / 12)) / 15
    assert_allclose(shrunk_covariance(scatter, 12), expected)
    assert_allclose(shrunk_covariance(torch.from_numpy(scatter), 12).numpy(), expected)
    assert_allclose(shrunk_covariance(scatter, 12, np.eye(3)), (scatter + 3 * np.eye(3)) / 15)


def test_two_samples_in_many_dimensions_have_a_covariance_that_can_be_inverted():
    x = np.zeros((2, 20))
    x[1, 3] = 1.0
    factor = np.linalg.cholesky(shrunk_covariance(2 * np.cov(x.T), 2))
    assert np.isfinite(factor).all()
    many = np.random.default_rng(0).standard_normal((100_000, 2))
    assert_allclose(shrunk_covariance(len(many) * np.cov(many.T), len(many)), np.cov(many.T), atol=1e-4)
