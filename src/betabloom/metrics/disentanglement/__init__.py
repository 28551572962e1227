"""Disentanglement: do single code dimensions stand for single causes of the pictures? Arrays in, numbers out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from betabloom.faces import face

if TYPE_CHECKING:
    from betabloom.metrics.disentanglement.interventions import (
        beta_vae_score,
        factor_vae_score,
        interventional_robustness,
    )
    from betabloom.metrics.disentanglement.mutual import infomec, mig, mig_sup, modularity, normalised_information
    from betabloom.metrics.disentanglement.predictors import dci, ease, explicitness, sap
    from betabloom.metrics.disentanglement.scores import disentanglement_scores

__all__ = [
    "beta_vae_score",
    "dci",
    "disentanglement_scores",
    "ease",
    "explicitness",
    "factor_vae_score",
    "infomec",
    "interventional_robustness",
    "mig",
    "mig_sup",
    "modularity",
    "normalised_information",
    "sap",
]

_HOMES = {
    "interventions": "beta_vae_score factor_vae_score interventional_robustness",
    "mutual": "infomec mig mig_sup modularity normalised_information",
    "predictors": "dci ease explicitness sap",
    "scores": "disentanglement_scores",
}

__getattr__, __dir__ = face(__name__, _HOMES)
