r"""Scores from the mutual information of every code dimension with every factor.

With I(z_j; v_i) the mutual information and H(v_i) the entropy, n_ij = I(z_j; v_i) / H(v_i) ∈ [0, 1] is the part of
factor i that dimension j tells. A perfect code has one dimension for each factor, and n is a permutation.

| score | formula | source |
|---|---|---|
| MIG | mean_i (largest − second largest n_i·) | Chen et al. 2018, section 4.1 [1] |
| MIG-sup | mean_j (largest − second largest n_·j), over informative dimensions | Li et al. 2020, section 3.2 [2] |
| InfoM | (mean_j max_i n_ij / Σ_i n_ij − 1/k) / (1 − 1/k) | Hsu et al. 2023, section 4 [3] |
| InfoC | (mean_i max_j n_ij / Σ_j n_ij − 1/l) / (1 − 1/l), over l active dimensions | [3] |
| InfoE | mean_i of the part of the uncertainty about v_i that a linear predictor removes | [3] |
| modularity | 1 − mean_j Σ_{i ≠ i*} I_ij² / (I_i*j² (k − 1)), i* the best factor of j | Ridgeway & Mozer 2018 [4] |

Information is counted with codes in 20 classes of equal size and continuous factors in 10, so that no monotone change
of scale moves it, with the correction of Miller & Madow for finite samples. Information that independent columns would
show once in a thousand samples (χ² test) counts as 0. So noise scores 0, and a dimension without information divides
nothing by nothing.

[1] https://arxiv.org/abs/1802.04942  [2] https://openreview.net/forum?id=HJxJ2h4tPr  [3] https://arxiv.org/abs/2305.18378
[4] https://arxiv.org/abs/1802.05312
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.metrics.disentanglement.factors import CLASSES, Sample, classes_of, measured, sample_of, targets_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from betabloom.metrics.measure import Measure

    Array = NDArray[Any]

__all__ = ["active_dimensions", "infomec", "mig", "mig_sup", "modularity", "mutual_scores", "normalised_information"]

CODE_CLASSES = 2 * CLASSES
ACTIVE = 1 / 20  # range of a dimension relative to the largest, below which InfoMEC leaves it out


def mig(codes: Array, factors: Array, kinds: Sequence[str] | None = None, seed: int = 0) -> Measure:
    """Mutual information gap ∈ [0, 1]: is each factor in one dimension alone? Arguments as of `sample_of`."""
    return measured(sample_of(codes, factors, kinds), lambda s, _: {"mig": _mig(_normalised(s))}, seed)[0]


def mig_sup(codes: Array, factors: Array, kinds: Sequence[str] | None = None, seed: int = 0) -> Measure:
    """The gap the other way round, ∈ [0, 1]: does each dimension tell of one factor alone? Arguments as of `mig`."""
    return measured(sample_of(codes, factors, kinds), lambda s, _: {"mig_sup": _mig(_normalised(s).T, True)}, seed)[0]


def modularity(codes: Array, factors: Array, kinds: Sequence[str] | None = None, seed: int = 0) -> Measure:
    """Modularity ∈ [0, 1]: 1 if each dimension tells of one factor, 0 if of all alike. Arguments as of `mig`."""
    statistic = lambda s, _: {"modularity": _modularity(_information(s)[0])}  # noqa: E731
    return measured(sample_of(codes, factors, kinds), statistic, seed)[0]


def infomec(
    codes: Array, factors: Array, kinds: Sequence[str] | None = None, seed: int = 0
) -> tuple[Measure, Measure, Measure]:
    """InfoM (modularity), InfoC (compactness) and InfoE (explicitness), each 1 at best and 0 for noise.

    Arguments:
        codes: (N, l).
        factors: (N, k).
        kinds: Of each factor; see `sample_of`.
        seed: Of the halves of the pictures that intervals are from.
    """
    infom, infoc, infoe = measured(sample_of(codes, factors, kinds), lambda s, _: _infomec(s, _normalised(s)), seed)
    return infom, infoc, infoe


def mutual_scores(sample: Sample, seed: int = 0) -> dict[str, float]:
    """All scores of this module at once."""
    information, entropy = _information(sample)
    normalised = information / entropy[:, None]
    scores = {"mig": _mig(normalised), "mig_sup": _mig(normalised.T, True), "modularity": _modularity(information)}
    return scores | _infomec(sample, normalised)


def normalised_information(codes: Array, factors: Array, kinds: Sequence[str] | None = None) -> Array:
    """The matrix n_ij = I(z_j; v_i) / H(v_i) ∈ [0, 1], shape (k, l). Arguments as of `mig`."""
    return _normalised(sample_of(codes, factors, kinds))


def active_dimensions(codes: Array) -> Array:
    """Which dimensions of codes (N, l) have a range above 1/20 of the largest: bool (l,)."""
    spans = np.ptp(codes, axis=0)
    return np.asarray(spans > ACTIVE * spans.max(initial=0.0))


def _normalised(sample: Sample) -> Array:
    information, entropy = _information(sample)
    return np.asarray(information / entropy[:, None])


def _information(sample: Sample) -> tuple[Array, Array]:
    """I(z_j; v_i) (k, l) and H(v_i) (k,) in nats."""
    codes = [classes_of(column, CODE_CLASSES) for column in sample.codes.T]
    factors = [classes_of(column) for column in sample.factors.T]
    entropy = np.array([_entropy(np.bincount(each)) for each in factors])
    information = np.array([[_mutual(code, factor) for code in codes] for factor in factors])
    return np.minimum(information, entropy[:, None]), entropy


def _mutual(a: Array, b: Array) -> float:
    """Mutual information in nats of two rows of classes (N,); 0 if independence is not refuted."""
    from scipy.special import chdtri

    table = np.bincount(a * (b.max() + 1) + b, minlength=(a.max() + 1) * (b.max() + 1)).reshape(-1, b.max() + 1)
    rows, columns = table.sum(1), table.sum(0)
    degrees = (len(rows) - 1) * (len(columns) - 1)
    plain = sum(_entropy(each, corrected=False) for each in (rows, columns)) - _entropy(table.ravel(), corrected=False)
    if degrees == 0 or 2 * len(a) * plain < chdtri(degrees, 0.001):
        return 0.0
    return max(_entropy(rows) + _entropy(columns) - _entropy(table.ravel()), 0.0)


def _entropy(counts: Array, corrected: bool = True) -> float:
    """Entropy in nats from counts: −Σ p log p, plus (classes − 1)/2N for what a sample misses (Miller & Madow 1955)."""
    counts = counts[counts > 0]
    total = counts.sum()
    share = counts / total
    return float(-(share * np.log(share)).sum() + corrected * (len(counts) - 1) / (2 * total))


def _mig(matrix: Array, informative: bool = False) -> float:
    """Mean gap between the two largest numbers of each row; with `informative`, of rows that are not all 0."""
    if informative:
        matrix = matrix[matrix.max(1) > 0]
    if not matrix.size:
        return 0.0
    ordered = np.sort(np.pad(matrix, ((0, 0), (1, 0))), 1)  # a single number has the gap to nothing
    return float((ordered[:, -1] - ordered[:, -2]).mean())


def _modularity(information: Array) -> float:
    told = information[:, information.max(0) > 0]
    if not told.size:
        return 0.0
    squares = (told / told.max(0)) ** 2
    return float(1 - ((squares.sum(0) - 1) / (len(squares) - 1)).mean())


def _infomec(sample: Sample, normalised: Array) -> dict[str, float]:
    pruned = normalised[:, active_dimensions(sample.codes)]
    infom = _concentration(pruned[:, pruned.max(0, initial=0.0) > 0].T, len(pruned))
    infoc = _concentration(pruned[pruned.max(1, initial=0.0) > 0], pruned.shape[1], len(pruned))
    removed = [_linear(sample.codes, column, kind) for column, kind in zip(sample.factors.T, sample.kinds, strict=True)]
    return {"infom": infom, "infoc": infoc, "infoe": float(np.mean(removed))}


def _concentration(rows: Array, parts: int, counted: int = 0) -> float:
    """Mean of largest/sum over rows: 0 for `parts` equal numbers, 1 for a single one; missing rows count as 0."""
    if not rows.size or parts < 2:
        return float(bool(rows.size))
    scores = (rows.max(1) / rows.sum(1) - 1 / parts) / (1 - 1 / parts)
    return float(scores.sum() / max(counted, len(rows)))


def _linear(codes: Array, values: Array, kind: str) -> float:
    """The part of the uncertainty about a factor that a linear predictor of all dimensions removes, in [0, 1].

    Continuous, integer and circular factors: R² of least squares, adjusted for the number of dimensions. Discrete ones:
    1 − cross-entropy / entropy of logistic regression (needs scikit-learn).
    """
    if kind == "discrete":
        from betabloom.metrics.disentanglement.predictors import logistic_information

        return logistic_information(codes, values)
    targets, n = targets_of(values, kind), len(codes)
    design = np.column_stack([codes - codes.mean(0), np.ones(n)])
    rest = targets - design @ np.linalg.lstsq(design, targets, rcond=None)[0]
    degrees = max(n - design.shape[1], 1)
    return float(max(1 - (np.square(rest).sum() / degrees) / (np.square(targets).sum() / (n - 1)), 0.0))
