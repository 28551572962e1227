"""What all measures of disentanglement share: checked codes and factors, classes, and intervals from half-samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.errors import UsageError
from betabloom.metrics.measure import Measure, interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["KINDS", "REPLICATES", "Sample", "classes_of", "measured", "sample_of", "targets_of"]

KINDS = ("discrete", "integer", "continuous", "circular")
FEWEST = 50  # pictures
CLASSES = 10  # that a continuous factor is cut into, with equally many pictures in each
REPLICATES = 20  # half-samples that an interval is from


@dataclass(frozen=True)
class Sample:
    """Pictures whose causes are known.

    Attributes:
        codes: float64 (N, l), one row a picture.
        factors: float64 (N, k), one column a cause that varies.
        kinds: What each factor is: "discrete" (classes without order), "integer", "continuous", or "circular" (in
            [0, 1), where 0 and 1 are the same).
    """

    codes: Array
    factors: Array
    kinds: tuple[str, ...]

    def rows(self, rows: Array) -> Sample:
        """The same of some of the pictures."""
        return Sample(self.codes[rows], self.factors[rows], self.kinds)


def sample_of(codes: Array, factors: Array, kinds: Sequence[str] | None = None) -> Sample:
    """Check codes (N, l) and factors (N, k), and leave out factors that do not vary.

    Arguments:
        codes: One code a picture; posterior means as a rule.
        factors: What caused the picture, a column a factor.
        kinds: Of each factor, of `KINDS`; if None, whole numbers with at most 20 values are "integer", others
            "continuous".

    Raises:
        UsageError: The arrays do not belong together, are too few, or hold values that are not finite.
    """
    codes, factors = np.asarray(codes, np.float64), np.asarray(factors, np.float64)
    if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors):
        raise UsageError(f"Codes {codes.shape} and factors {factors.shape} must be of shapes (N, l) and (N, k).")
    if len(codes) < FEWEST:
        raise UsageError(f"At least {FEWEST} pictures are needed, not {len(codes)}.")
    if not (np.isfinite(codes).all() and np.isfinite(factors).all()):
        raise UsageError("Codes or factors are not finite: they contain NaN or infinite values.")
    kinds = tuple(kinds) if kinds is not None else tuple(map(_kind, factors.T))
    if len(kinds) != factors.shape[1] or not set(kinds) <= set(KINDS):
        raise UsageError(
            f"'kinds' needs one of {', '.join(KINDS)} for each of {factors.shape[1]} factors, not {kinds}."
        )
    vary = [column for column in range(factors.shape[1]) if np.ptp(factors[:, column]) > 0]
    if len(vary) < 2:
        raise UsageError("At least two factors must vary; with fewer there is nothing to disentangle.")
    return Sample(codes, factors[:, vary], tuple(kinds[column] for column in vary))


def _kind(column: Array) -> str:
    return "integer" if len(np.unique(column)) <= 20 and (column == np.round(column)).all() else "continuous"


def classes_of(values: Array, most: int = CLASSES) -> NDArray[np.int64]:
    """Class 0, 1, … of each of the values (N,): their ranks cut into `most` equal parts, or the values if they are few.

    Equal values are in the same class. Ranks make measures independent of any monotone change of scale.
    """
    known, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(known) <= most:
        return np.asarray(index, np.int64)
    middle = np.cumsum(counts) - (counts + 1) / 2  # the mean rank of each value
    part = (middle * most / len(values)).astype(np.int64)
    return np.asarray(np.unique(part, return_inverse=True)[1][index], np.int64)


def targets_of(values: Array, kind: str) -> Array:
    """What is predicted of a factor (N,): a standardised column (N, 1), or (cos, sin) of a circular one (N, 2)."""
    angle = 2 * np.pi * values
    columns = np.stack([np.cos(angle), np.sin(angle)], 1) if kind == "circular" else values[:, None]
    spread = columns.std(0)
    return np.asarray((columns - columns.mean(0)) / np.where(spread > 0, spread, 1))


def measured(
    sample: Sample, statistic: Callable[[Sample, int], Mapping[str, float]], seed: int, replicates: int = REPLICATES
) -> tuple[Measure, ...]:
    """Values of a statistic with their intervals.

    The intervals are from random halves of the pictures (delete-half jackknife; Shao & Tu 1995, section 2.3): the
    standard deviation of the statistic over halves drawn without replacement estimates that over samples of all N. The
    bootstrap would not do, since a picture drawn twice is on both sides of a predictor's test, and adds information
    that is not there.

    Arguments:
        sample: Codes and factors.
        statistic: (sample, seed) → {name: value}.
        seed: Of the halves and of what is random in the statistic.
        replicates: How many halves, ≥ 2.
    """
    values = statistic(sample, seed)
    rng, n = np.random.default_rng([seed, len(sample.codes)]), len(sample.codes)
    halves = [statistic(sample.rows(np.sort(rng.permutation(n)[: n // 2])), seed) for _ in range(replicates)]
    few = "" if n >= 500 else f"{n} pictures are few: information is underestimated"
    found = []
    for name, value in values.items():
        error = float(np.std([half[name] for half in halves], ddof=1))
        low, high = interval(value, error, replicates - 1)
        method = f"{replicates} random halves of the pictures"
        low, high = max(low, min(value, 0.0)), min(high, max(value, 1.0))  # scores lie between 0 and 1
        found.append(Measure(name, value, low, high, {"pictures": n}, method, seed, few))
    return tuple(found)
