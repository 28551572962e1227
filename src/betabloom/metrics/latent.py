"""Measures: arrays in, numbers out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["active_units"]


def active_units(means: np.ndarray, threshold: float = 0.01) -> int:
    """Count the latent dimensions whose posterior mean tells pictures apart: Var_x(μ_i(x)) > threshold.

    Burda, Grosse & Salakhutdinov 2015, https://arxiv.org/abs/1509.00519, section 5.2. A collapsed dimension has
    q(z_i|x) = p(z_i) for every picture, and variance 0.

    Arguments:
        means: Posterior means μ(x), shape (N, l).
        threshold: In squared units of the latents; 0.01 is customary.
    """
    return int((means.var(0) > threshold).sum())
