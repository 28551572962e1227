r"""The aggregate posterior q(z) = mean over training pictures of q(z|x), and a density fitted to it.

Training pulls q(z) towards the prior but never all the way: codes drawn from the prior fall where no picture was, and
decode to coloured noise. A density fitted to q(z) after training draws codes from where the pictures are (two-stage
sampling: Ghosh et al. 2020, https://arxiv.org/abs/1903.12436; Dai & Wipf 2019, https://arxiv.org/abs/1903.05789).
Encoder, decoder and objective stay as they are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from betabloom.errors import UsageError
from betabloom.metrics.covariance import shrunk_covariance
from betabloom.vae.posterior import LOG_2PI
from betabloom.vae.prior import Prior

__all__ = ["GaussianMixture", "fit_aggregate", "fit_mixture"]

COMPONENTS = (1, 2, 4, 8, 16)
ITERATIONS = 20
KMEANS_STEPS = 8  # before the first of them
TOLERANCE = 0.01  # nats per code, below which more iterations are not worth their time
TINY = 1e-4  # keeps empty components and constant dimensions from dividing by zero


class GaussianMixture(Prior):
    """p(z) = Σ_k w_k N(m_k, Σ_k) with full covariances: the density fitted to the aggregate posterior.

    Arguments:
        weight: w, shape (K,), positive, summing to 1.
        mean: m, shape (K, l).
        factor: Lower Cholesky factors of the covariances, shape (K, l, l).
    """

    def __init__(self, weight: Tensor, mean: Tensor, factor: Tensor) -> None:
        super().__init__()
        self.latents = mean.shape[1]
        self.weight: Tensor
        self.mean: Tensor
        self.factor: Tensor
        self.register_buffer("weight", weight)
        self.register_buffer("mean", mean)
        self.register_buffer("factor", factor)

    def log_joint(self, z: Tensor) -> Tensor:
        """Log w_k N(z; m_k, Σ_k) in nats, shape (B, K)."""
        parts = []
        eye = torch.eye(self.latents, device=self.factor.device)
        for log_weight, mean, factor in zip(self.weight.log(), self.mean, self.factor, strict=True):
            # For many codes the product with the inverse takes half the time of a triangular solve.
            white = (z - mean) @ torch.linalg.solve_triangular(factor, eye, upper=False).T
            log_det = factor.diagonal().log().sum()
            parts.append(log_weight - 0.5 * (white.square().sum(1) + self.latents * LOG_2PI) - log_det)
        return torch.stack(parts, 1)

    def log_prob(self, z: Tensor) -> Tensor:
        return torch.logsumexp(self.log_joint(z), 1)

    def sample(self, noise: Tensor, choice: Tensor) -> Tensor:
        edges = self.weight.double().cumsum(0)
        k = torch.searchsorted(edges, choice.double()).clamp_max(len(edges) - 1)
        return self.mean[k] + torch.einsum("nij,nj->ni", self.factor[k], noise)


def fit_mixture(z: Tensor, components: int, seed: int = 0, iterations: int = ITERATIONS) -> GaussianMixture:
    """Fit a mixture of full-covariance Gaussians by expectation-maximisation.

    Each covariance is shrunk towards that of all codes, and that one towards its diagonal, as if l more codes had been
    seen, so that few codes in many dimensions cannot make one singular.

    Arguments:
        z: Codes, shape (N, l), N ≥ 2.
        components: K ≥ 1.
        seed: Of the first assignment.
        iterations: Of expectation-maximisation, at most: it ends when the mean log-likelihood rises by less than
            `TOLERANCE` nats.

    Returns:
        The density, in evaluation mode.

    Raises:
        UsageError: There are fewer than 2 codes, or no components.
    """
    if len(z) < 2 or components < 1:
        raise UsageError(f"A mixture needs at least 2 codes and 1 component, not {len(z)} and {components}.")
    share = torch.nn.functional.one_hot(_first_assignment(z, components, seed), components).float()
    typical = shrunk_covariance(len(z) * torch.cov(z.T).reshape(z.shape[1], z.shape[1]), len(z), smallest=TINY)
    likelihood = -math.inf
    for _ in range(iterations if components > 1 else 1):
        mixture = _maximise(z, share, typical)
        if components == 1:
            break
        joint = mixture.log_joint(z)
        before, likelihood = likelihood, torch.logsumexp(joint, 1).mean().item()
        if likelihood - before < TOLERANCE:
            break
        share = torch.softmax(joint, 1)
    return mixture


def _maximise(z: Tensor, share: Tensor, typical: Tensor) -> GaussianMixture:
    """The mixture that fits best if code n belongs to component k with the given share (N, K).

    Covariances are shrunk towards the `typical` one, (l, l).
    """
    size = share.sum(0)
    means = (share.T @ z + TINY * z.mean(0)) / (size + TINY)[:, None]
    factors = []
    for k, mean in enumerate(means):
        centred = z - mean
        scatter = (share[:, k, None] * centred).T @ centred
        factors.append(_factor(shrunk_covariance(scatter, size[k].item(), typical)))
    return GaussianMixture((size + TINY) / (len(z) + TINY * len(size)), means, torch.stack(factors))


def _factor(covariance: Tensor) -> Tensor:
    """Lower Cholesky factor; of the diagonal alone where rounding made the covariance singular: of a diverged model."""
    factor, failed = torch.linalg.cholesky_ex(covariance)
    return torch.diag(covariance.diagonal().nan_to_num(TINY).clamp_min(TINY).sqrt()) if failed else factor


def _first_assignment(z: Tensor, components: int, seed: int) -> Tensor:
    """Nearest of k-means centres, shape (N,)."""
    generator = torch.Generator().manual_seed(seed)
    centres = z[torch.randperm(len(z), generator=generator)[:components]]
    for _ in range(KMEANS_STEPS):
        nearest = torch.cdist(z, centres).argmin(1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, z)
        sizes = torch.bincount(nearest, minlength=len(centres)).clamp_min(1)
        centres = sums / sizes[:, None]
    return torch.cdist(z, centres).argmin(1)


def fit_aggregate(z: Tensor, held_out: Tensor, seed: int = 0) -> GaussianMixture:
    """Fit mixtures of more and more components for as long as held-out codes become likelier.

    Arguments:
        z: Samples of q(z|x) for training pictures, shape (N, l).
        held_out: The same for held-out pictures, shape (M, l).
        seed: Of the fits.

    Returns:
        The best mixture, in evaluation mode.
    """
    best = fit_mixture(z, 1, seed)
    likeliest = best.log_prob(held_out).mean()
    for components in COMPONENTS[1:]:
        if len(z) < 20 * components:
            break
        mixture = fit_mixture(z, components, seed)
        likelihood = mixture.log_prob(held_out).mean()
        if likelihood <= likeliest:
            break
        best, likeliest = mixture, likelihood
    return best.eval()
