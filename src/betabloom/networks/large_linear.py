r"""Linear layers that can be trained without ever holding the gradient of all their weights in memory.

The weights W (out, in) of a layer y = xWᵀ + b have, for a batch of B pictures, the gradient

    ∂L/∂W = Σ_b δ_b x_bᵀ = ΔᵀX,      Δ = ∂L/∂y (B, out),      X (B, in).

Its two factors say all of it, and are far smaller where B is. Its norm is that of two small matrices,
‖ΔᵀX‖² = ⟨ΔΔᵀ, XXᵀ⟩, and AdamW, which changes every weight by itself, makes it block by block, in the processor's cache.

The moments of these weights are kept in bf16: both take as much as the weights. The mean of squares changes by a
thousandth in a step, which is less than bf16 can tell, so it is rounded up or down at random, with the probabilities
that make it right on average (stochastic rounding: Gupta et al. 2015, https://arxiv.org/abs/1502.02551, section 3). The
noise of a step follows from its number, so that resumed runs are the same.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["MOMENTS", "LargeLinear", "adam_", "adamw_", "large_layers", "moments", "stochastic_round_", "together"]

LARGE = 1 << 24  # weights of a layer: its gradient is of 64 MB and more
BLOCK, HEIGHT = 1 << 18, 64  # weights that are changed at a time; rows of these for which one product is made
PART = 1 << 21  # weights that are brought to another type at a time
MOMENTS, NAMES = torch.bfloat16, ("exp_avg", "exp_avg_sq")
BETAS, EPSILON = (0.9, 0.999), 1e-8  # of AdamW
adamw_ = functools.partial(
    adamw, max_exp_avg_sqs=[], amsgrad=False, beta1=BETAS[0], beta2=BETAS[1], eps=EPSILON, maximize=False
)
HALF = 1 << 15  # half the last place of bf16, in places of float32


class LargeLinear(nn.Linear):
    """A linear layer that can leave the gradient of its weights as factors.

    Attributes:
        factors: Pairs of Δ (B, out) and X (B, in), one for each backward pass, where an optimiser set it to a list: it
            then learns from them and clears it. None, as at first: `weight.grad` has the gradient, as in any layer.
    """

    factors: list[tuple[Tensor, Tensor]] | None = None

    def forward(self, x: Tensor) -> Tensor:
        return together(x, [self])[0]

    def gradient_norm(self) -> Tensor:
        """‖ΔᵀX‖, a scalar; `factors` must not be empty."""
        delta, x = _joined(self.factors or [])
        return (_gram(delta) * _gram(x)).sum().clamp(min=0).sqrt()

    def scale_gradient(self, by: Tensor) -> None:
        """Multiply the gradient by a number."""
        self.factors = [(delta * by.to(delta.dtype), x) for delta, x in self.factors or []]


def together(x: Tensor, layers: Sequence[LargeLinear]) -> tuple[Tensor, ...]:
    """The outputs of several layers for the same x (B, in)."""
    kept = [layer.factors for layer in layers if layer.factors is not None]
    if len(kept) < len(layers) or not torch.is_grad_enabled():
        return tuple(nn.functional.linear(x, layer.weight, layer.bias) for layer in layers)
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    weights, biases = [layer.weight for layer in layers], [layer.bias for layer in layers]
    made: tuple[Tensor, ...] = _Factored.apply(x.to(dtype), kept, *weights, *biases)  # type: ignore[no-untyped-call]
    return made


class _Factored(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: list[list[tuple[Tensor, Tensor]]], *parameters: Tensor) -> Any:
        weights, biases = parameters[: len(kept)], parameters[len(kept) :]
        ctx.save_for_backward(x, *weights)
        ctx.kept = kept
        with torch.autocast("cpu", enabled=False):
            return tuple(_times([(x, w.T)]).add_(b.to(x.dtype)) for w, b in zip(weights, biases, strict=True))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, *weights = ctx.saved_tensors
        for factors, gradient in zip(ctx.kept, gradients, strict=True):
            factors.append((gradient, x))
        for_x = _times(list(zip(gradients, weights, strict=True))) if ctx.needs_input_grad[0] else None
        return for_x, None, *(None for _ in weights), *(gradient.sum(0) for gradient in gradients)


def _times(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The sum of products x (B, m) · matrix (m, n), in the type of x, to which matrices are brought part by part."""
    x, matrix = pairs[0]
    rows, columns = matrix.shape
    if rows > columns:
        size = max(1, PART // columns)
        parts = ((torch.split(x, size, 1), torch.split(matrix, size)) for x, matrix in pairs)
        products = ((a @ b.to(a.dtype)).float() for split in parts for a, b in zip(*split, strict=True))
        total: Tensor = functools.reduce(torch.add, products)
        return total.to(x.dtype)
    y, size = x.new_empty(len(x), columns), max(1, PART // rows)
    for i in range(0, columns, size):
        place, some = y[:, i : i + size], [m[:, i : i + size].to(x.dtype) for _, m in pairs]
        torch.mm(x, some[0], out=place)
        for (other, _), more in zip(pairs[1:], some[1:], strict=True):
            place.addmm_(other, more)
    return y


def large_layers(network: nn.Module) -> list[LargeLinear]:
    """The layers of a network for which this pays, those that are not trained left out."""
    layers = (layer for layer in network.modules() if isinstance(layer, LargeLinear))
    return [layer for layer in layers if layer.weight.numel() >= LARGE and layer.weight.requires_grad]


def _joined(factors: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The factors of the sum of the gradients: those of all passes, one after the other."""
    if len(factors) == 1:
        return factors[0]
    deltas, xs = zip(*factors, strict=True)
    return torch.cat(deltas), torch.cat(xs)


def _gram(x: Tensor) -> Tensor:
    """x xᵀ (B, B) in float32; in bf16, what products of its parts were rounded by averages out."""
    return torch.stack([part @ part.T for part in torch.split(x, BLOCK // 64, 1)]).sum(0, dtype=torch.float32)


def moments(weight: Tensor) -> dict[str, Tensor]:
    """What AdamW remembers of weights before the first step, by the names that it has for it."""
    return {"step": torch.zeros(()), **{name: torch.zeros_like(weight, dtype=MOMENTS) for name in NAMES}}


@torch.no_grad()
def adam_(layer: LargeLinear, state: dict[str, Tensor], lr: float, weight_decay: float) -> None:
    """One step of AdamW for the weights of a layer that has factors.

    Arguments:
        layer: Its weights are changed, and its factors read.
        state: From `moments`.
        lr: Learning rate.
        weight_decay: Decoupled.
    """
    weight = layer.weight
    delta, x = _joined(layer.factors or [])
    seed = int(state["step"])
    noise = torch.randint(-HALF, HALF, (BLOCK,), generator=torch.Generator().manual_seed(seed), dtype=torch.int32)
    scratch = torch.empty(3, BLOCK)
    for panel in _panels(weight.shape):
        made = delta[:, panel[0]].T @ x[:, panel[1]]
        for own, exact, first, second in _pieces(weight[panel], made, *(state[name][panel] for name in NAMES)):
            gradient, moment, square = (each[: own.numel()].view(own.shape) for each in scratch)
            gradient.copy_(exact)
            moment.copy_(first)
            square.copy_(second)
            steps = [state["step"].clone()]
            adamw_(
                [own], [gradient], [moment], [square], state_steps=steps, lr=lr, weight_decay=weight_decay, fused=True
            )
            first.copy_(moment)
            second.copy_(stochastic_round_(square, noise[: own.numel()].view(own.shape)))
    state["step"] += 1


def stochastic_round_(x: Tensor, noise: Tensor) -> Tensor:
    """Change float32 that is not negative in place, so that rounding to bf16 rounds it up or down at random.

    Arguments:
        x: Of any shape.
        noise: int32, uniform in −`HALF` … `HALF` − 1, that is of half a last place of bf16.
    """
    x.view(torch.int32).add_(noise).clamp_(min=0)  # less than nothing would be no number
    return x


def _panels(shape: torch.Size) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the parts of a matrix whose gradients are made at a time."""
    rows, columns = shape
    height = max(1, BLOCK // columns) if columns <= BLOCK else HEIGHT
    for row in range(0, rows, height):
        for column in range(0, columns, BLOCK):
            yield slice(row, row + height), slice(column, column + BLOCK)


def _pieces(*alike: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """Parts of matrices that lie alike, in pieces that each lie together in memory: whole, or row by row."""
    return [alike] if alike[0].is_contiguous() else zip(*alike, strict=True)
