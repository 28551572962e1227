"""Traversals: one latent dimension at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from betabloom.vae.vae import VAE
from betabloom.vae.inference import Codes, Pictures, decode

__all__ = ["traverse"]


def traverse(vae: VAE, code: Codes, dimensions: Sequence[int], offsets: Sequence[float]) -> Pictures:
    """What single latents do: the pictures of z = code + offset · e_i for every dimension i and offset.

    Arguments:
        vae: The model, in evaluation mode.
        code: (l,), the code to start from.
        dimensions: The latents i to change, one at a time; at least one.
        offsets: What is added, in units of the latents, in which the standard prior has standard deviation 1.

    Returns:
        uint8 pictures (len(dimensions), len(offsets), H, W, C).
    """
    changes = np.zeros((len(dimensions), len(offsets), len(code)), np.float32)
    changes[np.arange(len(dimensions)), :, list(dimensions)] = offsets
    pictures = decode(vae, (code + changes).reshape(-1, len(code)))
    return pictures.reshape(len(dimensions), len(offsets), *pictures.shape[1:])
