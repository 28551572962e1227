r"""Scores from what happens to codes when one factor is held fixed, or all others change.

Pictures that share a factor are found among those given: the same value of a discrete factor, the same tenth of a
continuous one. Where the papers give an accuracy a of recognising one of k factors, the value here is
s = (a − 1/k) / (1 − 1/k), so that guessing scores 0; a = s (1 − 1/k) + 1/k compares with published ones.

[1] https://arxiv.org/abs/1802.05983  [2] https://openreview.net/forum?id=Sy2fzU9gl  [3] https://arxiv.org/abs/1811.00007

| score | what it says | source |
|---|---|---|
| FactorVAE | a factor is fixed: does the dimension that varies least tell which? | Kim & Mnih 2018, section 4 [1] |
| β-VAE | pairs share a factor: do mean differences of codes tell which? | Higgins et al. 2017, section 3 [2] |
| IRS | a factor is fixed, others change: does its dimension stay? | Suter et al. 2019, section 4 [3] |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.metrics.disentanglement.factors import Sample, classes_of, measured, sample_of
from betabloom.metrics.disentanglement.predictors import logistic, scaled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from betabloom.metrics.measure import Measure

    Array = NDArray[Any]

__all__ = ["beta_vae_score", "factor_vae_score", "intervention_scores", "interventional_robustness"]

VOTES = 800  # groups of pictures that share a factor, to learn from and as many to test on
GROUP = 32  # pictures, or pairs, in a group
COLLAPSED = 0.05  # a dimension with less of the largest standard deviation does not vote
QUANTILE = 99  # per cent; the largest deviation but for outliers, as the authors' code takes it


def factor_vae_score(codes: Array, factors: Array, kinds: Sequence[str] | None = None, seed: int = 0) -> Measure:
    """FactorVAE score ∈ [0, 1]: votes of the dimension that varies least. Arguments as of `beta_vae_score`."""
    return measured(sample_of(codes, factors, kinds), lambda s, r: {"factor_vae": _factor_vae(s, r)}, seed)[0]


def beta_vae_score(codes: Array, factors: Array, kinds: Sequence[str] | None = None, seed: int = 0) -> Measure:
    """β-VAE score ∈ [0, 1] by logistic regression (needs scikit-learn); rotated codes can score as well as others.

    Arguments:
        codes: (N, l).
        factors: (N, k).
        kinds: Of each factor; see `sample_of`.
        seed: Of the groups, and of the halves of the pictures that intervals are from.
    """
    return measured(sample_of(codes, factors, kinds), lambda s, r: {"beta_vae": _beta_vae(s, r)}, seed)[0]


def interventional_robustness(
    codes: Array, factors: Array, kinds: Sequence[str] | None = None, seed: int = 0
) -> Measure:
    """Interventional robustness score (IRS) ∈ [0, 1].

    For dimension j and factor i, e_ij is the mean over values of i of the largest deviation from the mean code of
    pictures with that value, relative to the largest deviation of all. IRS = Σ_j w_j max_i (1 − e_ij), weighted by
    these largest deviations. Tenths of a continuous factor leave a perfect code a score of 0.9. Arguments as of
    `beta_vae_score`.
    """
    return measured(sample_of(codes, factors, kinds), lambda s, _: {"irs": _irs(s)}, seed)[0]


def intervention_scores(sample: Sample, seed: int = 0) -> dict[str, float]:
    """All scores of this module at once."""
    return {"factor_vae": _factor_vae(sample, seed), "beta_vae": _beta_vae(sample, seed), "irs": _irs(sample)}


def _groups(sample: Sample, votes: int, size: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Groups of pictures (votes, size) that share a factor, and which (votes,)."""
    classes = [classes_of(column) for column in sample.factors.T]
    members = [[np.flatnonzero(each == c) for c in range(each.max() + 1)] for each in classes]
    shared = rng.integers(len(classes), size=votes)
    rows = np.empty((votes, size), np.int64)
    for row, factor in zip(rows, shared, strict=True):
        chosen = classes[factor][rng.integers(len(sample.codes))]
        row[:] = rng.choice(members[factor][chosen], size)
    return rows, shared


def _factor_vae(sample: Sample, seed: int) -> float:
    spread = sample.codes.std(0)
    alive = spread > COLLAPSED * spread.max(initial=0.0)
    if not alive.any():
        return 0.0
    codes = sample.codes[:, alive] / spread[alive]
    rows, shared = _groups(sample, 2 * VOTES, GROUP, np.random.default_rng([seed, 1]))
    least = codes[rows].var(1).argmin(1)
    table = np.zeros((codes.shape[1], sample.factors.shape[1]))
    np.add.at(table, (least[:VOTES], shared[:VOTES]), 1)
    return _beyond_chance(table.argmax(1)[least[VOTES:]], shared[VOTES:], table.shape[1])


def _beta_vae(sample: Sample, seed: int) -> float:
    rows, shared = _groups(sample, 2 * VOTES, 2 * GROUP, np.random.default_rng([seed, 2]))
    codes = scaled(sample.codes)
    differences = scaled(np.abs(codes[rows[:, :GROUP]] - codes[rows[:, GROUP:]]).mean(1))
    model = logistic(differences[:VOTES], shared[:VOTES])
    return _beyond_chance(model.predict(differences[VOTES:]), shared[VOTES:], sample.factors.shape[1])


def _beyond_chance(guess: Array, truth: Array, classes: int) -> float:
    """Accuracy, set between 0 for guessing among the classes and 1."""
    return float(max((np.mean(guess == truth) - 1 / classes) / (1 - 1 / classes), 0.0))


def _irs(sample: Sample) -> float:
    codes = sample.codes
    widest = np.percentile(np.abs(codes - codes.mean(0)), QUANTILE, axis=0)
    if not widest.any():
        return 0.0
    scores = []
    for column in sample.factors.T:
        classes = classes_of(column)
        groups = [codes[classes == c] for c in range(classes.max() + 1)]
        moved = [np.percentile(np.abs(group - group.mean(0)), QUANTILE, axis=0) for group in groups]
        scores.append(1 - np.mean(moved, axis=0) / np.where(widest > 0, widest, 1))
    return float(np.average(np.maximum(np.max(scores, axis=0), 0), weights=widest))
