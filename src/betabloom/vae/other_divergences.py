r"""Distances between densities of codes: maximum mean discrepancy, KL and geometric Jensen–Shannon divergence.

**Maximum mean discrepancy** (Gretton et al. 2012, https://jmlr.org/papers/v13/gretton12a.html, lemma 6), with the
Gaussian kernel k(x, y) = exp(−‖x − y‖² / 2h²):

    MMD²(p, q) = E k(x, x') − 2 E k(x, y) + E k(y, y'),      x, x' ~ p,   y, y' ~ q,

which is 0 only for p = q. The width is h = √l by default, about the distance of a code from the mean of N(0, I) in l
dimensions. Where p is N(0, I) its two means have closed forms, so that nothing has to be sampled from it.

**Geometric Jensen–Shannon divergence** (Deasy, Simidjievski & Liò 2020, https://arxiv.org/abs/2006.10599, section 3):
with the geometric mean G ∝ q^a p^(1−a), which is a Gaussian if both are, (1 − a) KL(q ‖ G) + a KL(p ‖ G). For a = 0 it
is KL(q ‖ p), for a = 1 it is KL(p ‖ q).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from betabloom.errors import UsageError

__all__ = ["geometric_jensen_shannon", "mmd", "mmd_to_standard_normal", "normal_kl"]


def mmd(x: Tensor, y: Tensor, width: float = 0.0) -> Tensor:
    """MMD² of two samples, unbiased: 0 on average where both come from one density, then often below 0.

    Arguments:
        x: Shape (N, l), N ≥ 2.
        y: Shape (M, l), M ≥ 2.
        width: h > 0; 0 for √l.

    Returns:
        A scalar, at most 2, without unit.
    """
    h = width or math.sqrt(x.shape[1])
    return _among(x, h) + _among(y, h) - 2 * _kernel(x, y, h).mean()


def mmd_to_standard_normal(z: Tensor, width: float = 0.0) -> Tensor:
    """MMD² of a sample z (N, l), N ≥ 2, from N(0, I), unbiased: a scalar, at most 2, without unit."""
    latents = z.shape[1]
    square = (width or math.sqrt(latents)) ** 2
    mixed = torch.exp(-z.float().square().sum(1) / (2 * (square + 1)) - 0.5 * latents * math.log1p(1 / square))
    own = math.exp(-0.5 * latents * math.log1p(2 / square))
    return _among(z, math.sqrt(square)) - 2 * mixed.mean() + own


def _kernel(x: Tensor, y: Tensor, width: float) -> Tensor:
    """k(x_i, y_j), shape (N, M); distances are not left to a matrix product, which rounds more in half the bits."""
    square = (x.float()[:, None] - y.float()).square().sum(2)
    return torch.exp(-square / (2 * width**2))


def _among(x: Tensor, width: float) -> Tensor:
    """Mean of k(x_i, x_j) over i ≠ j; k(x_i, x_i) = 1."""
    count = len(x)
    if count < 2:
        raise UsageError("The maximum mean discrepancy needs at least 2 codes in a batch.")
    return (_kernel(x, x, width).sum() - count) / (count * (count - 1))


def normal_kl(mean: Tensor, log_var: Tensor, other_mean: Tensor, other_log_var: Tensor) -> Tensor:
    """KL(N(m, s²) ‖ N(m', s'²)) element by element, in nats, with log s² and log s'² given."""
    log_ratio = log_var - other_log_var
    distance = (mean - other_mean).square() * torch.exp(-other_log_var)
    return 0.5 * (torch.exp(log_ratio) + distance - 1 - log_ratio)


def geometric_jensen_shannon(
    mean: Tensor, log_var: Tensor, other_mean: Tensor, other_log_var: Tensor, skew: float = 0.5
) -> Tensor:
    """The geometric Jensen–Shannon divergence of q = N(m, s²) and p = N(m', s'²), element by element, in nats.

    Arguments:
        mean: m.
        log_var: log s².
        other_mean: m'.
        other_log_var: log s'².
        skew: a in [0, 1]: 0 is KL(q ‖ p), 1 is KL(p ‖ q).
    """
    sharp, other_sharp = skew * torch.exp(-log_var), (1 - skew) * torch.exp(-other_log_var)
    total = sharp + other_sharp
    middle, log_middle = (sharp * mean + other_sharp * other_mean) / total, -torch.log(total)
    own = normal_kl(mean, log_var, middle, log_middle)
    return (1 - skew) * own + skew * normal_kl(other_mean, other_log_var, middle, log_middle)
