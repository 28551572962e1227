"""How good generated pictures are beside real ones, in few numbers that a training can choose by.

A distance alone is not one to choose by: a decoder that is taught by a critic for long gets nearer and nearer to real
pictures by every Fréchet distance, while an eighth of its pictures are ruined by speckles (docs/log.md). So a choice is
by the distance among what keeps within limits: of speckles, combs, bands (`betabloom.metrics.spectrum`) and near copies
(`betabloom.metrics.novelty`). What is beyond a limit already may stay there, and may not go further.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.metrics.extractors import features
from betabloom.metrics.fidelity import frechet_distance
from betabloom.metrics.novelty import Limits, nearest, pixel_rows
from betabloom.metrics.spectrum import SMALLEST, bands, checkerboard, combs, power_spectra, speckled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from betabloom.metrics.extractors import Extractor

__all__ = ["FEWEST", "Quality", "QualityJudge"]

FEWEST = 32  # real pictures that a distance needs
MORE_SPECKLED = 0.01  # above the share of real pictures
COMB = (0.75, 1.3)  # beside real pictures' own detail: see `_seen`
BAND = (0.0, 1.25)  # soft is no damage: the distance says how far it is
CHECKERBOARD = (0.0, math.inf)  # no limit: by chance, two parts of one folder of icons have had 4.7
MOST_COPIES = 0.02
NEAR_COPIES = "near_copies"
SHARES = ("speckled", NEAR_COPIES)
CHANCE, CHANCE_OF_RATIOS = 0.005, 0.05  # by which measures of some hundred pictures differ anyway


@dataclass(frozen=True)
class Quality:
    """What was measured of some pictures.

    Attributes:
        distance: Fréchet distance of features of real pictures; lower is better.
        measures: Shares and ratios by name: `speckled`, `near_copies`, `band_x`, `comb_1_4_y` …
        beyond: How far each of these is beyond its limit, 0 within it. A comb in fainter detail counts less.
    """

    distance: float
    measures: Mapping[str, float]
    beyond: Mapping[str, float]

    def keeps_within(self, other: Quality) -> bool:
        """Whether nothing is further beyond its limit than in `other`, by more than chance."""
        return all(
            value <= 0 or value <= other.beyond.get(name, 0.0) + (CHANCE if name in SHARES else CHANCE_OF_RATIOS)
            for name, value in self.beyond.items()
        )

    def is_better_than(self, other: Quality) -> bool:
        """Whether it is nearer to real pictures and keeps within what the limits, and the other, allow."""
        return self.distance < other.distance and self.keeps_within(other)

    def summary(self) -> str:
        """The figures that say most, in a few words."""
        m = self.measures
        beyond = [name for name, value in self.beyond.items() if value > 0]
        hint = f", beyond its limit: {', '.join(beyond)}" if beyond else ""
        return f"distance {self.distance:.1f}, speckled {m['speckled']:.1%}, near copies {m['near_copies']:.1%}{hint}"

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, rounded."""
        return {name: round(value, 4) for name, value in {"distance": self.distance, **self.measures}.items()}

    def numbers(self) -> dict[str, Any]:
        """All of it as plain data, for `from_numbers`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_numbers(cls, numbers: Mapping[str, Any]) -> Quality:
        """The quality that `numbers` was called on."""
        return cls(float(numbers["distance"]), dict(numbers["measures"]), dict(numbers["beyond"]))


class QualityJudge:
    """Compares generated pictures with held-out ones, again and again.

    Arguments:
        known: Training pictures, uint8 (N, H, W, C), which copies are copies of.
        held_out: Others, uint8 (M, H, W, C), M ≥ `FEWEST`.
        extractor: Of the features; one that had no part in the training of what is judged.
    """

    def __init__(self, known: np.ndarray, held_out: np.ndarray, extractor: Extractor) -> None:
        self.extractor, self.held_out = extractor, held_out
        self.known = pixel_rows(known)
        self.features = features(held_out, extractor)
        self.spectra = power_spectra(held_out) if min(held_out.shape[1:3]) >= SMALLEST else None
        self.most_speckled = speckled(held_out).value + MORE_SPECKLED
        self.limits = Limits.learned(self._nearest(held_out))

    def __call__(self, pictures: np.ndarray) -> Quality:
        """Measure uint8 (K, H, W, C), K ≥ 2, best always as many."""
        distance = frechet_distance(self.features, features(pictures, self.extractor)).value
        copies = self.limits.is_near_copy(self._nearest(pictures)).mean()
        found = [(speckled(pictures), 0.0, self.most_speckled)]
        if self.spectra:
            own = power_spectra(pictures)
            found += [(each, *BAND) for each in bands(self.spectra, own)]
            found += [(each, *COMB) for each in combs(self.spectra, own)]
            found += [(checkerboard(self.spectra, own), *CHECKERBOARD)]
        measures = {each.name: each.value for each, _, _ in found} | {NEAR_COPIES: float(copies)}
        limits = {each.name: (low, high) for each, low, high in found} | {NEAR_COPIES: (0.0, MOST_COPIES)}
        seen = {name: _seen(name, measures) for name in measures}
        beyond = {name: max(low - seen[name], seen[name] - high, 0.0) for name, (low, high) in limits.items()}
        return Quality(distance, measures, beyond)

    def _nearest(self, pictures: np.ndarray) -> Any:
        return nearest(pixel_rows(pictures), self.known, pixel_rows(np.asarray(pictures)[:, :, ::-1]))


def _seen(name: str, measures: Mapping[str, float]) -> float:
    """A measure as a person sees it: 1 + (comb − 1) · min(band, 1), since a comb in detail that is faint is fainter."""
    value = measures[name]
    return 1 + (value - 1) * min(measures[f"band_{name[-1]}"], 1.0) if name.startswith("comb_") else value
