r"""Scores from predicting factors with models of the codes. Needs scikit-learn: `pip install 'betabloom[sklearn]'`.

| score | what it says | source |
|---|---|---|
| DCI disentanglement D | each dimension matters for one factor: 1 − entropy of a column of importances | [1] |
| DCI completeness C | each factor needs one dimension: 1 − entropy of a row of importances | [1] |
| DCI informativeness I | how well factors are predicted on other pictures: R², or accuracy beyond chance | [1] |
| DCI-ES explicitness E | how little capacity this takes: 1 − area under the loss–capacity curve | [2] |
| DCI-ES size S | k/l, factors for each dimension | [2] |
| SAP | gap between the two best dimensions, each alone predicting a factor linearly | [3] |
| explicitness | how well linear models of all dimensions predict the factors | [4] |

With importances R_ij ≥ 0 of dimension j for factor i, from random forests, P_ij = R_ij / Σ_i R_ij and
Q_ij = R_ij / Σ_j R_ij:

    D = Σ_j ρ_j (1 + Σ_i P_ij log_k P_ij),  ρ_j = Σ_i R_ij / Σ R      C = mean_i (1 + Σ_j Q_ij log_l Q_ij)

R is the importance that forests give times the part of the factor that they explain on other pictures, so that factors
of which a code knows nothing do not count; what is not better than chance is 0.

[1] Eastwood & Williams 2018, https://openreview.net/forum?id=By-7dz-AZ  [2] Eastwood et al. 2023, section 4,
https://arxiv.org/abs/2210.00364  [3] Kumar et al. 2018, section 3, https://arxiv.org/abs/1711.00848
[4] Ridgeway & Mozer 2018, section 2, https://arxiv.org/abs/1802.05312
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.errors import UsageError
from betabloom.metrics.disentanglement.factors import Sample, measured, sample_of, targets_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from betabloom.metrics.measure import Measure

    Array = NDArray[Any]

__all__ = [
    "dci",
    "ease",
    "ease_scores",
    "explicitness",
    "forest_scores",
    "linear_scores",
    "logistic",
    "logistic_information",
    "sap",
    "scaled",
]

TREES = 25
DEPTH = 12
FOREST_REPLICATES = 8
FEATURES = (0, 8, 32, 128, 512)  # random Fourier features beside the codes, in the probes of growing capacity


def dci(
    codes: Array, factors: Array, kinds: Sequence[str] | None = None, seed: int = 0
) -> tuple[Measure, Measure, Measure]:
    """Disentanglement, completeness and informativeness, each in [0, 1]: 1 at best, 0 for noise.

    Arguments:
        codes: (N, l).
        factors: (N, k).
        kinds: Of each factor; see `sample_of`.
        seed: Of the forests, of the pictures they are tested on, and of the halves that intervals are from.
    """
    d, c, i = measured(sample_of(codes, factors, kinds), forest_scores, seed, FOREST_REPLICATES)
    return d, c, i


def ease(codes: Array, factors: Array, kinds: Sequence[str] | None = None, seed: int = 0) -> tuple[Measure, Measure]:
    """The E and S of DCI-ES: explicitness, or ease of use, ≤ 1, and size k/l.

    Probes of growing capacity predict each factor: ridge regression of the codes, then with 8, 32, 128 and 512 random
    Fourier features more. With ℓ(κ) the loss on other pictures, the best so far, ℓ* the lowest, ℓ_b that of the mean,
    and log capacity between 0 and 1,

        E = mean_i 1 − ∫ (ℓ(κ) − ℓ*) dκ / (½ (ℓ_b − ℓ*)).

    1 says that linear models do as well as any; 0 that the loss falls evenly all the way. A factor that no probe
    predicts counts as 0. Arguments as of `dci`.
    """
    e, s = measured(sample_of(codes, factors, kinds), ease_scores, seed, FOREST_REPLICATES)
    return e, s


def sap(codes: Array, factors: Array, kinds: Sequence[str] | None = None, seed: int = 0) -> Measure:
    """Separated attribute predictability ∈ [0, 1].

    A dimension's score for a continuous, integer or circular factor is the squared correlation with it, for a discrete
    one the balanced accuracy of the nearest class mean, set between 0 for chance and 1. Arguments as of `dci`.
    """
    return measured(sample_of(codes, factors, kinds), lambda s, _: {"sap": _sap(s)}, seed)[0]


def explicitness(codes: Array, factors: Array, kinds: Sequence[str] | None = None, seed: int = 0) -> Measure:
    """How well linear models of all dimensions predict factors, in [0, 1]; rotations of the codes do not change it.

    R² for continuous, integer and circular factors; for discrete ones 2 AUC − 1 of logistic regression, one class
    against the rest, as the paper has it. All on pictures that were not fitted. Arguments as of `dci`.
    """
    return measured(sample_of(codes, factors, kinds), lambda s, r: {"explicitness": _explicit(s, r)}, seed)[0]


def linear_scores(sample: Sample, seed: int = 0) -> dict[str, float]:
    """SAP and explicitness at once."""
    return {"sap": _sap(sample), "explicitness": _explicit(sample, seed)}


def forest_scores(sample: Sample, seed: int = 0) -> dict[str, float]:
    """D, C and I of DCI at once."""
    importance, explained = _importances(sample, seed)
    weighted = importance * explained[:, None]
    columns, total = weighted.sum(0), weighted.sum()
    if not total:
        return {"dci_disentanglement": 0.0, "dci_completeness": 0.0, "dci_informativeness": 0.0}
    disentangled = 1 - _entropies(weighted.T, len(weighted))
    complete = np.where(explained > 0, 1 - _entropies(weighted, weighted.shape[1]), 0.0)
    return {
        "dci_disentanglement": float((disentangled * columns).sum() / total),
        "dci_completeness": float(complete.mean()),
        "dci_informativeness": float(explained.mean()),
    }


def _entropies(rows: Array, base: int) -> Array:
    """Entropy of every row, set to sum 1, with logarithms to the base of its length; 0 where a row is 0 or short."""
    share = rows / np.maximum(rows.sum(1, keepdims=True), 1e-300)
    logs = np.log(np.where(share > 0, share, 1.0))
    return np.asarray(-(share * logs).sum(1) / np.log(max(base, 2)))


def _importances(sample: Sample, seed: int) -> tuple[Array, Array]:
    """Importances (k, l), each row of sum 1, and the part of each factor (k,) that is predicted on other pictures."""
    ensemble = _sklearn("ensemble")
    train, test = _halves(len(sample.codes), seed, 0.75)
    rows, explained = [], []
    for values, kind in zip(sample.factors.T, sample.kinds, strict=True):
        discrete = kind == "discrete"
        make = ensemble.RandomForestClassifier if discrete else ensemble.RandomForestRegressor
        forest = make(TREES, max_depth=DEPTH, min_samples_leaf=2, max_features=None, random_state=seed, n_jobs=1)
        target = values if discrete else targets_of(values, kind)
        target = target[:, 0] if target.ndim == 2 and target.shape[1] == 1 else target
        forest.fit(sample.codes[train], target[train])
        guess = forest.predict(sample.codes[test])
        score = _accuracy(guess, values[test]) if discrete else _determination(guess, target[test])
        explained.append(score if score > 2 / np.sqrt(len(test)) else 0.0)  # what noise reaches
        rows.append(forest.feature_importances_)
    return np.array(rows), np.array(explained)


def _halves(n: int, seed: int, share: float) -> tuple[Array, Array]:
    """Rows to fit on, and rows to test on."""
    order = np.random.default_rng([seed, n, 7]).permutation(n)
    return order[: int(share * n)], order[int(share * n) :]


def _accuracy(guess: Array, truth: Array) -> float:
    """Accuracy set between 0 for the most frequent class and 1."""
    chance = np.unique(truth, return_counts=True)[1].max() / len(truth)
    return float(max((np.mean(guess == truth) - chance) / max(1 - chance, 1e-12), 0.0))


def _determination(guess: Array, truth: Array) -> float:
    """R² ≥ 0 of predictions of shape (M,) or (M, c)."""
    total = np.square(truth - truth.mean(0)).sum()
    return float(max(1 - np.square(guess - truth).sum() / total, 0.0)) if total > 0 else 0.0


def ease_scores(sample: Sample, seed: int = 0) -> dict[str, float]:
    """E and S of DCI-ES at once."""
    scores = [
        _explicit_use(sample.codes, each, kind, seed) for each, kind in zip(sample.factors.T, sample.kinds, strict=True)
    ]
    return {
        "dci_es_explicitness": float(np.mean(scores)),
        "dci_es_size": sample.factors.shape[1] / sample.codes.shape[1],
    }


def _explicit_use(codes: Array, values: Array, kind: str, seed: int) -> float:
    """E of one factor, from the losses of probes of growing capacity."""
    train, test = _halves(len(codes), seed, 0.75)
    targets = np.eye(int(values.max()) + 1)[values.astype(int)] if kind == "discrete" else targets_of(values, kind)
    targets = targets - targets[train].mean(0)
    standard = scaled(codes)
    losses = [_ridge_loss(_lifted(standard, count, seed), targets, train, test) for count in FEATURES]
    best = np.minimum.accumulate(losses)
    base, lowest = float(np.square(targets[test]).mean()), float(best[-1])
    if base - lowest < 2 / np.sqrt(len(test)) * base:
        return 0.0
    capacity = np.log([codes.shape[1] + count for count in FEATURES])
    capacity = (capacity - capacity[0]) / (capacity[-1] - capacity[0])
    return float(1 - np.trapezoid(best - lowest, capacity) / (0.5 * (base - lowest)))


def _lifted(codes: Array, count: int, seed: int) -> Array:
    """Codes (N, l) with `count` random Fourier features of width √l beside them."""
    rng = np.random.default_rng([seed, count])
    waves = codes @ (rng.standard_normal((codes.shape[1], count)) / np.sqrt(codes.shape[1]))
    return np.column_stack([codes, np.sqrt(2) * np.cos(waves + rng.uniform(0, 2 * np.pi, count)), np.ones(len(codes))])


def _ridge_loss(features: Array, targets: Array, train: Array, test: Array) -> float:
    """Lowest squared error on the rows `test` of ridge regressions of different strength."""
    x, y = features[train], targets[train]
    values, vectors = np.linalg.eigh(x.T @ x)
    inside, outside = vectors.T @ (x.T @ y), features[test] @ vectors
    errors = []
    for strength in (1e-3, 1e-1, 1.0, 10.0, 100.0):
        guess = outside @ (inside / (np.maximum(values, 0) + strength)[:, None])
        errors.append(float(np.square(guess - targets[test]).mean()))
    return min(errors)


def _sap(sample: Sample) -> float:
    scores = [
        [_nearest_mean(code, values) if kind == "discrete" else _correlation(code, values) for code in sample.codes.T]
        for values, kind in zip(sample.factors.T, sample.kinds, strict=True)
    ]
    ordered = np.sort(np.pad(np.array(scores), ((0, 0), (1, 0))), 1)
    return float((ordered[:, -1] - ordered[:, -2]).mean())


def _correlation(a: Array, b: Array) -> float:
    """Squared correlation of two columns (N,), less what chance gives; 0 if one is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    r = float(np.corrcoef(a, b)[0, 1])
    return max(1 - (1 - r * r) * (len(a) - 1) / (len(a) - 2), 0.0)


