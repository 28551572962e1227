r"""Anomalies: how unlike what a model learned a picture is, how sure that is, and where.

The *score* of a picture is the energy of its reconstruction and its code,

    ½ Σ (x − x̂)² / s² + ½ ‖w‖²,

with x̂ the decoded posterior mean, s the root mean square residual of held-out pictures, w the whitened code, less the
length of the picture as a PNG file, in nats: what it would take without a model (Serrà et al. 2020,
https://arxiv.org/abs/1909.11480). Without that, plain pictures of any kind score lower than detailed ones of the right
kind. Its *p-value* is the share of held-out pictures that score as high, (1 + #{held-out ≥ score}) / (1 + M):
calibrated by construction, as far as the held-out pictures are like those to come.

The *heat map* is by iterative projection (Dehaene et al. 2020, https://arxiv.org/abs/2002.03734): the picture is moved
towards what the model can reconstruct, by gradient steps on its energy that are large where it is badly reconstructed,
and the map is how far each pixel had to move.

A likelihood alone says little of what kind of picture is seen: smooth pictures of other kinds are easier to reconstruct
(Nalisnick et al. 2019, https://arxiv.org/abs/1810.09136). Less the length, pictures that are unusually plain score
high.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

import numpy as np

from betabloom.errors import UsageError

if TYPE_CHECKING:
    from betabloom.latent.space import Space
    from betabloom.model.generator import Generator
    from betabloom.model.model import Model

__all__ = ["anomaly_map", "anomaly_scores", "auroc", "p_values"]

FEWEST = 19  # held-out pictures without which no p-value is below 0.05
ROUNDS, RATE, STAY = 40, 0.5, 0.05
SMOOTH = 5  # pixels that the map is averaged over
RESIDUAL = 0.08  # s


def anomaly_scores(
    model: Generator, space: Space, pictures: np.ndarray, residual: float = RESIDUAL, corrected: bool = True
) -> np.ndarray:
    """Scores (N,), in nats, of prepared pictures, uint8 (N, H, W, C); higher is less like what was learned.

    Arguments:
        model: The model.
        space: Where its codes lie.
        pictures: Prepared pictures.
        residual: s, in parts of the range of pixels.
        corrected: Whether to take off what the picture takes as PNG; else the score is that of the likelihood alone.

    Returns:
        float64 (N,), in nats.
    """
    codes, _ = model.encode(pictures)
    error = (pictures.astype(np.float32) - model.decode(codes)) / 255
    pixels = np.square(error).sum((1, 2, 3), dtype=np.float64) / residual**2
    scores: np.ndarray = 0.5 * (pixels + np.square(space.whiten(codes)).sum(1))
    return scores - _png_nats(pictures) if corrected else scores


def _png_nats(pictures: np.ndarray) -> np.ndarray:
    """What pictures, uint8 (N, H, W, C), take as PNG files, in nats, (N,): how complex they are without a model."""
    from PIL import Image

    lengths = []
    for picture in pictures:
        buffer = io.BytesIO()
        Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(buffer, "PNG", optimize=True)
        lengths.append(buffer.tell())
    return 8 * math.log(2) * np.array(lengths, np.float64)


def p_values(scores: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Share of held-out pictures (M,) that score as high as each picture (N,), never 0.

    Raises:
        UsageError: There are so few held-out pictures that nothing could be found.
    """
    if len(held_out) < FEWEST:
        raise UsageError(f"At least {FEWEST} normal pictures are needed to tell what is unusual, not {len(held_out)}.")
    above = (held_out[None, :] >= scores[:, None]).sum(1)
    share: np.ndarray = (1 + above) / (1 + len(held_out))
    return share


def auroc(normal: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """The probability that another kind of picture scores higher than a normal one, with its 95 % interval.

    By ranks (Mann & Whitney), ties counting half; the interval is that of Hanley & McNeil 1982.
    """
    greater = (other[:, None] > normal[None, :]).mean() + 0.5 * (other[:, None] == normal[None, :]).mean()
    area = float(greater)
    one, both = area / (2 - area), 2 * area**2 / (1 + area)
    n, m = len(other), len(normal)
    variance = (area * (1 - area) + (n - 1) * (one - area**2) + (m - 1) * (both - area**2)) / (n * m)
    half = 1.96 * float(np.sqrt(max(variance, 0.0)))
    return area, max(0.0, area - half), min(1.0, area + half)


def anomaly_map(model: Model, picture: np.ndarray, rounds: int = ROUNDS) -> np.ndarray:
    """How far each pixel of a picture is from what the model knows: float32 (H, W), the farthest 1.

    Arguments:
        model: The model.
        picture: uint8 (H, W, C), prepared.
        rounds: Gradient steps of the projection.

    Returns:
        float32 (H, W) in [0, 1].
    """
    import torch

    from betabloom.vae.inference import to_tensor

    begun = to_tensor(picture[None], next(model.vae.parameters()).device)
    x = begun.clone()
    for _ in range(rounds):
        x.requires_grad_(True)
        drawn = model.vae.reconstruct(x)
        energy = (x - drawn).square().sum() + STAY * (x - begun).abs().sum()
        (slope,) = torch.autograd.grad(energy, x)
        with torch.no_grad():
            x = (x - RATE * slope * (x - drawn).square().clamp_max(0.25)).clamp(0, 1)
    moved = torch.nn.functional.avg_pool2d((x - begun).abs().mean(1, keepdim=True), SMOOTH, 1, SMOOTH // 2)
    heat: np.ndarray = moved[0, 0].cpu().numpy()
    return heat / max(float(heat.max()), 1e-6)
