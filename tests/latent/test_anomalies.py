"""p-values are calibrated, areas under the curve are those of ranks, completions keep what is seen."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from betabloom.errors import UsageError
from betabloom.latent import anomaly_scores, auroc, inpaint, most_similar, p_values
from betabloom.model.model import load


def test_p_values_of_normal_pictures_are_uniform():
    rng = np.random.default_rng(0)
    p = p_values(rng.standard_normal(4000), rng.standard_normal(999))
    assert [(p <= level).mean() for level in (0.05, 0.25, 0.5)] == pytest.approx([0.05, 0.25, 0.5], abs=0.04)
    assert p_values(np.array([99.0]), rng.standard_normal(999))[0] == pytest.approx(1 / 1000)
    with pytest.raises(UsageError, match="At least 19 normal pictures"):
        p_values(np.zeros(1), np.zeros(18))


def test_the_area_under_the_curve_is_the_chance_to_score_higher():
    assert auroc(np.array([1.0, 2, 3]), np.array([4.0, 5]))[0] == 1
    assert auroc(np.array([1.0, 3]), np.array([2.0]))[0] == 0.5
    rng = np.random.default_rng(0)
    area, low, high = auroc(rng.standard_normal(2000), rng.standard_normal(2000) + 1)
    assert low < 0.7602 < high  # Φ(1/√2)
    assert high - low < 0.04
    assert area == pytest.approx(0.7602, abs=0.02)


def test_plain_pictures_of_another_kind_are_unusual_only_if_scores_are_corrected(space):
    rng = np.random.default_rng(0)
    discs = SimpleNamespace()
    discs.encode = lambda pictures: (np.zeros((len(pictures), 4)), np.zeros((len(pictures), 4)))
    discs.decode = lambda codes: np.full((len(codes), 32, 32, 3), 128, np.uint8)
    normal = rng.integers(100, 157, (20, 32, 32, 3), np.uint8)
    plain = np.full((20, 32, 32, 3), 128, np.uint8)
    areas = [
        auroc(*(anomaly_scores(discs, space, each, corrected=corrected) for each in (normal, plain)))[0]
        for corrected in (False, True)
    ]
    assert areas == [0, 1]


def test_completions_keep_what_is_seen_and_are_named_by_their_seed(small_store, tiny_model):
    model = load(tiny_model)
    picture = np.asarray(small_store.pictures[0])
    mask = np.zeros((16, 16), bool)
    mask[4:10, 4:10] = True
    made = inpaint(model, picture, mask, n=2, seed=3, steps=15)
    assert np.array_equal(made[:, ~mask], np.stack([picture[~mask]] * 2))
    assert np.array_equal(made, inpaint(model, picture, mask, n=2, seed=3, steps=15))
    assert not np.array_equal(made[0], made[1])


def test_similar_codes_point_the_same_way():
    codes = np.array([[1.0, 0], [2, 0.1], [0, 1], [-1, 0], [-2, -1.1]])
    places, cosines = most_similar(np.array([3.0, 0]), codes, 2)
    assert places.tolist() == [0, 1]
    assert cosines[0] > 0.9
    with pytest.raises(UsageError, match=r"Codes of shape \(N, 2\)"):
        most_similar(np.zeros(2), np.zeros((3, 4)))
