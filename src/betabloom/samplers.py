"""Samplers: where the codes of generated pictures come from, and which of them is best for a model.

| name | codes are drawn from |
|---|---|
| `prior` | p(z), which the model was trained with |
| `gaussian` | one full-covariance Gaussian fitted to the codes of training pictures |
| `mixture` | as many Gaussians as make held-out codes likeliest, where more than one does |
| `parzen` | manifold Parzen windows: the code of a training picture, moved as its neighbours differ from it |

They are fitted after training and kept in the model directory. `auto` is the one whose pictures come nearest to
held-out pictures by kernel distance, of those that do not repeat training pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from betabloom import sample
from betabloom.aggregate import GaussianMixture, fit_aggregate, fit_mixture
from betabloom.metrics import features, kernel_distance, open_extractor
from betabloom.metrics.novelty import Limits, nearest, pixel_rows
from betabloom.parzen import Parzen, fit_parzen

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from torch import Tensor

    from betabloom.prior import Prior
    from betabloom.vae import VAE

__all__ = ["SAMPLERS", "choose_sampler", "empty_sampler", "fit_samplers", "sampler_sizes"]

SAMPLERS = ("auto", "prior", "gaussian", "mixture", "parzen")
COMPARED = 1024  # pictures of each sampler that are compared with as many held-out ones
FEWEST = 32  # held-out pictures; with fewer the likelihood of their codes decides
MOST_COPIES = 0.1  # share of near copies from which on a sampler repeats the training pictures
LARGEST = 1 << 24  # components, kernels or neighbours that a file may ask for


def fit_samplers(mean: Tensor, log_var: Tensor, held_out: Tensor, seed: int = 0) -> dict[str, Prior]:
    """Fit every sampler to the codes of training pictures.

    Arguments:
        mean: Posterior means μ of training pictures, shape (N, l), N ≥ 2.
        log_var: Their log-variances, shape (N, l); −inf for a point posterior.
        held_out: Samples of q(z|x) for held-out pictures, shape (M, l).
        seed: Of the fits.
    """
    generator = torch.Generator().manual_seed(seed)
    z = mean + torch.exp(0.5 * log_var) * torch.randn(mean.shape, generator=generator)
    fitted: dict[str, Prior] = {"gaussian": fit_mixture(z, 1, seed).eval()}
    mixture = fit_aggregate(z, held_out, seed)
    if len(mixture.weight) > 1:
        fitted["mixture"] = mixture
    fitted["parzen"] = fit_parzen(mean, log_var, held_out)
    return fitted


def choose_sampler(
    vae: VAE, fitted: Mapping[str, Prior], known: np.ndarray, held_out: np.ndarray, codes: Tensor, seed: int = 0
) -> tuple[str, dict[str, Any]]:
    """Name the sampler whose pictures come nearest to held-out ones and are not copies of training pictures.

    Arguments:
        vae: The model, in evaluation mode.
        fitted: Samplers by name, beside the prior.
        known: Training pictures, uint8 (N, H, W, C).
        held_out: Held-out pictures, uint8 (M, H, W, C).
        codes: Samples of their q(z|x), shape (M, l), on the CPU.
        seed: Of the pictures that are drawn.

    Returns:
        The name, and for each sampler what was measured.
    """
    densities: dict[str, Prior] = {"prior": vae.prior, **fitted}
    if len(held_out) < FEWEST:
        likelihood = {name: density.cpu().log_prob(codes).mean().item() for name, density in densities.items()}
        measured = {name: {"log_density_of_held_out_codes": round(value, 3)} for name, value in likelihood.items()}
        return max(likelihood, key=likelihood.__getitem__), measured
    real = held_out[:COMPARED]
    extractor = open_extractor("pixels")
    of_real, rows = features(real, extractor), pixel_rows(known)
    limits = Limits.learned(nearest(pixel_rows(held_out), rows, pixel_rows(held_out[:, :, ::-1])))
    found: dict[str, Any] = {}
    for name, density in densities.items():
        drawn = sample.generate(vae, len(real), seed, density=density)
        distance = kernel_distance(of_real, features(drawn, extractor))
        copies = limits.exceeded_by(nearest(pixel_rows(drawn), rows, pixel_rows(drawn[:, :, ::-1]))).mean()
        found[name] = {
            "kernel_distance": round(distance.value, 6),
            "interval": [round(distance.low, 6), round(distance.high, 6)],
            "near_copies": round(float(copies), 4),
            "pictures": len(real),
            "features": extractor.name,
            "seed": seed,
        }
    new = [name for name in found if found[name]["near_copies"] <= MOST_COPIES] or ["prior"]
    return min(new, key=lambda name: float(found[name]["kernel_distance"])), found


def sampler_sizes(density: Prior) -> dict[str, int]:
    """The sizes that a fitted sampler has beside the latents."""
    if isinstance(density, Parzen):
        return {"kernels": len(density.mean), "neighbours": density.near.shape[1]}
    if isinstance(density, GaussianMixture):
        return {"components": len(density.weight)}
    raise TypeError(f"{type(density).__name__} is not fitted to codes")


def empty_sampler(sizes: Mapping[str, Any], latents: int) -> Prior:
    """A sampler of these sizes, to be filled; under `torch.device("meta")` it takes no memory.

    Raises:
        ValueError: There is no sampler of these sizes.
    """
    for name, size in sizes.items():
        if type(size) is not int or not 1 <= size <= LARGEST:
            raise ValueError(f"a sampler with {size!r} {name}")
    if sizes.keys() == {"components"}:
        k = sizes["components"]
        return GaussianMixture(torch.empty(k), torch.empty(k, latents), torch.empty(k, latents, latents))
    if sizes.keys() == {"kernels", "neighbours"}:
        n, k = sizes["kernels"], sizes["neighbours"]
        mean, near = torch.empty(n, latents, dtype=torch.float16), torch.empty(n, k, dtype=torch.int32)
        return Parzen(mean, near, torch.empty(latents), torch.empty(()))
    raise ValueError(f"a sampler with {', '.join(map(str, sizes)) or 'no sizes'}")
