r"""Several processes at one training step, on one machine or many: each works through a part of the batch.

The objective is one of the whole batch (σ* of `OptimalGaussian`, total correlation and others compare its pictures), so
processes exchange what it is made of, a few numbers a picture: the heads of the encoder h_i, and the misfit e_i of the
likelihood. With f the networks of process r,

    h_r, e_r = f(x_r, ε_r; w),    L = L(all h, all e),    ∂L/∂w = Σ_r (∂f_r/∂w)ᵀ ∂L/∂(h_r, e_r) + (∂L/∂w directly).

Every process computes L, which is the same for all, so that what is logged is exact and all take or leave the step
alike. Then the gradients are added up, all in one message. Process r has the places r, r + world … of the global batch;
the step is that of one process up to rounding.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from betabloom.errors import BetabloomError, UsageError
from betabloom.training.accumulate import in_parts, is_out_of_memory
from betabloom.training.optimiser import moments, restore_optimiser

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from betabloom.training.group import Group
    from betabloom.training.state import Executor, Run

__all__ = ["distributed", "share_state"]


def distributed(group: Group) -> Executor:
    """An executor whose batches are those of one process of a group.

    Arguments:
        group: The processes. All have to come here equally often.

    Returns:
        An executor that returns the values of the global batch and leaves the gradients of it. It raises
        `BetabloomError` where memory is too small, and when another process is gone.
    """

    def part(run: Run, x: Tensor, noise: Tensor, share: float = 1.0) -> tuple[Tensor, ...]:
        return _gradients(group, run, x, noise, share)

    def work(run: Run, x: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        try:
            values = in_parts(run, x, noise, part)
            _add_up(group, run)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise BetabloomError(
                f"Memory is too small for process {group.rank} with {len(x)} pictures at a time. Work through them in "
                f"parts: --set micro_batches={2 * run.state.micro_batches}"
            ) from error
        return values

    return work


def _gradients(group: Group, run: Run, x: Tensor, noise: Tensor, share: float) -> tuple[Tensor, ...]:
    """Add this process's share of the gradients of the whole batch's objective; see `step.gradients`."""
    task, vae = run.task, run.state.vae
    with torch.autocast(task.device.type, task.dtype, enabled=task.dtype != torch.float32):
        *heads, output = vae.networks(x, noise)
        misfit, floor = vae.likelihood.misfit(output, x), vae.likelihood.floor(x)
    own = [each.float() for each in (*heads, misfit)]
    known = [noise] if floor is None else [noise, floor]
    whole = _gathered(group, [*own, *known])
    joint = [each.requires_grad_() for each in whole[: len(own)]]
    terms = vae.terms_of(
        whole[len(own)], joint[:-1], joint[-1], None if floor is None else whole[-1], math.prod(x.shape[1:])
    )
    loss = task.objective(terms, run.state.plan.t)
    weights = [weight for weight in vae.parameters() if weight.requires_grad]
    found = torch.autograd.grad(loss if share == 1 else share * loss, [*joint, *weights], allow_unused=True)
    for weight, gradient in zip(weights, found[len(joint) :], strict=True):
        if gradient is not None:  # of a prior or a scale that learns: every process has all of it
            _add(weight, gradient / group.world)
    _backward(group, own, found[: len(own)])
    return tuple(
        value.detach() * share
        for value in (loss, terms.distortion.mean(), terms.rate.mean(), *(() if floor is None else (whole[-1].mean(),)))
    )


def _gathered(group: Group, own: Sequence[Tensor]) -> list[Tensor]:
    """The rows (B, …) of all processes of several tensors, which travel in one message."""
    columns = [each.detach().flatten(1) if each.ndim > 1 else each.detach()[:, None] for each in own]
    whole = group.gathered(torch.cat(columns, 1))
    parts = torch.split(whole, [each.shape[1] for each in columns], 1)
    return [part.reshape(-1, *each.shape[1:]).clone() for part, each in zip(parts, own, strict=True)]


def _backward(group: Group, own: Sequence[Tensor], slopes: Sequence[Tensor | None]) -> None:
    """Take the slopes at this process's rows back to the weights."""
    mine = slice(group.rank * len(own[0]), (group.rank + 1) * len(own[0]))
    pairs = [(each, slope[mine]) for each, slope in zip(own, slopes, strict=True) if slope is not None]
    torch.autograd.backward([each for each, _ in pairs], [slope for _, slope in pairs])


def _add(weight: Tensor, gradient: Tensor) -> None:
    if weight.grad is None:
        weight.grad = torch.empty_like(weight).copy_(gradient)  # laid out as the weight is: fused kernels rely on it
    else:
        weight.grad += gradient


@torch.no_grad()
def _add_up(group: Group, run: Run) -> None:
    """Add up the gradients of all processes, in one message; of very large layers, gather their factors."""
    found = [weight.grad for weight in run.state.vae.parameters() if weight.grad is not None]
    whole = torch.cat([gradient.reshape(-1) for gradient in found])
    group.add_up(whole)
    for gradient, part in zip(found, torch.split(whole, [each.numel() for each in found]), strict=True):
        gradient.copy_(part.view(gradient.shape))
    for layer in run.state.optimiser.large:
        layer.factors = [(group.gathered(delta), group.gathered(x)) for delta, x in layer.factors or []]


def share_state(group: Group, run: Run) -> None:
    """Give all processes the state of process 0, which alone reads checkpoints, and check that they can share a batch.

    Raises:
        UsageError: The batch cannot be divided among them.
    """
    state = run.state
    if run.task.batch % group.world:
        raise UsageError(
            f"A batch of {run.task.batch} pictures cannot be divided among {group.world} processes. Choose a multiple "
            f"of it: --set batch={max(1, run.task.batch // group.world) * group.world}"
        )
    facts = group.decide(
        lambda: {
            "numbers": state.numbers(),
            "kept": bool(run.task.out),
            "stream": run.tools.stream,
            "moments": _shapes(moments(state.optimiser)),
        }
    )
    if group.rank:
        state.set_numbers(facts["numbers"])
        known = facts["moments"].items()
        blank = {name: torch.empty(shape, dtype=getattr(torch, kind)) for name, (shape, kind) in known}
        restore_optimiser(state.optimiser, blank)
    if state.feed and facts["stream"]:
        state.feed.go_to(facts["stream"])
    run.tools.kept = facts["kept"]
    remembered = moments(state.optimiser)
    for tensor in [*state.weights().values(), *(remembered[name] for name in facts["moments"])]:
        on_device = tensor.to(run.task.device)
        group.share(on_device)
        tensor.copy_(on_device)


def _shapes(tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {name: (list(each.shape), str(each.dtype).removeprefix("torch.")) for name, each in tensors.items()}
