"""The mathematics of the model: posterior, likelihood, prior, objective, and the VAE that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from betabloom.faces import face

if TYPE_CHECKING:
    from betabloom.vae.build import build_vae, make_vae
    from betabloom.vae.likelihood import (
        LIKELIHOODS,
        Bernoulli,
        ContinuousBernoulli,
        DiscretisedLogistic,
        Gaussian,
        Laplace,
        Likelihood,
        OptimalGaussian,
    )
    from betabloom.vae.objective import Capacity, Elbo, FreeBits, Objective, Terms, TotalCorrelation, normalised_beta
    from betabloom.vae.posterior import DiagonalNormal, Point, Posterior
    from betabloom.vae.prior import Mixture, Normal, Prior, StandardNormal, VampPrior
    from betabloom.vae.vae import VAE

__all__ = [
    "LIKELIHOODS",
    "VAE",
    "Bernoulli",
    "Capacity",
    "ContinuousBernoulli",
    "DiagonalNormal",
    "DiscretisedLogistic",
    "Elbo",
    "FreeBits",
    "Gaussian",
    "Laplace",
    "Likelihood",
    "Mixture",
    "Normal",
    "Objective",
    "OptimalGaussian",
    "Point",
    "Posterior",
    "Prior",
    "StandardNormal",
    "Terms",
    "TotalCorrelation",
    "VampPrior",
    "build_vae",
    "make_vae",
    "normalised_beta",
]

_HOMES = {
    "build": "build_vae make_vae",
    "likelihood": (
        "Bernoulli ContinuousBernoulli DiscretisedLogistic Gaussian LIKELIHOODS Laplace Likelihood OptimalGaussian"
    ),
    "objective": "Capacity Elbo FreeBits Objective Terms TotalCorrelation normalised_beta",
    "posterior": "DiagonalNormal Point Posterior",
    "prior": "Mixture Normal Prior StandardNormal VampPrior",
    "vae": "VAE",
}

__getattr__, __dir__ = face(__name__, _HOMES)
