r"""Manifold Parzen windows: a density fitted to the codes of pictures that follows the lines along which they differ.

One narrow Gaussian stands at the code m_i of each training picture, stretched towards its k nearest neighbours m_j
(Vincent & Bengio 2002, https://papers.nips.cc/paper/2203-manifold-parzen-windows, with the neighbours themselves in
place of the principal directions among them):

    p(z) = 1/N Σ_i N(z; m_i, C_i),      C_i = h²/k Σ_j (m_j − m_i)(m_j − m_i)ᵀ + diag(s²).

With h about 1 a code drawn from it is as far from m_i as a neighbour is, in directions in which real pictures differ: a
new picture, about as plausible as a reconstruction. Mixtures of few components fill the space between far clusters too,
which is where codes decode to camouflage (docs/log.md has the numbers). The bandwidth h is no matter of likelihood,
since real codes never lie in so few directions exactly: `betabloom.samplers` widens it until pictures are new.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from betabloom.errors import UsageError
from betabloom.posterior import LOG_2PI
from betabloom.prior import Prior

__all__ = ["NEIGHBOURS", "Parzen", "fit_parzen"]

NEIGHBOURS = 16
SMALLEST_SPREAD = 1e-3
LARGEST_MEAN = 6e4  # float16 ends at 65504
AT_ONCE = 128  # codes whose density is worked out at a time, to bound the memory


class Parzen(Prior):
    """p(z) = 1/N Σ_i N(m_i, h²/k Σ_j (m_j − m_i)(m_j − m_i)ᵀ + diag s²).

    Arguments:
        mean: m, shape (N, l), float16 (half the space; rounding is far below s).
        near: Places of the neighbours j of each i, shape (N, k), int32.
        spread: s, shape (l,), positive.
        bandwidth: h > 0, a scalar tensor.
    """

    def __init__(self, mean: Tensor, near: Tensor, spread: Tensor, bandwidth: Tensor) -> None:
        super().__init__()
        self.latents = mean.shape[1]
        self.mean: Tensor
        self.near: Tensor
        self.spread: Tensor
        self.bandwidth: Tensor
        self.register_buffer("mean", mean)
        self.register_buffer("near", near)
        self.register_buffer("spread", spread)
        self.register_buffer("bandwidth", bandwidth)

    def directions(self, i: Tensor) -> Tensor:
        """h/√k (m_j − m_i) for the kernels i (n,), shape (n, k, l)."""
        mean, near = self.mean.float(), self.near[i].long()
        return (mean[near] - mean[i, None]) * (self.bandwidth / math.sqrt(near.shape[1]))

    def sample(self, noise: Tensor, choice: Tensor) -> Tensor:
        """The kernel that `choice` falls on, and in it m_i + C_i^½ ε with the factor of C_i below.

        With U = h/√k (m_j − m_i) / s, of shape (k, l), and the eigenvectors Q and values λ of U Uᵀ (k×k),
        diag(s) (I + Uᵀ U)^½ = diag(s) (I + Uᵀ Q diag(1 / (1 + √(1 + λ))) Qᵀ U): nothing of l×l is ever made.
        """
        i = (choice.double() * len(self.mean)).long().clamp_max(len(self.mean) - 1)
        u = self.directions(i) / self.spread
        value, vector = torch.linalg.eigh(u @ u.mT)
        along = torch.einsum("nkq,nkl->nql", vector, u)  # Qᵀ U
        weight = torch.einsum("nql,nl->nq", along, noise) / (1 + (1 + value.clamp_min(0)).sqrt())
        return self.mean[i].float() + self.spread * (noise + torch.einsum("nq,nql->nl", weight, along))

    def log_prob(self, z: Tensor) -> Tensor:
        """By the identities of Woodbury and Sylvester, so that only k×k matrices are inverted."""
        every = torch.arange(len(self.mean), device=z.device)
        white = self.mean.float() / self.spread
        u = self.directions(every) / self.spread  # (N, k, l)
        factor = torch.linalg.cholesky(u @ u.mT + torch.eye(u.shape[1], device=z.device))
        log_det = factor.diagonal(dim1=1, dim2=2).log().sum(1) + self.spread.log().sum()
        at_mean = torch.einsum("nkl,nl->nk", u, white)
        parts = []
        for rows in torch.split(z / self.spread, AT_ONCE):
            across = (u.flatten(0, 1) @ rows.T).view(*u.shape[:2], -1) - at_mean[:, :, None]  # (N, k, b)
            inside = torch.linalg.solve_triangular(factor, across, upper=False).square().sum(1)
            whole = torch.cdist(white, rows).square()
            each = -0.5 * (whole - inside + self.latents * LOG_2PI) - log_det[:, None]
            parts.append(torch.logsumexp(each, 0) - math.log(len(self.mean)))
        return torch.cat(parts)


def fit_parzen(mean: Tensor, log_var: Tensor, bandwidth: float = 1.0, neighbours: int = NEIGHBOURS) -> Parzen:
    """Fit manifold Parzen windows.

    Arguments:
        mean: Posterior means μ of training pictures, shape (N, l), N ≥ 2.
        log_var: Their log-variances, shape (N, l): s² is the mean of σ² over the pictures.
        bandwidth: h.
        neighbours: k; at most N − 1.

    Returns:
        The density, in evaluation mode.
    """
    if len(mean) < 2:
        raise UsageError(f"Parzen windows need at least 2 codes, not {len(mean)}.")
    k = min(neighbours, len(mean) - 1)
    near = torch.cat([_nearest(rows, mean, first, k) for first, rows in _chunks(mean)])
    spread = log_var.exp().mean(0).sqrt().clamp_min(SMALLEST_SPREAD)
    # A model that diverged may have codes beyond what 16 bits hold: they are kept at the edge.
    return Parzen(mean.clamp(-LARGEST_MEAN, LARGEST_MEAN).half(), near, spread, torch.tensor(bandwidth)).eval()


def _chunks(codes: Tensor) -> list[tuple[int, Tensor]]:
    return [(first, codes[first : first + 1024]) for first in range(0, len(codes), 1024)]


def _nearest(rows: Tensor, codes: Tensor, first: int, k: int) -> Tensor:
    """Places (n, k) of the codes nearest to those from place `first` on, themselves left out."""
    distance = torch.cdist(rows, codes)
    distance[torch.arange(len(rows)), torch.arange(first, first + len(rows))] = math.inf
    return distance.topk(k, largest=False).indices.int()
