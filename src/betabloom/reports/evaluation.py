"""What an evaluation found: facts and measures, as data and as a page to read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from betabloom.metrics import Measure

__all__ = ["Evaluation", "markdown"]

SECTIONS = {
    "fidelity": "Like real pictures?",
    "detail": "Detail: soft, with a grid, speckled?",
    "novelty": "New pictures?",
    "likelihood": "How likely are held-out pictures?",
    "latent": "The codes",
}
NAMES = {
    "frechet_distance": "Fréchet distance",
    "kernel_distance": "kernel distance × 1000",
    "band_x": "band 0.25–0.47 cycles/pixel, x",
    "band_y": "band 0.25–0.47 cycles/pixel, y",
    **{
        f"comb_{a}_{b}_{axis}": f"comb {a}/{b} cycle/pixel, {axis}"
        for a, b in ((1, 2), (3, 8), (1, 4))
        for axis in "xy"
    },
    "checkerboard": "checkerboard, at the worst place",
    "near_copies": "near copies",
    "elbo": "ELBO = −D − R, nats per image",
    "distortion": "distortion D, nats per image",
    "rate": "rate R, nats per image",
    "bits_per_dimension": "bits per dimension, at most",
    "aggregate_gap": "gap of codes and prior, nats, at least",
    "active_units": "active units",
    "mutual_information": "mutual information, nats, at most",
    "total_correlation": "total correlation, nats",
    "decoder_jump": "decoder jump",
    "decoder_path": "decoder path",
    "encoder_stretch": "encoder stretch",
}
SCALE = {"kernel_distance": 1000.0}


@dataclass(frozen=True)
class Evaluation:
    """The result of `betabloom.reports.evaluate.evaluate`.

    Attributes:
        facts: What was measured and how: model, source, seeds, sampler, extractor, sample sizes.
        measures: {section: {subject: [measures]}}, such as measures["fidelity"]["generated"].
        pairs: The generated pictures that are nearest to training pictures, and these, each uint8 (P, H, W, C).
        pair_facts: What belongs to each pair: number of the generated picture, name, distance, ratio, near copy.
        notes: What to know before believing the numbers.
    """

    facts: dict[str, Any]
    measures: dict[str, dict[str, list[Measure]]]
    pairs: tuple[np.ndarray, np.ndarray]
    pair_facts: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)

    def measure(self, section: str, subject: str, name: str) -> Measure:
        """Return one measure, such as "recall" of the subject "generated" in the section "fidelity"."""
        return next(each for each in self.measures[section][subject] if each.name == name)

    def to_dict(self) -> dict[str, Any]:
        """All but the pictures, as plain data."""
        measures = {
            section: {subject: {each.name: each.to_dict() for each in found} for subject, found in subjects.items()}
            for section, subjects in self.measures.items()
        }
        return {**self.facts, "notes": self.notes, "measures": measures, "nearest": self.pair_facts}


def markdown(found: Evaluation) -> str:
    """Write an evaluation as a page."""
    lines = [f"# Evaluation of {found.facts['model_path']}", ""]
    lines += [f"- {key.replace('_', ' ')}: {_fact(value)}" for key, value in found.facts.items()]
    lines += ["", "Brackets are 95 % intervals. What the numbers mean: docs/measures.md.", ""]
    for section, subjects in found.measures.items():
        lines += [
            f"## {SECTIONS[section]}",
            "",
            "| of | measure | value | interval | pictures |",
            "|---|---|---|---|---|",
        ]
        lines += [_row(subject, each) for subject, measures in subjects.items() for each in measures]
        lines.append("")
    lines += [f"- {note}" for note in found.notes]
    return "\n".join(lines) + "\n"


def _row(subject: str, each: Measure) -> str:
    scale = SCALE.get(each.name, 1.0)
    value, low, high = (_number(scale * number) for number in (each.value, each.low, each.high))
    sizes = ", ".join(f"{count:,} {kind}" for kind, count in each.n.items())
    name = NAMES.get(each.name, each.name.replace("_", " "))
    if each.name.startswith("bound_"):
        name = f"log-likelihood, at least, K = {each.name.removeprefix('bound_')}"
    return f"| {subject} | {name} | {value} | [{low}, {high}] | {sizes} |"


def _fact(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in value.items())
    return str(value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
