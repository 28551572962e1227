"""Samplers: where the codes of generated pictures come from, and which of them is best for a model.

| name | codes are drawn from |
|---|---|
| `prior` | p(z), which the model was trained with |
| `gaussian` | one full-covariance Gaussian fitted to the codes of training pictures |
| `mixture` | as many Gaussians as make held-out codes likeliest, where more than one does |
| `parzen` | manifold Parzen windows: the code of a training picture, moved as its neighbours differ from it |
| `flow` | a rectified flow: white noise, carried by a network to where codes are; if the setting `flow` asks for it |

They are fitted after training and kept in the model directory. Parzen windows are widened until they hardly ever draw a
near copy of a training picture. `auto` is the sampler whose pictures come nearest to held-out ones by kernel distance,
of those that do not repeat training pictures; without a feature network to tell (extra `metrics`), it is the Parzen
windows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from betabloom.metrics import features, kernel_distance
from betabloom.metrics.novelty import Limits, nearest, pixel_rows
from betabloom.samplers.parzen import MOST_COPIES
from betabloom.samplers.table import SAMPLERS, FitData, sampler_entries
from betabloom.system.tensors import TYPES
from betabloom.vae import inference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from betabloom.metrics import Extractor
    from betabloom.metrics.novelty import Nearest
    from betabloom.vae.prior import Prior
    from betabloom.vae.vae import VAE

__all__ = ["choose_sampler", "empty_sampler", "fit_samplers", "sampler_sizes", "samplers_of"]

COMPARED = 4  # one in so many held-out pictures is compared, with as many of each sampler
JUDGED = 512  # pictures of a sampler that are looked through for near copies, at most
FEWEST = 32  # held-out pictures; with fewer the likelihood of their codes decides
UNSEEN = "parzen"  # the sampler that is taken where no feature network tells which pictures are best


def fit_samplers(
    mean: Tensor, log_var: Tensor, held_out: Tensor, seed: int = 0, flow_steps: int = 0
) -> dict[str, Prior]:
    """Fit every sampler to the codes of training pictures.

    Arguments:
        mean: Posterior means μ of training pictures, shape (N, l), N ≥ 2.
        log_var: Their log-variances, shape (N, l); −inf for a point posterior.
        held_out: Samples of q(z|x) for held-out pictures, shape (M, l).
        seed: Of the fits.
        flow_steps: Training steps of the rectified flow; 0 for none.

    Returns:
        {name: density}, for each sampler that could be fitted.
    """
    generator = torch.Generator().manual_seed(seed)
    z = mean + torch.exp(0.5 * log_var) * torch.randn(mean.shape, generator=generator)
    data = FitData(mean, log_var, z, held_out, seed, flow_steps)
    fitted = {name: kind.fit(data) for name, kind in SAMPLERS.items()}
    return {name: density for name, density in fitted.items() if density is not None}


def samplers_of(
    vae: VAE,
    known: np.ndarray,
    held_out: np.ndarray,
    noise: np.ndarray,
    extractor: Extractor | None = None,
    seed: int = 0,
    flow_steps: int = 0,
) -> tuple[dict[str, Prior], str, dict[str, Any]]:
    """Fit every sampler to the codes of pictures, and choose the best on held-out ones.

    Arguments:
        vae: The model, in evaluation mode.
        known: Pictures, uint8 (N, H, W, C), N ≥ 2.
        held_out: Others, uint8 (M, H, W, C).
        noise: Standard normal, float32 (M, l): which of their codes are taken.
        extractor: As for `choose_sampler`.
        seed: Of all the rest that is random.
        flow_steps: As for `fit_samplers`.

    Returns:
        The samplers by name, on the device of the model, the name of the best, and what was measured of each.
    """
    device = next(vae.parameters()).device
    mean, log_var = map(torch.from_numpy, inference.encode(vae, known))
    other_mean, other_log_var = inference.encode(vae, held_out)
    codes = torch.from_numpy(other_mean + np.exp(0.5 * other_log_var) * noise)
    fitted = fit_samplers(mean, log_var, codes, seed, flow_steps)
    on_device = {name: density.to(device) for name, density in fitted.items()}
    best, measured = choose_sampler(vae, on_device, known, held_out, codes.to(device), extractor, seed)
    return on_device, best, measured


def choose_sampler(
    vae: VAE,
    fitted: Mapping[str, Prior],
    known: np.ndarray,
    held_out: np.ndarray,
    codes: Tensor,
    extractor: Extractor | None = None,
    seed: int = 0,
) -> tuple[str, dict[str, Any]]:
    """Name the sampler to draw from by default; sets the bandwidth of Parzen windows.

    Arguments:
        vae: The model, in evaluation mode.
        fitted: Samplers by name, besides the prior.
        known: Training pictures, uint8 (N, H, W, C).
        held_out: Held-out pictures, uint8 (M, H, W, C).
        codes: Samples of their q(z|x), shape (M, l), where the samplers are.
        extractor: Tells how like held-out pictures generated ones are; None if there is none.
        seed: Of the pictures that are drawn.

    Returns:
        The name, and for each sampler what was measured.
    """
    densities: dict[str, Prior] = {"prior": vae.prior, **fitted}
    if len(held_out) < FEWEST:
        return _likeliest(densities, codes)
    copies = _Copies(vae, known, held_out, seed)
    for name, density in fitted.items():
        if tune := SAMPLERS[name].tune:
            tune(density, copies)
    found: dict[str, dict[str, Any]] = {name: {"near_copies": copies(density)} for name, density in densities.items()}
    new = [name for name in found if found[name]["near_copies"] <= MOST_COPIES] or ["prior"]
    if extractor is None:
        likeliest = _likeliest({name: densities[name] for name in new}, codes)[0]
        return (UNSEEN if UNSEEN in new else likeliest), found
    real = held_out[::COMPARED]
    of_real = features(real, extractor)
    for name in new:
        drawn = inference.generate(vae, len(real), seed, density=densities[name])
        distance = kernel_distance(of_real, features(drawn, extractor))
        found[name] |= {
            "kernel_distance": round(distance.value, 6),
            "interval": [round(distance.low, 6), round(distance.high, 6)],
            "pictures": len(real),
            "features": extractor.name,
            "seed": seed,
        }
    return min(new, key=lambda name: float(found[name]["kernel_distance"])), found


def _likeliest(densities: Mapping[str, Prior], codes: Tensor) -> tuple[str, dict[str, Any]]:
    """The sampler under which held-out codes are likeliest; not for Parzen windows, and too slow for a flow."""
    names = [name for name in densities if name == "prior" or SAMPLERS[name].by_likelihood]
    likelihood = {name: densities[name].log_prob(codes).mean().item() for name in names}
    measured = {name: {"log_density_of_held_out_codes": round(value, 3)} for name, value in likelihood.items()}
    return max(likelihood, key=likelihood.__getitem__), measured


class _Copies:
    """The share of near copies of training pictures among what a sampler draws; held-out pictures say what is near."""

    def __init__(self, vae: VAE, known: np.ndarray, held_out: np.ndarray, seed: int) -> None:
        self.vae, self.seed = vae, seed
        self.rows = pixel_rows(known)
        self.limits = Limits.learned(self._nearest(held_out))
        self.count = min(JUDGED, len(held_out))

    def __call__(self, density: Prior) -> float:
        drawn = inference.generate(self.vae, self.count, self.seed, density=density)
        return round(float(self.limits.is_near_copy(self._nearest(drawn)).mean()), 4)

    def _nearest(self, pictures: np.ndarray) -> Nearest:
        return nearest(pixel_rows(pictures), self.rows, pixel_rows(pictures[:, :, ::-1]))


def sampler_sizes(name: str, density: Prior) -> dict[str, int]:
    """The sizes that a fitted sampler of that name has besides the latents."""
    return SAMPLERS[name].sizes_of(density)


def empty_sampler(name: str, sizes: Mapping[str, int], latents: int) -> Prior:
    """A sampler of that name with these sizes, to be filled; on the device "meta" without memory."""
    entries = sampler_entries(name, sizes, latents)
    return SAMPLERS[name].density(
        **{key: torch.empty(shape, dtype=TYPES[kind]) for key, (shape, kind) in entries.items()}
    )
