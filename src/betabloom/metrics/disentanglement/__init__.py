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
    "beta_vae_score": "interventions",
    "dci": "predictors",
    "disentanglement_scores": "scores",
    "ease": "predictors",
    "explicitness": "predictors",
    "factor_vae_score": "interventions",
    "infomec": "mutual",
    "interventional_robustness": "interventions",
    "mig": "mutual",
    "mig_sup": "mutual",
    "modularity": "mutual",
    "normalised_information": "mutual",
    "sap": "predictors",
}

__getattr__, __dir__ = face(__name__, _HOMES)
