"""Samplers: densities fitted to the codes of training pictures, from which new codes are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from betabloom.faces import face

if TYPE_CHECKING:
    from betabloom.samplers.choose import choose_sampler, fit_samplers, samplers_of
    from betabloom.samplers.flow import Flow, fit_flow
    from betabloom.samplers.mixture import GaussianMixture, fit_aggregate, fit_mixture
    from betabloom.samplers.neighbourhood import sisters
    from betabloom.samplers.parzen import Parzen, fit_parzen

__all__ = [
    "Flow",
    "GaussianMixture",
    "Parzen",
    "choose_sampler",
    "fit_aggregate",
    "fit_flow",
    "fit_mixture",
    "fit_parzen",
    "fit_samplers",
    "samplers_of",
    "sisters",
]

_HOMES = {
    "choose": "choose_sampler fit_samplers samplers_of",
    "flow": "Flow fit_flow",
    "mixture": "GaussianMixture fit_aggregate fit_mixture",
    "neighbourhood": "sisters",
    "parzen": "Parzen fit_parzen",
}

__getattr__, __dir__ = face(__name__, _HOMES)
