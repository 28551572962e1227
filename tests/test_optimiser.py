"""Muon: orthogonal steps for hidden matrices, AdamW for the rest."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from betabloom.errors import UsageError
from betabloom.training.optimiser import Muon, make_optimiser, memory, orthogonal
from betabloom.vae.build import build_vae


def test_orthogonal_brings_all_singular_values_near_one_and_keeps_the_directions():
    generator = torch.Generator().manual_seed(0)
    for shape in ((6, 20), (20, 6), (9, 9)):
        matrix = torch.randn(shape, generator=generator)
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        found = u.T @ orthogonal(matrix) @ vh.T
        diagonal = found.diagonal()
        torch.testing.assert_close(found, torch.diag(diagonal), atol=1e-4, rtol=0)
        assert (diagonal[s > 0.1 * s[0]] - 1).abs().max() < 0.4


def test_the_scale_of_the_gradient_does_not_matter():
    matrix = torch.randn(5, 7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(orthogonal(1000 * matrix), orthogonal(matrix), atol=1e-4, rtol=1e-4)


def plainly(matrix: torch.Tensor) -> torch.Tensor:
    """The iteration as its author wrote it, X ← aX + (bA + cA²)X."""
    x = matrix / matrix.norm()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


@pytest.mark.parametrize("rank", [1, 3, 16])
def test_gathering_the_small_squares_changes_nothing_even_for_matrices_of_low_rank(rank):
    generator = torch.Generator().manual_seed(rank)
    matrix = torch.randn(16, rank, generator=generator) @ torch.randn(rank, 144, generator=generator)
    torch.testing.assert_close(orthogonal(matrix).double(), plainly(matrix.double()), atol=1e-4, rtol=0)


def test_the_layout_of_a_weight_in_memory_does_not_matter():
    weight = torch.randn(8, 6, 3, 3, generator=torch.Generator().manual_seed(2))
    bias = torch.zeros(2)
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        w, b, muon = both(weight.contiguous(memory_format=layout), bias)
        w.grad, b.grad = weight.square().contiguous(memory_format=layout), bias.clone()
        muon.step()
        found.append(w.detach())
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-4)


def both(weight: torch.Tensor, bias: torch.Tensor, **settings: float) -> tuple[nn.Parameter, nn.Parameter, Muon]:
    w, b = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
    return w, b, Muon([w], [b], fused=True, **settings)


def test_what_is_no_matrix_takes_the_steps_of_adamw():
    w, b, muon = both(torch.randn(4, 4), torch.randn(4), lr=0.01, weight_decay=0.1)
    reference = nn.Parameter(b.detach().clone())
    adam = torch.optim.AdamW([reference], lr=0.01, weight_decay=0.1, fused=True)
    for step in range(5):
        gradient = torch.randn(4, generator=torch.Generator().manual_seed(step))
        b.grad, reference.grad, w.grad = gradient.clone(), gradient.clone(), torch.randn(4, 4)
        muon.step()
        adam.step()
    torch.testing.assert_close(b, reference, atol=0, rtol=0)


def test_the_first_step_of_a_matrix_is_orthogonal_and_of_the_stated_length():
    w, b, muon = both(torch.zeros(8, 3), torch.zeros(2), lr=0.001)
    w.grad, b.grad = torch.randn(8, 3), torch.zeros(2)
    muon.step()
    expected = 20 * 0.001 * (8 / 3) ** 0.5 * orthogonal(w.grad)
    torch.testing.assert_close(w.detach(), -expected, atol=1e-5, rtol=1e-4)


def test_a_step_that_is_not_finite_changes_nothing():
    w, b, muon = both(torch.randn(4, 4), torch.randn(4))
    w.grad, b.grad = torch.randn(4, 4), torch.randn(4)
    muon.step()
    before = [value.clone() for value in (w, b, muon.state[w]["average"], muon.state[b]["exp_avg"])]
    w.grad, b.grad = torch.full((4, 4), torch.nan), torch.full((4,), torch.nan)
    muon.found_inf = torch.ones(())
    muon.step()
    for old, new in zip(before, (w, b, muon.state[w]["average"], muon.state[b]["exp_avg"]), strict=True):
        torch.testing.assert_close(new, old, atol=0, rtol=0)


@pytest.mark.parametrize("family", ["burgess", "conv", "residual"])
def test_layers_that_touch_pictures_or_codes_are_left_to_adam(family):
    vae = build_vae((3, 32, 32), latents=5, family=family, widths=(8, 12, 16))
    muon = make_optimiser("muon", vae, 1e-3, 0.0, fused=True)
    hidden = [p for group in muon.param_groups if group["kind"] == "muon" for p in group["params"]]
    shapes = {tuple(p.shape) for p in hidden}
    assert hidden
    assert all(p.ndim > 1 for p in hidden)
    assert not any(5 in shape[:2] or 3 in shape[:2] for shape in shapes)
    everything = sum(len(group["params"]) for group in muon.param_groups)
    assert everything == len(list(vae.parameters()))


def test_of_an_enlarger_the_inner_layers_are_hidden():
    vae = build_vae((3, 32, 32), latents=5, family="conv", widths=(8, 12), enlargers=(7,))
    muon = make_optimiser("muon", vae, 1e-3, 0.0, fused=True)
    shapes = [tuple(p.shape) for group in muon.param_groups if group["kind"] == "muon" for p in group["params"]]
    assert shapes.count((7, 7, 3, 3)) == 8
    assert not any(3 in shape[:2] or (shape[0] == 12 and 7 in shape) for shape in shapes)


@pytest.mark.parametrize("name", ["muon", "adam"])
def test_what_it_remembers_is_what_it_says(name):
    vae = build_vae((3, 16, 16), latents=4, family="conv", widths=(4, 8))
    optimiser = make_optimiser(name, vae, 1e-3, 0.0, fused=True)
    for parameter in vae.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimiser.step()
    found = {
        f"{number}.{key}": value.shape
        for number, moments in optimiser.state_dict()["state"].items()
        for key, value in moments.items()
    }
    assert found == {key: value.shape for key, value in memory(optimiser).items()}


def test_unknown_optimisers_are_refused():
    vae = build_vae((3, 16, 16), latents=4, family="conv", widths=(4, 8))
    with pytest.raises(UsageError, match="muon, adam"):
        make_optimiser("sgd", vae, 1e-3, 0.0, fused=True)