def _nearest_mean(code: Array, values: Array) -> float:
    """Balanced accuracy of telling classes by the nearest of their mean codes, between 0 for chance and 1."""
    classes, index = np.unique(values, return_inverse=True)
    means = np.array([code[index == c].mean() for c in range(len(classes))])
    guess = np.abs(code[:, None] - means).argmin(1)
    accuracy = np.mean([(guess[index == c] == c).mean() for c in range(len(classes))])
    return float(max((accuracy - 1 / len(classes)) / (1 - 1 / len(classes)), 0.0))


def _explicit(sample: Sample, seed: int) -> float:
    train, test = _halves(len(sample.codes), seed, 0.75)
    scores = []
    for values, kind in zip(sample.factors.T, sample.kinds, strict=True):
        if kind == "discrete":
            scores.append(_auc(sample.codes, values, train, test))
            continue
        targets = targets_of(values, kind)
        design = np.column_stack([sample.codes, np.ones(len(targets))])
        weights = np.linalg.lstsq(design[train], targets[train], rcond=None)[0]
        scores.append(_determination(design[test] @ weights, targets[test]))
    return float(np.mean(scores))


def _auc(codes: Array, values: Array, train: Array, test: Array) -> float:
    """Mean over classes of 2 AUC − 1 of logistic regression, ≥ 0."""
    metrics = _sklearn("metrics")
    model = logistic(codes[train], values[train])
    chance = model.predict_proba(scaled(codes)[test])
    aucs = [
        metrics.roc_auc_score(values[test] == each, chance[:, column])
        for column, each in enumerate(model.classes_)
        if 0 < (values[test] == each).sum() < len(test)
    ]
    return float(max(2 * np.mean(aucs) - 1, 0.0))


