r"""Manifold Parzen windows: a density fitted to the codes of pictures that follows the lines along which they differ.

One narrow Gaussian stands near the code m_i of each training picture, stretched as its k nearest neighbours m_j differ
from one another (Vincent & Bengio 2002, https://papers.nips.cc/paper/2203-manifold-parzen-windows, with the neighbours
themselves in place of the principal directions among them):

    p(z) = 1/N Σ_i N(z; m̄ + a_i (m_i − m̄), a_i² H_i + diag(s²)),      H_i = h²/k Σ_j (m_j − n_i)(m_j − n_i)ᵀ,

with m̄ the mean of all codes, n_i that of m_i and its neighbours, and a_i² = ‖m_i − m̄‖² / (‖m_i − m̄‖² + tr H_i).

Two things matter where codes have hundreds of dimensions and neighbours are as far from a code as the mean is
(docs/log.md has the numbers). Differences are taken from n_i, not from m_i: all m_j − m_i have −m_i in
common, so that sums of them change how much of m_i a code has, down to its opposite. And codes are drawn towards m̄ by
as much as they are widened, so that they are as far from it as real ones are (Liu & West 2001, "Combined parameter and
state estimation in simulation-based filtering", section 10.3.2, do so for all kernels alike); decoders know nothing of
codes that are farther, which come out as speckles and glaring colours.

With h about 1 a code is a new picture, about as plausible as a reconstruction. Mixtures of few components fill the
space between far clusters too, which is where codes decode to camouflage. The bandwidth h cannot be chosen by
likelihood, since real codes never lie in so few directions exactly: `widen` raises it until pictures are new.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from betabloom.errors import UsageError
from betabloom.samplers.fast_numpy import JITTER
from betabloom.vae.posterior import LOG_2PI
from betabloom.vae.prior import Prior

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NEIGHBOURS", "Parzen", "fit_parzen", "widen"]

NEIGHBOURS = 32
BANDWIDTHS = (1.0, 1.2, 1.3, 1.35, 1.4, 1.45, 1.5, 1.6, 1.7, 1.8, 2.0, 2.5)
MOST_COPIES = 0.02  # share of near copies above which a sampler repeats the training pictures
SMALLEST_SPREAD = 1e-3
LARGEST_MEAN = 6e4  # float16 ends at 65504
AT_ONCE = 128  # codes, or kernels, that are worked on at a time, to bound the memory


class Parzen(Prior):
    """p(z) = 1/N Σ_i N(m̄ + a_i (m_i − m̄), a_i² H_i + diag s²), with H_i and a_i as above.

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
        self._mean: Tensor | None = None

    def kernels(self, i: Tensor) -> tuple[Tensor, Tensor]:
        """Of the kernels i (n,), their centres (n, l), and a_i h/√k (m_j − n_i), shape (n, k, l)."""
        centre = self._middle()
        code, others = self.mean[i].float(), self.mean[self.near[i].long()].float()
        own, k = code - centre, others.shape[1]
        middle = (code + others.sum(1)) / (k + 1)
        directions = (others - middle[:, None]) * (self.bandwidth / math.sqrt(k))
        square, wider = own.square().sum(1), directions.square().sum((1, 2))
        a = torch.where(wider > 0, square / (square + wider), 1.0).sqrt()
        return centre + a[:, None] * own, a[:, None, None] * directions

    def _middle(self) -> Tensor:
        """m̄, worked out once."""
        if self._mean is None or self._mean.device != self.mean.device:
            self._mean = self.mean.float().mean(0)
        return self._mean

    def sample(self, noise: Tensor, choice: Tensor) -> Tensor:
        """The kernel that `choice` falls on, and in it its centre + B ε with B Bᵀ its covariance.

        With U the directions / s, of shape (k, l), and the Cholesky factor L Lᵀ = I + U Uᵀ (k×k),
        B = diag(s) (I + Uᵀ (I + L)⁻¹ U): nothing of l×l is ever made.
        """
        i = (choice.double() * len(self.mean)).long().clamp_max(len(self.mean) - 1)
        centre, directions = self.kernels(i)
        u = (directions / self.spread).double()
        factor = _factor(u)
        along = torch.linalg.solve_triangular(_with_one(factor), u @ noise.double()[:, :, None], upper=False)
        moved = noise + (u.mT @ along)[:, :, 0].to(noise.dtype)
        codes: Tensor = centre + self.spread * moved
        return codes

    def log_prob(self, z: Tensor) -> Tensor:
        """By the identities of Woodbury and Sylvester, so that only k×k matrices are inverted."""
        every = torch.arange(len(self.mean), device=z.device)
        centre, directions = self.kernels(every)
        white, u = centre / self.spread, directions / self.spread  # (N, l), (N, k, l)
        factor = torch.cat([_factor(some.double()).float() for some in torch.split(u, AT_ONCE)])
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


def _factor(u: Tensor) -> Tensor:
    """L (n, k, k) with L Lᵀ = I + U Uᵀ."""
    square = u @ u.mT
    trace = square.diagonal(dim1=1, dim2=2).sum(1)
    square.diagonal(dim1=1, dim2=2).add_(1 + JITTER * trace[:, None])
    factor: Tensor = torch.linalg.cholesky(square)
    return factor


def _with_one(factor: Tensor) -> Tensor:
    """I + L."""
    return factor + torch.eye(factor.shape[1], dtype=factor.dtype, device=factor.device)


def fit_parzen(mean: Tensor, log_var: Tensor, bandwidth: float = 1.0, neighbours: int = NEIGHBOURS) -> Parzen:
    """Fit manifold Parzen windows.

    Arguments:
        mean: Posterior means μ of training pictures, shape (N, l), N ≥ 2.
        log_var: Their log-variances, shape (N, l): s² is the mean of σ² over the pictures.
        bandwidth: h.
        neighbours: k; at most N − 1.

    Returns:
        The density, in evaluation mode.

    Raises:
        UsageError: There are fewer than 2 codes.
    """
    if len(mean) < 2:
        raise UsageError(f"Parzen windows need at least 2 codes, not {len(mean)}.")
    k = min(neighbours, len(mean) - 1)
    near = torch.cat([_nearest(rows, mean, first, k) for first, rows in _chunks(mean)])
    spread = log_var.exp().mean(0).sqrt().clamp_min(SMALLEST_SPREAD)
    # A model that diverged may have codes beyond what 16 bits hold: they are kept at the edge.
    return Parzen(mean.clamp(-LARGEST_MEAN, LARGEST_MEAN).half(), near, spread, torch.tensor(bandwidth)).eval()


def widen(density: Parzen, share: Callable[[Prior], float]) -> None:
    """Take the narrowest bandwidth with which Parzen windows do not repeat training pictures.

    Arguments:
        density: Its bandwidth is changed.
        share: The share of near copies of training pictures among what a density draws.
    """
    for bandwidth in BANDWIDTHS:
        density.bandwidth.fill_(bandwidth)
        if share(density) <= MOST_COPIES:
            return


def _chunks(codes: Tensor) -> list[tuple[int, Tensor]]:
    return [(first, codes[first : first + 1024]) for first in range(0, len(codes), 1024)]


def _nearest(rows: Tensor, codes: Tensor, first: int, k: int) -> Tensor:
    """Places (n, k) of the codes nearest to those from place `first` on, themselves left out."""
    distance = torch.cdist(rows, codes)
    distance[torch.arange(len(rows)), torch.arange(first, first + len(rows))] = math.inf
    return distance.topk(k, largest=False).indices.int()
