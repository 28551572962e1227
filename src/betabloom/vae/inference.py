"""Pictures from a model: generate, reconstruct, sample posteriors, encode, decode.

Pictures go in and come out as uint8 arrays (N, H, W, C); codes as float32 arrays (N, l). A picture is named by a seed
and its number: the noise of picture i of seed s is drawn from `numpy.random.default_rng([s, i])` alone. However many
are made together, picture i is the same within one grey level; with equal calls on one machine, to the bit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from betabloom.errors import UsageError
from betabloom.networks.fast_torch import fast_decoder
from betabloom.seeds import BATCH, check, check_count
from betabloom.seeds import base_noise as draw_noise
from betabloom.system.hardware import choose_precision
from betabloom.vae.fast_numpy import as_codes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from betabloom.vae.prior import Prior
    from betabloom.vae.vae import VAE

__all__ = [
    "at_once",
    "base_noise",
    "decode",
    "draw",
    "encode",
    "generate",
    "reconstruct",
    "sample_posterior",
    "to_pictures",
    "to_tensor",
]

TOGETHER = 16  # codes that are always decoded together, so that a picture is the same however many are made
FEWEST = 8  # pictures that are worked on at once, of any size; of 64×64 pixels `BATCH`
Pictures = np.ndarray
Codes = np.ndarray


def base_noise(seed: int, n: int, latents: int, start: int = 0) -> tuple[Tensor, Tensor]:
    """Standard normal noise (n, l) and uniform choices (n,) for the pictures start … start + n − 1 of a seed."""
    noise, choice = draw_noise(seed, n, latents, start)
    return torch.from_numpy(noise), torch.from_numpy(choice)


def to_tensor(pictures: Pictures, device: torch.device | str = "cpu") -> Tensor:
    """Turn uint8 pictures (B, H, W, C) into floats in [0, 1] of shape (B, C, H, W)."""
    x = torch.from_numpy(np.array(pictures)).to(device)
    return x.permute(0, 3, 1, 2).contiguous().float().div_(255)


def to_pictures(x: Tensor) -> Pictures:
    """Turn floats in [0, 1] of shape (B, C, H, W) into uint8 pictures (B, H, W, C), rounded to the nearest level."""
    levels = x.detach().clamp(0, 1).mul_(255).round_().to(torch.uint8)
    pictures: Pictures = levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return pictures


def generate(
    vae: VAE,
    n: int,
    seed: int = 0,
    temperature: float = 1.0,
    start: int = 0,
    density: Prior | None = None,
    precision: str = "fp32",
) -> Pictures:
    """New pictures: z ~ p(z), or from a density fitted to the aggregate posterior; then the mean of p(x|z).

    Arguments:
        vae: The model, in evaluation mode.
        n: How many, ≥ 1.
        seed: Names the series of pictures.
        temperature: Factor on the noise, > 0: below 1 more typical, above 1 more unusual pictures.
        start: Number of the first picture in the series.
        density: Where codes come from; the model's prior if None.
        precision: See `decode`.

    Returns:
        uint8 pictures (n, H, W, C).
    """
    return decode(vae, draw(vae, n, seed, temperature, start, density), precision)


@torch.inference_mode()
def draw(
    vae: VAE, n: int, seed: int = 0, temperature: float = 1.0, start: int = 0, density: Prior | None = None
) -> Codes:
    """The codes (n, l) of the pictures that `generate` makes with the same arguments."""
    check(n, temperature)
    noise, choice = base_noise(seed, n, vae.latents, start)
    device, density = _device(vae), density or vae.prior
    parts = [
        density.sample(float(temperature) * noise[rows].to(device), choice[rows].to(device)).cpu()
        for rows in _batches(n, BATCH)
    ]
    return torch.cat(parts).numpy()


@torch.inference_mode()
def encode(vae: VAE, pictures: Pictures) -> tuple[Codes, Codes]:
    """Posterior means μ and log-variances log σ², each (N, l); for a point posterior log σ² is −inf."""
    mean, log_var = (np.empty((len(pictures), vae.latents), np.float32) for _ in range(2))
    for rows in _batches(len(pictures), at_once(vae)):  # small results kept between large ones would leave holes
        posterior = vae.encode(to_tensor(pictures[rows], _device(vae)))
        mean[rows] = posterior.mean.cpu().numpy()
        log_var[rows] = posterior.log_var.cpu().numpy()
    return mean, log_var


@torch.inference_mode()
def decode(vae: VAE, codes: Codes, precision: str = "fp32") -> Pictures:
    """Pictures (N, H, W, C) that the codes (N, l) stand for: the mean of p(x|z).

    Arguments:
        vae: The model, in evaluation mode.
        codes: float32 (N, l), N ≥ 1, finite, and none beyond ±10⁹.
        precision: What the decoder computes in: "fp32"; "bf16", which is quicker on processors that have arithmetic
            for it, and some grey levels off; or "auto", which is bf16 where there is that arithmetic.

    Raises:
        UsageError: There are no codes, they have another shape, or not all are such numbers.
    """
    z = torch.from_numpy(as_codes(codes, vae.latents)).to(_device(vae))
    dtype = choose_precision(precision, _device(vae))
    draw = fast_decoder(vae.decoder, dtype)
    size = min(TOGETHER, at_once(vae))
    filled = torch.cat([z, z[-1:].expand(-len(z) % size, -1)])  # another size of batch is added up in another order
    drawn = [to_pictures(vae.likelihood.mean(draw(filled[rows]))) for rows in _batches(len(filled), size)]
    return np.concatenate(drawn)[: len(z)]


def reconstruct(vae: VAE, pictures: Pictures) -> Pictures:
    """Decode the posterior means of pictures: the same picture in, the same picture out."""
    return decode(vae, encode(vae, pictures)[0])


def sample_posterior(vae: VAE, picture: Pictures, n: int, seed: int = 0, amount: float = 1.0) -> Pictures:
    """Pictures of samples of the posterior of one picture: z = μ + amount · σ ⊙ ε, then the mean of p(x|z).

    They show what the code leaves open, which is little: `betabloom.samplers.neighbourhood` makes variations.

    Arguments:
        vae: The model, in evaluation mode.
        picture: uint8 (H, W, C).
        n: How many, ≥ 1.
        seed: Names the series of samples.
        amount: 1 samples the posterior; 0 is the reconstruction.

    Returns:
        uint8 pictures (n, H, W, C).
    """
    check_count(n)
    if not 0 <= amount < math.inf:
        raise UsageError(f"'amount' must be 0 or a positive number, not {amount}.")
    noise, _ = base_noise(seed, n, vae.latents)
    with torch.inference_mode():
        posterior = vae.encode(to_tensor(picture[None], _device(vae)))
        codes = posterior.sample(amount * noise.to(_device(vae))).expand(n, -1)
    return decode(vae, codes.cpu().numpy())


def _device(vae: VAE) -> torch.device:
    return next(vae.parameters()).device


def at_once(vae: VAE) -> int:
    """How many pictures to work on at once: on a processor fewer large ones, which take memory and no less time."""
    shape = getattr(vae.decoder, "shape", None)  # a decoder can be any module
    if _device(vae).type != "cpu" or shape is None:
        return BATCH
    _, height, width = shape
    return int(max(FEWEST, min(BATCH, BATCH * 64 * 64 // (height * width))))


def _batches(n: int, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, n)) for first in range(0, n, size))