def logistic_information(codes: Array, values: Array) -> float:
    """1 − cross-entropy / entropy, in nats, of logistic regression of a discrete factor (N,) on codes (N, l)."""
    train, test = _halves(len(codes), 0, 0.75)
    model = logistic(codes[train], values[train])
    chance = model.predict_proba(scaled(codes)[test])
    known = np.isin(values[test], model.classes_)
    column = np.searchsorted(model.classes_, values[test][known])
    loss = -np.log(np.maximum(chance[known, column], 1e-12)).mean()
    share = np.unique(values[test], return_counts=True)[1] / len(test)
    return float(max(1 - loss / -(share * np.log(share)).sum(), 0.0))


def logistic(codes: Array, values: Array) -> Any:
    """Logistic regression of classes (N,) on codes (N, l) that it scales; hardly regularised."""
    model = _sklearn("linear_model").LogisticRegression(C=1e3, max_iter=500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one that has not converged is as good as it is
        return model.fit(scaled(codes), values)


def scaled(codes: Array) -> Array:
    """Codes (N, l) with mean 0 and standard deviation 1 in every dimension that varies."""
    spread = codes.std(0)
    return np.asarray((codes - codes.mean(0)) / np.where(spread > 0, spread, 1))


def _sklearn(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"sklearn.{module}")
    except ImportError as error:
        raise UsageError("This measure needs scikit-learn: pip install 'betabloom[sklearn]'") from error
