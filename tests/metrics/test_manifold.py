"""Precision, recall, density, coverage: small cases by hand, a slow oracle, and intervals that hold."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.distance import cdist

from betabloom.errors import UsageError
from betabloom.metrics import density_coverage, precision_recall


def normal(n, features, seed, mean=0.0, spread=1.0):
    rng = np.random.default_rng(seed)
    return (mean + spread * rng.standard_normal((n, features))).astype(np.float32)


def values(x, y, k):
    return [measure.value for measure in (*precision_recall(x, y, k), *density_coverage(x, y, k))]


def slowly(x, y, k):
    """The definitions, pair by pair."""
    radius_x, radius_y = (np.sort(cdist(a, a), 1)[:, k] for a in (x, y))
    d = cdist(x, y)
    precision = np.mean([any(d[i, j] <= radius_x[i] for i in range(len(x))) for j in range(len(y))])
    recall = np.mean([any(d[i, j] <= radius_y[j] for j in range(len(y))) for i in range(len(x))])
    density = np.sum([d[i, j] <= radius_x[i] for i in range(len(x)) for j in range(len(y))]) / (k * len(y))
    coverage = np.mean([any(d[i, j] <= radius_x[i] for j in range(len(y))) for i in range(len(x))])
    return [precision, recall, density, coverage]


def test_a_case_by_hand():
    x = np.array([[0.0], [1], [3], [100]])  # radii for k = 1: 1, 1, 2, 97
    y = np.array([[-2.0], [2], [2.5], [50]])  # radii for k = 1: 4, 0.5, 0.5, 47.5
    precision, recall, density, coverage = values(x, y, 1)
    assert precision == 3 / 4  # -2 is in no ball; 50 is in that of 100
    assert recall == 3 / 4  # 0 and 1 near -2, 3 near 2.5; 100 is 50 from 50
    assert density == (0 + 2 + 1 + 1) / 4  # 2 in the balls of 1 and 3
    assert coverage == 3 / 4  # only 0 has nobody in its ball


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("n", "m"), [(40, 60), (70, 25)])
def test_values_are_those_of_the_definitions(k, n, m):
    x, y = normal(n, 3, 1), normal(m, 3, 2, 0.4, 1.3)
    assert_allclose(values(x, y, k), slowly(x, y, k), rtol=1e-6)


def test_equal_sets_and_sets_far_apart():
    x = normal(60, 4, 3)
    assert values(x, x.copy(), 3)[:2] == [1, 1]
    assert values(x, x.copy(), 3)[3] == 1
    assert values(x, x + 100, 3) == [0, 0, 0, 0]
    assert [round(m.high, 3) for m in precision_recall(x, x + 100)] == [0.06, 0.06]  # 0 of 60 may be 6 %


def test_precision_and_recall_change_places_with_the_sets():
    x, y = normal(50, 3, 1), normal(50, 3, 2, 0.7)
    there, back = precision_recall(x, y), precision_recall(y, x)
    assert [m.value for m in there] == [m.value for m in reversed(back)]


def test_dropped_modes_cost_recall_and_coverage_only():
    x = np.concatenate([normal(100, 3, 1), normal(100, 3, 2, 50)])
    y = normal(100, 3, 3)
    precision, recall, density, coverage = values(x, y, 3)
    assert precision > 0.8
    assert density > 0.7
    assert recall < 0.55
    assert coverage < 0.55


def test_blocks_change_nothing(monkeypatch):
    x, y = normal(50, 4, 1), normal(45, 4, 2)
    whole = [*precision_recall(x, y), *density_coverage(x, y)]
    monkeypatch.setattr("betabloom.metrics.neighbours.BLOCK", 8)
    assert [*precision_recall(x, y), *density_coverage(x, y)] == whole


def test_leaving_groups_out_is_really_done():
    """The jackknife that works from kept neighbours, against one that measures each rest from scratch."""
    from betabloom.metrics import manifold

    x, y, k, seed = normal(60, 2, 1), normal(50, 2, 2, 0.8), 3, 4
    rng = np.random.default_rng(seed)
    group_x, group_y = (rng.permutation(np.arange(n) % manifold.GROUPS) for n in (60, 50))
    balls = manifold._balls(x, y, k, seed)
    for g in range(manifold.GROUPS):
        fewer_x, fewer_y = slowly(x[group_x != g], y, k), slowly(x, y[group_y != g], k)
        for place, estimate in ((0, balls.inside), (2, balls.density), (3, balls.coverage)):
            assert_allclose(estimate.without_centres[g], fewer_x[place], rtol=1e-6)
            assert_allclose(estimate.without_others[g], fewer_y[place], rtol=1e-6)


def test_intervals_are_about_as_wide_as_repetitions_differ():
    pairs = [(normal(200, 3, s), normal(150, 3, 9000 + s, 0.8)) for s in range(80)]
    results = [[*precision_recall(x, y, seed=1), *density_coverage(x, y, seed=1)] for x, y in pairs]
    for measures in zip(*results, strict=True):
        implied = np.mean([(m.high - m.low) / (2 * 2.262) for m in measures])
        spread = np.std([m.value for m in measures])
        assert 0.7 * spread < implied < 1.6 * spread, measures[0].name


def test_small_samples_are_named_and_too_small_ones_refused():
    assert "are few" in precision_recall(normal(20, 2, 0), normal(500, 2, 1))[0].warning
    assert precision_recall(normal(400, 2, 0), normal(500, 2, 1))[0].warning == ""
    with pytest.raises(UsageError, match="more than 5 pictures"):
        density_coverage(normal(5, 2, 0), normal(50, 2, 1))
