"""All scores of disentanglement of one set of codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from betabloom.metrics.disentanglement.factors import REPLICATES, measured, sample_of
from betabloom.metrics.disentanglement.interventions import intervention_scores
from betabloom.metrics.disentanglement.mutual import mutual_scores
from betabloom.metrics.disentanglement.predictors import FOREST_REPLICATES, ease_scores, forest_scores, linear_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from betabloom.metrics.disentanglement.factors import Sample
    from betabloom.metrics.measure import Measure

    Array = NDArray[Any]

__all__ = ["disentanglement_scores", "plain_scores"]


def disentanglement_scores(
    codes: Array, factors: Array, kinds: Sequence[str] | None = None, seed: int = 0, quick: bool = False
) -> dict[str, Measure]:
    """Every score of this folder by its name: mig, mig_sup, modularity, sap, dci_completeness and so on.

    Arguments:
        codes: (N, l), one code a picture; posterior means as a rule.
        factors: (N, k), what caused each picture.
        kinds: Of each factor: "discrete", "integer", "continuous" or "circular"; see `sample_of`.
        seed: Of everything random in the scores and their intervals.
        quick: Intervals from fewer halves of the pictures, and so wider.

    Returns:
        {name: measure}, each with its 95 % interval over pictures. It says nothing about other trainings of a model.

    Raises:
        UsageError: Codes and factors do not belong together, or scikit-learn is not installed.
    """
    sample = sample_of(codes, factors, kinds)
    few = FOREST_REPLICATES // 2 if quick else FOREST_REPLICATES

    def light(part: Sample, seed: int) -> dict[str, float]:
        return mutual_scores(part, seed) | linear_scores(part, seed)

    def heavy(part: Sample, seed: int) -> dict[str, float]:
        return forest_scores(part, seed) | ease_scores(part, seed) | intervention_scores(part, seed)

    found = measured(sample, light, seed, few if quick else REPLICATES) + measured(sample, heavy, seed, few)
    return {each.name: each for each in found}


def plain_scores(codes: Array, factors: Array, kinds: Sequence[str] | None = None, seed: int = 0) -> dict[str, float]:
    """The same scores without intervals, for those who repeat trainings; arguments as of `disentanglement_scores`."""
    sample, found = sample_of(codes, factors, kinds), dict[str, float]()
    for each in (mutual_scores, linear_scores, forest_scores, ease_scores, intervention_scores):
        found |= each(sample, seed)
    return found
