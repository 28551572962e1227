"""Samplers: which of them draws pictures like those held out, without repeating those learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from betabloom.nn import Decoder
from betabloom.samplers import choose_sampler, empty_sampler, fit_samplers, sampler_sizes
from betabloom.vae import build_vae

if TYPE_CHECKING:
    import numpy as np


class Paint(nn.Module):
    """A decoder that shows its code: four of its numbers are the greys of the four quarters of a 16×16 picture."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z.view(-1, 1, 2, 2).repeat_interleave(8, 2).repeat_interleave(8, 3).expand(-1, 3, -1, -1)


@pytest.fixture
def painter():
    vae = build_vae((3, 16, 16), latents=4, family="conv", widths=(4, 8)).eval()
    vae.decoder = Decoder(Paint())
    return vae


def curve(count: int, seed: int) -> torch.Tensor:
    """Codes on a thin spiral far from N(0, I)."""
    t = 12 * torch.rand(count, generator=torch.Generator().manual_seed(seed))
    return torch.stack([t.cos() * 2, t.sin() * 2, t / 3 - 2, -(t / 3 - 2)], 1)


def shown(vae, codes: torch.Tensor) -> np.ndarray:
    from betabloom import sample

    return sample.decode(vae, codes.numpy())


def test_the_sampler_that_follows_the_codes_is_chosen(painter):
    known, held_out = curve(600, 0), curve(200, 1)
    fitted = fit_samplers(known, torch.full_like(known, -7.0), held_out)
    best, measured = choose_sampler(painter, fitted, shown(painter, known), shown(painter, held_out), held_out)
    assert best in ("mixture", "parzen")
    assert measured[best]["interval"][1] < measured["gaussian"]["interval"][0]
    assert measured["gaussian"]["kernel_distance"] < measured["prior"]["kernel_distance"]


def test_where_codes_follow_the_prior_the_choice_is_no_worse_than_the_prior(painter):
    generator = torch.Generator().manual_seed(2)
    known, held_out = torch.randn(800, 4, generator=generator), torch.randn(300, 4, generator=generator)
    fitted = fit_samplers(known, torch.full_like(known, -4.0), held_out)
    best, measured = choose_sampler(painter, fitted, shown(painter, known), shown(painter, held_out), held_out)
    assert measured[best]["kernel_distance"] <= measured["prior"]["interval"][1]


def test_a_sampler_that_repeats_training_pictures_is_left_out(painter):
    known, held_out = curve(600, 0), curve(200, 1)
    fitted = fit_samplers(known, torch.full_like(known, -7.0), held_out)
    fitted["parzen"].bandwidth.fill_(1e-6)
    fitted["parzen"].spread.fill_(1e-6)
    best, measured = choose_sampler(painter, fitted, shown(painter, known), shown(painter, held_out), held_out)
    assert measured["parzen"]["near_copies"] > 0.9
    assert best != "parzen"


def test_few_held_out_pictures_choose_by_the_likelihood_of_their_codes(painter):
    known, held_out = curve(300, 0), curve(10, 1)
    fitted = fit_samplers(known, torch.full_like(known, -5.0), held_out)
    best, measured = choose_sampler(painter, fitted, shown(painter, known), shown(painter, held_out), held_out)
    values = {name: found["log_density_of_held_out_codes"] for name, found in measured.items()}
    assert values[best] == max(values.values())


def test_sizes_make_a_sampler_of_the_same_shapes():
    known = curve(50, 0)
    for name, density in fit_samplers(known, torch.full_like(known, -5.0), curve(20, 1)).items():
        with torch.device("meta"):
            empty = empty_sampler(sampler_sizes(density), 4)
        shapes = {key: (value.shape, value.dtype) for key, value in density.state_dict().items()}
        assert {key: (value.shape, value.dtype) for key, value in empty.state_dict().items()} == shapes, name


@pytest.mark.parametrize("sizes", [{}, {"kernels": 3}, {"components": 0}, {"components": True}, {"components": "2"}])
def test_sizes_that_no_sampler_has_are_refused(sizes):
    with pytest.raises(ValueError, match="a sampler with"):
        empty_sampler(sizes, 4)
