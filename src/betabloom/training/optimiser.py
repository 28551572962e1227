r"""The optimisers: Muon for the hidden layers and AdamW for the rest, or AdamW for all weights.

**Muon** (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) replaces the gradient's running average M of a
weight matrix, (out, in·k·k) for convolutions, by the nearest matrix whose singular values are all about one,

    W ← W − η · √max(1, rows/columns) · orthogonal(M),      M = U S Vᵀ  ↦  U Vᵀ,

so that every direction of a layer learns at the same pace, the rare ones too (what it brings: docs/log.md). Layers that
touch pictures or codes, and vectors, are left to AdamW. Very large ones among these leave their gradients as factors
(`betabloom.networks.large_linear`).
"""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from betabloom.errors import UsageError
from betabloom.networks import large_linear

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from betabloom.networks.large_linear import LargeLinear
    from betabloom.vae.vae import VAE

    Work = Callable[[tuple[Tensor, Tensor]], None]
    Share = Callable[[Work, Sequence[tuple[Tensor, Tensor]]], None]

__all__ = ["OPTIMISERS", "Muon", "make_optimiser", "memory", "moments", "orthogonal", "restore_optimiser"]

OPTIMISERS = ("muon", "adam")
MUON_RATE = 20.0  # Muon's learning rate over Adam's: a matrix of singular values one has small entries
QUINTIC = (3.4445, -4.7750, 2.0315)  # coefficients of the iteration, chosen by its author for a steep start


