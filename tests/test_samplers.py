"""Samplers: which of them draws pictures like those held out, without repeating those learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from betabloom.metrics import open_extractor
from betabloom.networks.build import Decoder
from betabloom.samplers import parzen
from betabloom.samplers.choose import choose_sampler, empty_sampler, fit_samplers, sampler_sizes
from betabloom.samplers.table import sampler_entries
from betabloom.vae.build import build_vae

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
    from betabloom.vae import inference

    return inference.decode(vae, codes.numpy())


def chosen(vae, known: torch.Tensor, held_out: torch.Tensor, log_var: float = -7.0, flow_steps: int = 0, **settings):
    fitted = fit_samplers(known, torch.full_like(known, log_var), held_out, flow_steps=flow_steps)
    return (*choose_sampler(vae, fitted, shown(vae, known), shown(vae, held_out), held_out, **settings), fitted)


def test_the_sampler_that_follows_the_codes_is_chosen(painter):
    best, measured, _ = chosen(painter, curve(600, 0), curve(800, 1), extractor=open_extractor("pixels"))
    assert best in ("mixture", "parzen")
    distance = {name: found["kernel_distance"] for name, found in measured.items() if "kernel_distance" in found}
    assert distance[best] == min(distance.values()) < distance["gaussian"] < distance["prior"]


def test_where_codes_follow_the_prior_the_choice_is_no_worse_than_the_prior(painter):
    generator = torch.Generator().manual_seed(2)
    known, held_out = torch.randn(800, 4, generator=generator), torch.randn(800, 4, generator=generator)
    best, measured, _ = chosen(painter, known, held_out, -4.0, extractor=open_extractor("pixels"))
    assert measured[best]["kernel_distance"] <= measured["prior"]["interval"][1]


def test_parzen_windows_are_widened_until_they_draw_new_pictures(painter):
    generator = torch.Generator().manual_seed(4)
    known, held_out = torch.randn(40, 4, generator=generator), torch.randn(200, 4, generator=generator)
    _, measured, fitted = chosen(painter, known, held_out)
    assert measured["parzen"]["near_copies"] <= 0.02 or fitted["parzen"].bandwidth == parzen.BANDWIDTHS[-1]


def test_a_sampler_that_repeats_training_pictures_is_left_out(painter, monkeypatch):
    monkeypatch.setattr(parzen, "BANDWIDTHS", (1e-6,))
    best, measured, _ = chosen(painter, curve(600, 0), curve(200, 1), log_var=-20.0)
    assert measured["parzen"]["near_copies"] > 0.5
    assert best != "parzen"


def test_without_a_feature_network_new_pictures_near_the_codes_are_preferred(painter):
    best, measured, _ = chosen(painter, curve(600, 0), curve(200, 1), log_var=-3.0)
    assert (best == "parzen") == (measured["parzen"]["near_copies"] <= 0.02)


def test_few_held_out_pictures_choose_by_the_likelihood_of_their_codes(painter):
    known, held_out = curve(300, 0), curve(10, 1)
    best, measured, _ = chosen(painter, known, held_out)
    values = {name: found["log_density_of_held_out_codes"] for name, found in measured.items()}
    assert values[best] == max(values.values())


def test_sizes_make_a_sampler_of_the_same_shapes():
    known = curve(50, 0)
    fitted = fit_samplers(known, torch.full_like(known, -5.0), curve(20, 1), flow_steps=2)
    assert fitted.keys() >= {"gaussian", "parzen", "flow"}
    for name, density in fitted.items():
        with torch.device("meta"):
            empty = empty_sampler(name, sampler_sizes(name, density), 4)
        shapes = {key: (value.shape, value.dtype) for key, value in density.state_dict().items()}
        assert {key: (value.shape, value.dtype) for key, value in empty.state_dict().items()} == shapes, name


def test_a_flow_is_judged_by_its_pictures_only(painter):
    """Its likelihood would take minutes; without a feature network, or with few pictures, it is not chosen."""
    _, measured, _ = chosen(painter, curve(300, 0), curve(160, 1), flow_steps=30, extractor=open_extractor("pixels"))
    assert {"near_copies", "kernel_distance", "interval"} <= measured["flow"].keys()
    for held_out in (curve(160, 1), curve(10, 1)):
        best, measured, _ = chosen(painter, curve(300, 0), held_out, flow_steps=2)
        assert best != "flow"
        assert "log_density_of_held_out_codes" not in measured.get("flow", {})


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("parzen", {}),
        ("parzen", {"kernels": 3}),
        ("flow", {"width": 4}),
        ("flow", {"components": 3}),
        ("flow", {"width": 1 << 20, "blocks": 1}),
        ("gaussian", {"waves": 1}),
        ("gaussian", {"components": 0}),
        ("mixture", {"components": True}),
        ("mixture", {"components": "2"}),
    ],
)
def test_sizes_that_no_sampler_has_are_refused(name, sizes):
    with pytest.raises(ValueError, match="a sampler"):
        sampler_entries(name, sizes, 4)
