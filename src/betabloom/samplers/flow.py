r"""A rectified flow fitted to the codes of pictures: codes that were white noise, moved step by step.

Rectified flow (Liu et al. 2022, https://arxiv.org/abs/2209.03003; flow matching, Lipman et al. 2022,
https://arxiv.org/abs/2210.02747): noise z_0 and a code z_1 are drawn independently, a network learns the mean velocity
at which what lies between them passes a point, and a new code is noise that was carried along with that velocity. Codes
are whitened by their mean m and covariance L Lᵀ first, and what lies between runs on a quarter of a circle,

    x_a = cos(a) z_0 + sin(a) z_1,      v(x, a) = E[cos(a) z_1 − sin(a) z_0 | x_a = x],      0 ≤ a ≤ π/2.

Its paths are those of the straight line (1 − t) z_0 + t z_1 with tan(a) = t / (1 − t), divided by
√(t² + (1 − t)²): both velocities follow from the same E[z_1 | x], so new codes are the same. But x_a has variance 1
throughout, and v = 0 where codes are Gaussian: the network starts there, as one full-covariance Gaussian, and learns
how codes differ from one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from betabloom.errors import UsageError
from betabloom.networks.averaging import move_average
from betabloom.samplers.fast_numpy import FLOW_STEPS, FREQUENCIES, flow_shapes
from betabloom.samplers.mixture import fit_mixture
from betabloom.vae.posterior import LOG_2PI
from betabloom.vae.prior import Prior

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Flow", "fit_flow"]

STRIDE = 0.5 * math.pi / FLOW_STEPS
WIDTH, BLOCKS = 384, 4  # 1.4 million weights for 256 latents
BATCH = 256
LEARNING_RATE = 1e-3
WARMUP, DECAY_FROM = 50, 0.5  # steps, part of all steps
EMA = 0.998
AT_ONCE = 4096  # numbers of codes whose density is worked out at a time, to bound the memory


def velocity(weights: Mapping[str, Tensor], x: Tensor, angle: Tensor) -> Tensor:
    """v(x, a): h ← enter(x); h ← h + outer(SiLU(inner(norm h) + time(a))) for each of b blocks; leave(SiLU(norm h)).

    Arguments:
        weights: The tensors of `Flow` by name.
        x: Whitened codes, shape (B, l).
        angle: a, shape (B,).
    """
    turns = torch.arange(1, FREQUENCIES + 1, device=x.device) * angle[:, None]
    place = torch.cat([turns.cos(), turns.sin()], 1)
    h = F.linear(x, weights["enter"], weights["enter_bias"])
    parts = (weights[name].unbind() for name in ("inner", "time", "time_bias", "outer", "outer_bias"))
    for inner, time, time_bias, outer, outer_bias in zip(*parts, strict=True):
        inside = F.linear(_normalised(h), inner) + F.linear(place, time, time_bias)
        h = h + F.linear(F.silu(inside), outer, outer_bias)
    return F.linear(F.silu(_normalised(h)), weights["leave"], weights["leave_bias"])


def _normalised(h: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the features (layer normalisation without weights)."""
    return F.layer_norm(h, h.shape[1:])


