r"""Gaussians in a space of features, and the way from one to the other whose mean squared length is least.

Between N(m, S) of what a student draws and N(m', S') of real pictures the optimal transport is (Peyré & Cuturi 2019,
"Computational Optimal Transport", https://arxiv.org/abs/1803.00567, chapter 2)

    t(z) = m' + T (z − m),        T = S'^½ (S'^½ S S'^½)^-½ S'^½,

and its mean squared length is the Fréchet distance of both. The gradient of ½ ‖z − t(z)‖², with t(z) fixed, is on
average that of half this distance: so single pictures can be led along it, where a batch has too few for a covariance.

Moments of the student are running means, so t is that of a student of some steps ago. Led along it from where it is
now, a student that has moved goes on to move, and beyond its aim, until the means have followed: it swings. So a
picture is led to a place that does not move with it, r times the way from where such an earlier student has it, z':

    1/(2r) ‖z − (z' + r (t(z') − z'))‖².

At z = z' the gradient is the one above, whatever r, and it ends where the picture has gone r times the way. With r = 1
no student swings; decoders follow slowly and learn faster with more, but for patterns of single pixels (docs/log.md).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["REACH", "Projection", "Transport", "loss_along"]

REACH = 16.0  # r (docs/log.md)
RIDGE = 1e-3  # of the mean variance of real pictures, added to that of the student's
SMALLEST = 1e-12


class Projection:
    """Features → their first principal components, scaled to a mean squared length of 1.

    Arguments:
        features: Of real pictures, (N, D), N ≥ 2.
        most: How many components are kept, at most.

    Attributes:
        mean: Of the features, (D,).
        axes: (D, K), with the scale in them.
    """

    def __init__(self, features: Tensor, most: int) -> None:
        self.mean = features.mean(0)
        _, vectors = torch.linalg.eigh(torch.cov(_wide(features).T))
        axes = vectors.flip(1)[:, :most].to(features)
        length = ((features - self.mean) @ axes).square().sum(1).mean().clamp_min(SMALLEST)
        self.axes = axes * length.rsqrt()

    def __call__(self, features: Tensor) -> Tensor:
        """(B, D) → (B, K)."""
        components: Tensor = (features - self.mean) @ self.axes
        return components


class Transport:
    """Leads what a student draws to where real pictures are, by running moments of the former.

    Arguments:
        real: Components of real pictures, (N, K), N ≥ 2.

    Attributes:
        aim: m', (K,).
        covariance: S', float64 (K, K).
        first: Running mean of z, float64 (K,).
        second: Running mean of z zᵀ, float64 (K, K).
        start: m of the transport in use, (K,).
        map: T of the transport in use, (K, K).
        distance: The Fréchet distance when that was made.
    """

    def __init__(self, real: Tensor) -> None:
        size, self.aim = real.shape[1], real.mean(0)
        self.covariance = torch.cov(_wide(real).T).reshape(size, size)
        self.first, self.second = torch.zeros_like(_wide(self.aim)), torch.zeros_like(self.covariance)
        self.start, self.map = torch.zeros_like(self.aim), torch.eye(size, device=real.device)
        self.distance = torch.zeros_like(self.first.sum())
        self.prepare()

    def prepare(self) -> None:
        """Take the mean and the covariance of real pictures as they are now."""
        size = len(self.aim)
        self._aim, self._half = _wide(self.aim), _root(self.covariance)
        self._ridge = RIDGE * self.covariance.trace() / size * torch.eye(size).to(self.covariance)

    def tensors(self) -> dict[str, Tensor]:
        """All that it knows of real pictures and of the student: the tensors themselves."""
        names = ("aim", "covariance", "first", "second", "start", "map", "distance")
        return {name: getattr(self, name) for name in names}

    @torch.no_grad()
    def observe(self, z: Tensor, kept: float) -> None:
        """Take new points z (B, K) into the running moments, of which a part is kept."""
        wide = _wide(z)
        self.first.mul_(kept).add_((1 - kept) * wide.mean(0))
        self.second.mul_(kept).add_((1 - kept) * (wide.T @ wide / len(z)))

    @torch.no_grad()
    def solve(self) -> None:
        """Make the transport from the moments as they are now."""
        covariance = self.second - torch.outer(self.first, self.first)
        values, vectors = torch.linalg.eigh(self._half @ (covariance + self._ridge) @ self._half)
        values = values.clamp_min(SMALLEST)
        self.map.copy_(self._half @ (vectors * values.rsqrt()) @ vectors.T @ self._half)
        self.start.copy_(self.first)
        shift = (self.first - self._aim).square().sum()
        spread = covariance.trace() + self.covariance.trace() - 2 * values.sqrt().sum()
        self.distance.copy_((shift + spread).clamp_min(0))

    def loss(self, z: Tensor, before: Tensor, reach: float = REACH) -> Tensor:
        """The mean of the last formula above over points z and z' (B, K), of which the latter are fixed."""
        return loss_along(z, before, self.aim + (before - self.start) @ self.map.T - before, reach)


def loss_along(z: Tensor, before: Tensor, way: Tensor, reach: float = REACH) -> Tensor:
    """1/(2r) ‖z − (z' + r way)‖², the mean over points z and z' (B, …); `way` is that of each, or of all."""
    return (z - before - reach * way).flatten(1).square().sum(1).mean() / (2 * reach)


def _wide(x: Tensor) -> Tensor:
    """In 64 bits; on the CPU where the device, as Apple's, has none."""
    return x.cpu().double() if x.device.type == "mps" else x.double()


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    return root
