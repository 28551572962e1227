"""Laws of the scores of disentanglement: 1 for a perfect code, 0 for noise, blind to order, lower when turned."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from betabloom.data.sources.drawn import FACTORS, pictures_with_factors, sample_factors
from betabloom.errors import UsageError
from betabloom.metrics import disentanglement as d
from betabloom.metrics.disentanglement import scores as all_scores
from betabloom.metrics.disentanglement.factors import classes_of, measured, sample_of
from betabloom.metrics.disentanglement.interventions import intervention_scores
from betabloom.metrics.disentanglement.mutual import mutual_scores
from betabloom.metrics.disentanglement.predictors import ease_scores, forest_scores, linear_scores

pytest.importorskip("sklearn")

N = 900
KINDS = ("continuous", "integer", "discrete", "continuous")
ALIGNED = ("mig", "mig_sup", "modularity", "infom", "infoc", "sap", "dci_disentanglement", "dci_completeness",
           "factor_vae", "beta_vae", "irs")  # fmt: skip
READ = ("infoe", "explicitness", "dci_es_explicitness")  # a linear map of the codes does not change them


def factors(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.random(N), rng.integers(0, 8, N), rng.integers(0, 2, N), rng.random(N)])


def standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(0)) / values.std(0)


def scores(codes: np.ndarray) -> dict[str, float]:
    sample = sample_of(codes, factors(), KINDS)
    together = (mutual_scores, linear_scores, forest_scores, ease_scores, intervention_scores)
    return {name: value for each in together for name, value in each(sample, 0).items()}


@pytest.fixture(scope="module")
def perfect() -> dict[str, float]:
    return scores(standard(factors()))


def turned(codes: np.ndarray) -> np.ndarray:
    half = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2  # mixes all alike
    return codes @ half


def test_a_perfect_code_scores_1(perfect: dict[str, float]) -> None:
    lowest = {"irs": 0.9, "sap": 0.95, "dci_informativeness": 0.98, "infoe": 0.98, "dci_es_explicitness": 0.95}
    for name, value in perfect.items():
        assert lowest.get(name, 0.99) <= value <= 1 + 1e-9, name


def test_noise_scores_0_and_so_does_a_constant() -> None:
    for codes in (np.random.default_rng(1).standard_normal((N, 4)), np.zeros((N, 4))):
        for name, value in scores(codes).items():
            assert value == 1 if name == "dci_es_size" else 0 <= value < 0.12, name


def test_the_order_sign_and_scale_of_dimensions_do_not_matter(perfect: dict[str, float]) -> None:
    changed = scores(standard(factors())[:, [2, 0, 3, 1]] * [-1, 1, -1, 1])
    for name, value in changed.items():
        assert_allclose(value, perfect[name], atol=0.02, err_msg=name)


def test_turning_the_codes_lowers_what_compares_dimensions_and_nothing_else(perfect: dict[str, float]) -> None:
    found = scores(turned(standard(factors())))
    for name in ALIGNED:
        assert found[name] < perfect[name] - (0.02 if name == "modularity" else 0.1), name
    for name in READ:
        assert_allclose(found[name], perfect[name], atol=0.05, err_msg=name)
    assert found["mig"] < 0.15


def test_dimensions_that_say_the_same_cost_completeness_alone(perfect: dict[str, float]) -> None:
    twice = scores(np.tile(standard(factors()), 2))
    assert twice["mig"] == twice["sap"] == 0
    assert_allclose([twice["mig_sup"], twice["infom"]], 1, atol=1e-9)
    assert_allclose(twice["infoc"], (1 / 2 - 1 / 8) / (1 - 1 / 8), atol=0.01)
    assert twice["dci_completeness"] < 0.9 < twice["dci_disentanglement"]
    assert twice["dci_es_size"] == perfect["dci_es_size"] / 2


def test_one_dimension_for_two_factors_costs_modularity_alone() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, 4000), rng.integers(0, 4, 4000)
    both, each = (4.0 * a + b)[:, None], np.column_stack([a, b]).astype(float)
    told = d.normalised_information(both, each)
    assert_allclose(told, 1, atol=1e-9)  # 16 classes of the code tell both factors whole
    sample = sample_of(both, each)
    assert_allclose(mutual_scores(sample)["modularity"], 0, atol=1e-3)
    assert_allclose(mutual_scores(sample)["infom"], 0, atol=1e-3)
    assert_allclose(mutual_scores(sample)["mig"], 1, atol=1e-9)


def test_information_of_a_noisy_channel_has_a_closed_form() -> None:
    rng = np.random.default_rng(4)
    bit, other = rng.integers(0, 2, 20_000), rng.integers(0, 2, 20_000)
    seen = bit ^ (rng.random(20_000) < 0.11)
    told = d.normalised_information(seen[:, None], np.column_stack([bit, other]))
    assert_allclose(told[0, 0], 0.5, atol=0.02)  # 1 − h₂(0.11) bits of one
    assert told[1, 0] == 0


def test_information_agrees_with_scikit_learn() -> None:
    from sklearn.feature_selection import mutual_info_classif

    values = factors()
    codes = turned(standard(values))
    ours = d.normalised_information(codes, values, KINDS)
    for row, column in zip(ours, values.T, strict=True):
        classes = classes_of(column)
        counts = np.bincount(classes) / N
        theirs = mutual_info_classif(codes, classes, n_neighbors=10, random_state=0) / -(counts * np.log(counts)).sum()
        assert_allclose(row, theirs, atol=0.08)


def test_circular_factors_are_read_from_two_dimensions() -> None:
    rng = np.random.default_rng(5)
    hue, other = rng.random(N), rng.random(N)
    codes = np.column_stack([np.cos(2 * np.pi * hue), np.sin(2 * np.pi * hue), other])
    values = np.column_stack([hue, other])
    round_ = sample_of(codes, values, ("circular", "continuous"))
    straight = sample_of(codes, values, ("continuous", "continuous"))
    assert linear_scores(round_)["explicitness"] > 0.99 > 0.9 > linear_scores(straight)["explicitness"]
    assert forest_scores(round_)["dci_disentanglement"] > 0.98


def test_a_curved_code_is_informative_and_not_easy_to_use() -> None:
    values = factors()
    bent = standard(values).copy()
    bent[:, 3] = np.sin(25 * values[:, 3])  # the last factor can hardly be read from it
    bent[:, 0] = (values[:, 0] - 0.5) ** 2 * np.sign(np.sin(40 * values[:, 0]))
    found = ease_scores(sample_of(bent, values, KINDS))
    assert found["dci_es_explicitness"] < 0.9


def test_intervals_hold_what_other_samples_show() -> None:
    def one(seed: int) -> tuple[float, tuple[float, float]]:
        rng = np.random.default_rng(seed)
        values = rng.random((400, 2))
        found = d.mig(values + 0.15 * rng.standard_normal((400, 2)), values, seed=seed)
        return found.value, (found.low, found.high)

    found = [one(seed) for seed in range(30)]
    truth = np.mean([value for value, _ in found])
    assert np.mean([low <= truth <= high for _, (low, high) in found]) > 0.8
    assert 0.25 < truth < 0.9
    assert np.mean([high - low for _, (low, high) in found]) < 0.2


def test_the_same_seed_gives_the_same_numbers(monkeypatch) -> None:
    monkeypatch.setattr(all_scores, "FOREST_REPLICATES", 4)
    values = factors()[:200]
    first, second = (d.disentanglement_scores(standard(values), values, KINDS, seed=3, quick=True) for _ in range(2))
    assert first == second
    assert {*ALIGNED, *READ} <= first.keys()
    assert all(each.low <= each.value <= each.high and each.seed == 3 for each in first.values())
    assert "few" in first["mig"].warning


def test_classes_are_equally_large_and_equal_values_stay_together() -> None:
    assert_allclose(np.bincount(classes_of(np.random.default_rng(0).standard_normal(1000), 10)), 100)
    assert set(classes_of(np.array([5.0, 5, 7, 5]), 10)) == {0, 1}
    heap = classes_of(np.concatenate([np.zeros(500), np.arange(1.0, 501)]), 10)
    assert len(set(heap[:500])) == 1
    assert len(set(heap[500:])) == 5


def test_drawn_flowers_come_with_their_factors() -> None:
    pictures, values = pictures_with_factors(60, seed=2, size=16)
    assert pictures.shape == (60, 16, 16, 3)
    assert pictures.dtype == np.uint8
    assert np.array_equal(values, sample_factors(60, seed=2))
    kinds = [factor.kind for factor in FACTORS]
    many = sample_factors(600, seed=2)
    assert mutual_scores(sample_of(standard(many), many, kinds))["infoc"] > 0.99


@pytest.mark.parametrize(
    ("codes", "values", "kinds", "message"),
    [
        (np.zeros((60, 2)), np.zeros((59, 2)), None, "must be of shapes"),
        (np.zeros((20, 2)), np.zeros((20, 2)), None, "At least 50 pictures"),
        (np.full((60, 2), np.nan), np.zeros((60, 2)), None, "not finite"),
        (np.zeros((60, 2)), np.zeros((60, 2)), None, "two factors must vary"),
        (np.zeros((60, 2)), np.random.default_rng(0).random((60, 2)), ["round", "continuous"], "'kinds' needs"),
    ],
)
def test_wrong_use_is_explained(codes, values, kinds, message) -> None:
    with pytest.raises(UsageError, match=message):
        d.mig(codes, values, kinds)


def test_without_scikit_learn_what_to_install_is_said(monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    values = factors()
    with pytest.raises(UsageError, match=r"pip install 'betabloom\[sklearn\]'"):
        measured(sample_of(values, values), forest_scores, 0, 2)
