"""Measures: arrays or callables in, numbers out. Imports no model code, and torch only where a network runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from betabloom.faces import face

if TYPE_CHECKING:
    from betabloom.metrics import disentanglement as disentanglement
    from betabloom.metrics.extractors import Extractor, best_extractor, features, open_extractor
    from betabloom.metrics.fidelity import frechet_distance, kernel_distance
    from betabloom.metrics.latent import active_units, aggregate_gap
    from betabloom.metrics.manifold import density_coverage, precision_recall
    from betabloom.metrics.measure import Measure
    from betabloom.metrics.nll import bounds, importance_bound
    from betabloom.metrics.novelty import Limits, near_copies, nearest, pixel_rows

__all__ = [
    "Extractor",
    "Limits",
    "Measure",
    "active_units",
    "aggregate_gap",
    "best_extractor",
    "bounds",
    "density_coverage",
    "disentanglement",
    "features",
    "frechet_distance",
    "importance_bound",
    "kernel_distance",
    "near_copies",
    "nearest",
    "open_extractor",
    "pixel_rows",
    "precision_recall",
]

_HOMES = {
    "Extractor": "extractors",
    "Limits": "novelty",
    "Measure": "measure",
    "active_units": "latent",
    "aggregate_gap": "latent",
    "best_extractor": "extractors",
    "bounds": "nll",
    "density_coverage": "manifold",
    "disentanglement": "disentanglement",
    "features": "extractors",
    "frechet_distance": "fidelity",
    "importance_bound": "nll",
    "kernel_distance": "fidelity",
    "near_copies": "novelty",
    "nearest": "novelty",
    "open_extractor": "extractors",
    "pixel_rows": "novelty",
    "precision_recall": "manifold",
}

__getattr__, __dir__ = face(__name__, _HOMES)
