r"""Variations of a picture's code that are as plausible as the codes that a sampler draws.

Posteriors are far narrower than the space between pictures (in the bundled model σ is a thirtieth of the spread of
codes), so that samples of q(z|x) are copies. What tells how far a picture may change, and how, is the density that
pictures are drawn from. Of M codes that it draws, the k nearest to the code μ of a picture differ from one another in
the ways in which pictures like it differ; n is their mean, m̄ that of all M. A variation of amount t is

    z = m̄ + a (μ − m̄ + t/√k Σ_j ε_j (m_j − n)),      ε ~ N(0, I_k),
    a² = ‖μ − m̄‖² / (‖μ − m̄‖² + t²/k Σ_j ‖m_j − n‖²),

a draw from a window of `betabloom.samplers.parzen` that stands on μ, whatever the sampler is. t = 0 is the
reconstruction, t = 1 a sister; and since a keeps the distance from m̄, no t leads to where no codes are.
"""

from __future__ import annotations

import math

import numpy as np

from betabloom.arguments import number

__all__ = ["DRAWN", "NEAREST", "sisters"]

DRAWN, NEAREST = 512, 32  # M and k: the sixteenth of the density that is nearest to a picture


def sisters(code: np.ndarray, drawn: np.ndarray, noise: np.ndarray, amount: float = 1.0) -> np.ndarray:
    """Codes (n, l) of variations on a picture.

    Arguments:
        code: μ, shape (l,).
        drawn: Codes that the sampler draws, shape (M, l), M ≥ k.
        noise: ε, shape (n, k).
        amount: t ≥ 0.

    Returns:
        float32 (n, l).

    Raises:
        UsageError: The amount is negative or not a finite number.
    """
    amount = number(amount, "'amount'")
    k = noise.shape[1]
    near = drawn[np.square(drawn - code).sum(1).argsort(kind="stable")[:k]]
    ways, middle = (near - near.mean(0)) * (amount / math.sqrt(k)), drawn.mean(0)
    own = np.square(code - middle).sum()
    a = math.sqrt(own / (own + np.square(ways).sum())) if own > 0 else 1.0
    codes: np.ndarray = (middle + a * (code - middle + noise @ ways)).astype(np.float32)
    return codes
