"""What a decoder draws in a step with a teacher: reconstructions of pictures, and new pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from betabloom.refine.student import autocast
from betabloom.vae import inference

if TYPE_CHECKING:
    from torch import Tensor, nn

    from betabloom.model.model import Model
    from betabloom.refine.student import Recipe
    from betabloom.vae.vae import VAE

__all__ = ["DecoderBatches"]


class DecoderBatches:
    """Step → pictures x (B, C, H, W), and x̂ (B + B', C, H, W): their reconstructions, then new pictures.

    Arguments:
        model: Encodes the pictures, and has the sampler that new codes are drawn from.
        vae: Its decoder draws.
        pictures: uint8 (N, H, W, C).
        recipe: How many of both are in a step.
        seed: Of everything that is drawn.
    """

    def __init__(self, model: Model, vae: VAE, pictures: np.ndarray, recipe: Recipe, seed: int) -> None:
        self.vae, self.pictures, self.seed, self.density = vae, pictures, seed, model.density()
        self.real, self.fresh = recipe.real, recipe.fresh
        self.device = next(vae.parameters()).device
        # Both ways round, since a picture and its mirror image have codes of their own.
        both = [inference.encode(model.vae, part) for part in (pictures, np.ascontiguousarray(pictures[:, :, ::-1]))]
        self.mean = torch.from_numpy(np.stack([mean for mean, _ in both]))
        self.std = torch.from_numpy(np.stack([np.exp(0.5 * log_var) for _, log_var in both]))

    def __call__(self, step: int, by: nn.Module | None = None) -> tuple[Tensor, Tensor]:
        """The pictures of a step, drawn by another decoder if one is given."""
        rng = np.random.default_rng([self.seed, step])
        rows, mirrored = rng.integers(len(self.pictures), size=self.real), rng.integers(2, size=self.real)
        chosen = self.pictures[rows]
        chosen = np.where(mirrored[:, None, None, None] == 1, chosen[:, :, ::-1], chosen)
        latents, real, fresh = self.mean.shape[2], self.real, self.fresh
        noise = torch.from_numpy(rng.standard_normal((real + fresh, latents), np.float32))
        codes = self.mean[mirrored, rows] + self.std[mirrored, rows] * noise[:real]
        with torch.no_grad():
            new = self.density.sample(noise[real:].to(self.device), torch.from_numpy(rng.random(fresh)).to(self.device))
        x = inference.to_tensor(chosen, self.device).contiguous(memory_format=torch.channels_last)
        with autocast(self.device):
            outputs = (by or self.vae.decoder)(torch.cat([codes.to(self.device), new]))
            made = self.vae.likelihood.mean(outputs)
        return x, made.contiguous(memory_format=torch.channels_last)
