"""Measures: arrays or callables in, numbers out. Imports no model code, and torch only where a network runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from betabloom.faces import face

if TYPE_CHECKING:
    from betabloom.metrics import disentanglement as disentanglement
    from betabloom.metrics.continuity import completeness, decoder_continuity, encoder_continuity
    from betabloom.metrics.extractors import Extractor, best_extractor, features, open_extractor
    from betabloom.metrics.fidelity import frechet_distance, kernel_distance
    from betabloom.metrics.information import mutual_information, rate_per_dimension, total_correlation, udr
    from betabloom.metrics.latent import active_units, aggregate_gap
    from betabloom.metrics.manifold import density_coverage, precision_recall
    from betabloom.metrics.measure import Measure
    from betabloom.metrics.nll import bounds, importance_bound
    from betabloom.metrics.novelty import Limits, near_copies, nearest, pixel_rows
    from betabloom.metrics.spectrum import Spectra, bands, checkerboard, combs, power_spectra, speckled

__all__ = [
    "Extractor",
    "Limits",
    "Measure",
    "Spectra",
    "active_units",
    "aggregate_gap",
    "bands",
    "best_extractor",
    "bounds",
    "checkerboard",
    "combs",
    "completeness",
    "decoder_continuity",
    "density_coverage",
    "disentanglement",
    "encoder_continuity",
    "features",
    "frechet_distance",
    "importance_bound",
    "kernel_distance",
    "mutual_information",
    "near_copies",
    "nearest",
    "open_extractor",
    "pixel_rows",
    "power_spectra",
    "precision_recall",
    "rate_per_dimension",
    "speckled",
    "total_correlation",
    "udr",
]

_HOMES = {
    "continuity": "completeness decoder_continuity encoder_continuity",
    "extractors": "Extractor best_extractor features open_extractor",
    "fidelity": "frechet_distance kernel_distance",
    "information": "mutual_information rate_per_dimension total_correlation udr",
    "latent": "active_units aggregate_gap",
    "manifold": "density_coverage precision_recall",
    "measure": "Measure",
    "nll": "bounds importance_bound",
    "novelty": "Limits near_copies nearest pixel_rows",
    "spectrum": "Spectra bands checkerboard combs power_spectra speckled",
}

__getattr__, __dir__ = face(__name__, _HOMES, "disentanglement")