class Flow(Prior):
    """Codes m + L x, with x the end of a path that begins in white noise.

    Arguments:
        mean: m, shape (l,).
        factor: L, lower triangular, shape (l, l).
        weights: Those of `velocity`, of the shapes that `betabloom.samplers.fast_numpy.flow_shapes` gives.
    """

    def __init__(self, mean: Tensor, factor: Tensor, **weights: Tensor) -> None:
        super().__init__()
        self.latents = len(mean)
        self.mean: Tensor
        self.factor: Tensor
        self.enter: Tensor
        self.inner: Tensor
        self.register_buffer("mean", mean)
        self.register_buffer("factor", factor)
        for name, value in weights.items():
            self.register_buffer(name, value)

    def sample(self, noise: Tensor, choice: Tensor) -> Tensor:
        """Walk from noise to whitened codes, each step with the velocity in its middle (the midpoint rule)."""
        x, weights = noise, dict(self.named_buffers())
        for step in range(FLOW_STEPS):
            middle = x + 0.5 * STRIDE * velocity(weights, x, _angle(step, x))
            x = x + STRIDE * velocity(weights, middle, _angle(step + 0.5, x))
        return self.mean + x @ self.factor.T

    def log_prob(self, z: Tensor) -> Tensor:
        """By walking back and adding up the divergence of v, which tells how volumes change.

        As exact as the steps are fine. The divergence takes l derivatives of the network at every step: for small l, or
        few codes.
        """
        return torch.cat([self._log_prob(rows) for rows in torch.split(z, max(AT_ONCE // self.latents, 1))])

    def _log_prob(self, z: Tensor) -> Tensor:
        weights = dict(self.named_buffers())

        def at(row: Tensor, angle: Tensor) -> Tensor:
            return velocity(weights, row[None], angle[None])[0]

        slopes = torch.func.vmap(torch.func.jacrev(at))
        x = torch.linalg.solve_triangular(self.factor, (z - self.mean).T, upper=False).T
        grown = self.factor.diagonal().log().sum().expand(len(z))
        for step in reversed(range(FLOW_STEPS)):
            middle, angle = x - 0.5 * STRIDE * velocity(weights, x, _angle(step + 1, x)), _angle(step + 0.5, x)
            grown = grown + STRIDE * slopes(middle, angle).diagonal(dim1=1, dim2=2).sum(1)
            x = x - STRIDE * velocity(weights, middle, angle)
        log_prob: Tensor = -0.5 * (x.square().sum(1) + self.latents * LOG_2PI) - grown
        return log_prob


def _angle(step: float, x: Tensor) -> Tensor:
    """How far on the circle a number of steps leads, shape (B,)."""
    return torch.full((x.shape[0],), step * STRIDE, device=x.device)


def fit_flow(
    mean: Tensor, log_var: Tensor, steps: int, seed: int = 0, width: int = WIDTH, blocks: int = BLOCKS
) -> Flow:
    """Fit a rectified flow to samples of q(z|x), which are drawn again in every step.

    The averaged weights of Adam's steps are kept, as of the model itself.

    Arguments:
        mean: Posterior means μ of training pictures, shape (N, l), N ≥ 2, on the CPU.
        log_var: Their log-variances, shape (N, l); −inf for a point posterior.
        steps: Training steps of 256 codes, ≥ 1.
        seed: Of all randomness.
        width: w.
        blocks: b.

    Returns:
        The density, in evaluation mode.

    Raises:
        UsageError: There are fewer than 2 codes, or no steps.
    """
    if len(mean) < 2 or steps < 1:
        raise UsageError(f"A flow needs at least 2 codes and 1 step, not {len(mean)} and {steps}.")
    generator = torch.Generator().manual_seed(seed)
    spread = torch.exp(0.5 * log_var)
    whole = fit_mixture(mean + spread * torch.randn(mean.shape, generator=generator), 1, seed)
    centre, factor = whole.mean[0], whole.factor[0]
    weights = _first_weights(mean.shape[1], width, blocks, generator)
    averaged = {name: value.detach().clone() for name, value in weights.items()}
    optimiser = torch.optim.Adam(weights.values(), LEARNING_RATE, fused=True)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * min((step + 1) / WARMUP, (1 - step / steps) / (1 - DECAY_FROM), 1)
        rows = torch.randint(len(mean), (BATCH,), generator=generator)
        z = mean[rows] + spread[rows] * torch.randn(BATCH, mean.shape[1], generator=generator)
        code = torch.linalg.solve_triangular(factor, (z - centre).T, upper=False).T
        _loss(weights, code, generator).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad()
        move_average(averaged.values(), weights.values(), EMA, step)
    return Flow(centre, factor, **averaged).eval()


def _loss(weights: Mapping[str, Tensor], code: Tensor, generator: torch.Generator) -> Tensor:
    """Mean squared error of the velocities between white noise and the whitened codes (B, l), somewhere on the way."""
    noise = torch.randn(code.shape, generator=generator)
    angle = 0.5 * math.pi * torch.rand(len(code), generator=generator)
    near, far = angle.cos()[:, None], angle.sin()[:, None]
    return F.mse_loss(velocity(weights, near * noise + far * code, angle), near * code - far * noise)


def _first_weights(latents: int, width: int, blocks: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Weights to begin with: blocks and the whole are zero, so that the flow is one Gaussian."""
    weights = {}
    for name, shape in flow_shapes(latents, width, blocks).items():
        drawn = name in ("enter", "inner", "time")
        weight = torch.randn(shape, generator=generator) / shape[-1] ** 0.5 if drawn else torch.zeros(shape)
        weights[name] = weight.requires_grad_()
    return {name: weight for name, weight in weights.items() if name not in ("mean", "factor")}