def orthogonal(matrix: Tensor, iterations: int = 5) -> Tensor:
    """U S Vᵀ → about U Vᵀ, by Newton–Schulz iteration X ← PX with P = aI + bA + cA² and A = XXᵀ.

    X enters only as the small square A, which becomes PAP: the product of all P is gathered there, and X is multiplied
    once, at the end. In exact arithmetic that is the same; for layers of 3×3 kernels it is a third of the work.

    Arguments:
        matrix: Any real matrix (m, n), or several (k, m, n).
        iterations: At least 1; 5 bring singular values that are not tiny to within 0.7 and 1.2.
    """
    a, b, c = QUINTIC
    x = matrix / (matrix.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    gram = product = x @ x.mT
    for i in range(iterations):
        square = torch.addmm if gram.ndim == 2 else torch.baddbmm
        factor = square(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        product = factor @ product if i else factor
        if i < iterations - 1:
            gram = factor @ gram @ factor
    result: Tensor = product @ x
    return result.mT if tall else result


def _orthogonal(weight: Tensor) -> Tensor:
    """The same for a weight (m, …), of which all dimensions but the first are taken as one, in the order of memory."""
    if weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last):
        rows = weight.permute(0, 2, 3, 1)  # the order of columns does not matter, and this one needs no copy
        return orthogonal(rows.flatten(1)).reshape(rows.shape).permute(0, 3, 1, 2)
    return orthogonal(weight.flatten(1)).reshape(weight.shape)


def _one_by_one(work: Work, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    for pair in pairs:
        work(pair)


class Muon(torch.optim.Optimizer):
    """Muon for `matrices`, AdamW for `others`, behind one interface.

    Arguments:
        matrices: Weights of at least two dimensions; all but the first are taken as one. Without any, it is AdamW.
        others: Everything else.
        lr: Learning rate of the others; that of the matrices is 20 times larger.
        weight_decay: Decoupled, for both.
        momentum: Decay of the gradients' running average, with Nesterov's look ahead.
        fused: Whether AdamW runs its fused kernel.
        share: Calls a function for each of a list, several at the same time if it can; see `ThreadTeam.share`.
        large: Layers whose weights are among neither: AdamW learns from the factors of their gradients.
    """

    # As they are, but for what torch does so that its compiler passes them by: to load it, in a second and 60 MB.
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    _forget = inspect.unwrap(torch.optim.Optimizer.zero_grad)

    def __init__(
        self,
        matrices: list[nn.Parameter],
        others: list[nn.Parameter],
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        fused: bool = True,
        share: Share | None = None,
        large: Sequence[LargeLinear] = (),
    ) -> None:
        kinds = {"adam": others, "muon": matrices, "factored": [layer.weight for layer in large]}
        super().__init__(
            [{"params": weights, "kind": kind} for kind, weights in kinds.items() if weights],
            {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "fused": fused},
        )
        self._share = share or _one_by_one
        self.large = large
        for layer in large:
            layer.factors = []
            self.state[layer.weight] = large_linear.moments(layer.weight)  # before all that comes and goes: it stays

    @property
    def has_large_layers(self) -> bool:
        """Whether some layers leave the gradients of their weights as factors."""
        return bool(self.large)

    def clip(self, weights: Iterable[nn.Parameter], longest: float) -> Tensor:
        """Scale the gradient down if its norm is larger than allowed.

        Arguments:
            weights: All that learn.
            longest: The norm that is allowed; 0 for any.

        Returns:
            The norm that it had, a scalar.
        """
        found = [weight for weight in weights if weight.grad is not None]
        large = [layer for layer in self.large if layer.factors]
        norms = [
            *torch._foreach_norm([weight.grad for weight in found if weight.grad is not None]),
            *(layer.gradient_norm() for layer in large),
        ]
        norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
        if longest:
            torch.nn.utils.clip_grads_with_norm_(found, longest, norm)
            for layer in large:
                layer.scale_gradient((longest / (norm + 1e-6)).clamp(max=1))
        return norm

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, factors too."""
        self._forget(set_to_none)
        for layer in self.large:
            layer.factors = []

    def let_go(self) -> None:
        """Forget everything, since nothing more will be learned; layers become ordinary ones again."""
        self.zero_grad()
        self.state.clear()
        for layer in self.large:
            layer.factors = None

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Change every weight once, or none if the attribute `found_inf` is 1; `closure` is not used."""
        change = {"adam": self._adam, "muon": self._muon, "factored": self._factored}
        for group in self.param_groups:
            change[group["kind"]](group)

    def _muon(self, group: dict[str, Any]) -> None:
        found_inf: Tensor | None = getattr(self, "found_inf", None)
        if found_inf is not None and found_inf.device.type == "cpu":  # a look costs nothing here
            if found_inf:
                return
            found_inf = None
        weights = [weight for weight in group["params"] if weight.grad is not None]
        for weight in weights:
            if not self.state[weight]:
                self.state[weight]["average"] = torch.zeros_like(weight)
        averages = [self.state[weight]["average"] for weight in weights]
        gradients = [weight.grad for weight in weights]
        if found_inf is not None:
            gradients = [torch.where(found_inf > 0, old, new) for old, new in zip(averages, gradients, strict=True)]
        torch._foreach_lerp_(averages, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, averages, group["momentum"])
        rate = MUON_RATE * group["lr"]

        @torch.no_grad()
        def change(pair: tuple[Tensor, Tensor]) -> None:
            weight, gradient = pair
            weight.mul_(1 - rate * group["weight_decay"])
            weight.add_(_orthogonal(gradient), alpha=-rate * _size(gradient))

        if weights and weights[0].device.type == "cpu":
            self._share(change, list(zip(weights, ahead, strict=True)))
        else:
            _change_alike(weights, ahead, rate, group["weight_decay"], found_inf)

    def _adam(self, group: dict[str, Any]) -> None:
        weights = [weight for weight in group["params"] if weight.grad is not None]
        for weight in weights:
            state = self.state[weight]
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32, device=weight.device if group["fused"] else "cpu")
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
        states = [self.state[weight] for weight in weights]
        large_linear.adamw_(
            weights,
            [weight.grad for weight in weights],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            state_steps=[state["step"] for state in states],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            fused=group["fused"],
            found_inf=getattr(self, "found_inf", None),
        )

    def _factored(self, group: dict[str, Any]) -> None:
        if getattr(self, "found_inf", None):
            return
        for layer in self.large:
            if layer.factors:
                large_linear.adam_(layer, self.state[layer.weight], group["lr"], group["weight_decay"])


def _size(gradient: Tensor) -> float:
    """√max(1, rows/columns)."""
    return math.sqrt(max(1.0, len(gradient) / gradient[0].numel()))


def _change_alike(
    weights: Sequence[Tensor], ahead: Sequence[Tensor], rate: float | Tensor, decay: float, found_inf: Tensor | None
) -> None:
    """Change weights of the same shape together: on a GPU what takes time is starting kernels, not these products.

    `rate` may be a scalar on the device, and nothing is read from there.
    """
    alike: dict[tuple[int, ...], list[int]] = {}
    for place, weight in enumerate(weights):
        alike.setdefault(tuple(weight.shape), []).append(place)
    for shape, places in alike.items():
        found = orthogonal(torch.stack([ahead[place].flatten(1) for place in places]))
        for place, direction in zip(places, found, strict=True):
            old = weights[place]
            new = old * (1 - rate * decay) - (rate * _size(old)) * direction.view(shape)
            old.copy_(new if found_inf is None else torch.where(found_inf > 0, old, new))


def make_optimiser(
    name: str, vae: VAE, lr: float, weight_decay: float, fused: bool, share: Share | None = None
) -> Muon:
    """Make the optimiser of a VAE's weights by its name, "muon" or "adam"; see `Muon` for `share`."""
    if name not in OPTIMISERS:
        raise UsageError(f"Unknown optimiser {name!r}. Choose one of: {', '.join(OPTIMISERS)}.")
    parameters = [weight for weight in vae.parameters() if weight.requires_grad]
    hidden = _hidden(vae) if name == "muon" else set()
    on_cpu = parameters[0].device.type == "cpu"
    large = [layer for layer in large_linear.large_layers(vae) if on_cpu and id(layer.weight) not in hidden]
    apart = hidden | {id(layer.weight) for layer in large}
    return Muon(
        [p for p in parameters if id(p) in hidden],
        [p for p in parameters if id(p) not in apart],
        lr,
        weight_decay,
        fused=fused,
        share=share,
        large=large,
    )


def memory(optimiser: Muon) -> dict[str, Tensor]:
    """What an optimiser remembers of each weight, by number and name, as tensors without memory of their own."""
    weights = [(weight, group["kind"]) for group in optimiser.param_groups for weight in group["params"]]
    return {
        f"{number}.{name}": torch.empty(
            () if name == "step" else weight.shape,
            dtype=large_linear.MOMENTS if kind == "factored" and name != "step" else torch.float32,
            device="meta",
        )
        for number, (weight, kind) in enumerate(weights)
        for name in (("average",) if kind == "muon" else ("step", "exp_avg", "exp_avg_sq"))
    }


def moments(optimiser: Muon) -> dict[str, Tensor]:
    """What an optimiser remembers by now, by number and name."""
    every = optimiser.state_dict()["state"]
    return {f"{number}.{name}": value for number, of in every.items() for name, value in of.items()}


def restore_optimiser(optimiser: Muon, tensors: dict[str, Tensor]) -> None:
    """Put the optimiser's moments back, laid out in memory as their parameters are: fused kernels rely on it."""
    fused = optimiser.defaults["fused"]
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    for name, value in tensors.items():
        index, _, moment = name.partition(".")
        like = weights[int(index)]
        state = optimiser.state[like]
        if moment == "step":
            state[moment] = value.to(like.device if fused else "cpu", copy=True)  # or it would keep the file open
        else:
            held = state[moment] if moment in state else torch.empty_like(like, dtype=value.dtype)
            state[moment] = held.copy_(value)


def _hidden(vae: VAE) -> set[int]:
    """Identities of the matrices that touch neither pictures nor codes."""
    inner: set[int] = set()
    after = ((layer, (0, -1)) for layer in (*vae.decoder.head, *vae.decoder.enlargers))
    for body, outermost in ((vae.encoder.body, (0,)), (vae.decoder.body, (0, -1)), *after):
        weights = [p for p in body.parameters() if p.ndim > 1]
        ends = {id(weights[place]) for place in outermost} if weights else set()
        inner |= {id(p) for p in weights} - ends
    return inner
