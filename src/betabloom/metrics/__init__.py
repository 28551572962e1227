"""Measures: arrays or callables in, numbers out. Imports no model code, and torch only where a network runs."""

from betabloom.metrics.extractors import Extractor, features, open_extractor
from betabloom.metrics.fidelity import frechet_distance, kernel_distance
from betabloom.metrics.latent import active_units
from betabloom.metrics.manifold import density_coverage, precision_recall
from betabloom.metrics.measure import Measure

__all__ = [
    "Extractor",
    "Measure",
    "active_units",
    "density_coverage",
    "features",
    "frechet_distance",
    "kernel_distance",
    "open_extractor",
    "precision_recall",
]
