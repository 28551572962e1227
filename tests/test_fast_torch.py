"""Decoders rearranged for drawing are the same function: to rounding in float64, whatever the layers are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from betabloom.networks import fast_torch as module
from betabloom.networks import spec
from betabloom.networks.build import Decoder, make_networks
from betabloom.networks.fast_torch import fast_decoder
from betabloom.networks.spec import FAMILIES
from betabloom.vae import inference
from betabloom.vae.build import build_vae


@pytest.fixture(autouse=True)
def double():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("kernel", "padding"), [(k, p) for k, p in itertools.product((2, 3, 4, 5, 6, 7), (0, 1, 2, 3)) if p < k]
)
def test_a_transposed_convolution_is_an_ordinary_one(kernel, padding):
    for bias in (True, False):
        layer = nn.ConvTranspose2d(6, 2, kernel, 2, padding, bias=bias)
        quicker = module._together(layer)
        for size in ((1, 9), (4, 5), (8, 3)):
            x = torch.randn(4, 6, *size)
            if min(2 * (side - 1) - 2 * padding + kernel for side in size) > 0:
                torch.testing.assert_close(quicker(x), layer(x), rtol=0, atol=1e-13)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_frozen_decoder_is_the_decoder(family):
    decoder = build_vae((3, 32, 48), 5, family, FAMILIES[family].widths[:3]).decoder.eval()
    codes = torch.randn(7, 5)
    before = {name: value.clone() for name, value in decoder.state_dict().items()}
    with torch.inference_mode():
        torch.testing.assert_close(fast_decoder(decoder)(codes), decoder.body(codes), rtol=0, atol=1e-12)
    assert all(torch.equal(value, before[name]) for name, value in decoder.state_dict().items())


def test_decoders_that_are_not_ours_are_drawn_with_as_they_are():
    body = nn.Sequential(nn.Unflatten(1, (4, 1, 1)), nn.ReLU(), nn.ConvTranspose2d(4, 3, 4, 2))
    decoder = Decoder(body)
    z = torch.randn(3, 4)
    before = z.clone()
    with torch.inference_mode():
        assert torch.equal(fast_decoder(decoder)(z), body(z).float())
        assert fast_decoder(decoder, torch.bfloat16)(z).dtype == torch.float32
    assert torch.equal(z, before)


def test_pictures_are_those_of_the_plain_decoder():
    torch.set_default_dtype(torch.float32)
    vae = build_vae((3, 32, 32), 6, "conv", (8, 16)).eval()
    drawn = inference.generate(vae, 70, seed=3).astype(int)
    with torch.inference_mode():
        z = torch.from_numpy(inference.draw(vae, 70, seed=3))
        plain = inference.to_pictures(vae.likelihood.mean(vae.decoder(z)))
    assert np.abs(drawn - plain).max() <= 1


def test_few_pictures_are_drawn_in_the_form_that_many_are():
    """Another form would round in another order, and picture i depend on how many are made."""
    torch.set_default_dtype(torch.float32)
    vae = build_vae((3, 32, 32), 6, "residual", (8, 16)).eval()
    many = inference.generate(vae, 100, seed=5)
    for n in (1, 10, 31, 33):
        np.testing.assert_array_equal(many[:n], inference.generate(vae, n, seed=5))


@torch.inference_mode()
def test_codes_stay_as_they_are():
    spec.FAMILIES["rectified"] = spec.Family(rectified, (8,), 4)
    try:
        decoder = make_networks("rectified", (3, 8, 8), 4)[1]
    finally:
        del spec.FAMILIES["rectified"]
    z = torch.randn(3, 4)
    before = z.clone()
    fast_decoder(decoder)(z)
    assert torch.equal(z, before)


def rectified(shape, latents, widths, kernel):
    """A decoder that begins with an activation."""
    down, features, up = spec.FAMILIES["conv"].make(shape, latents, widths, kernel)
    return down, features, [spec.RELU, *up]


@pytest.mark.parametrize("family", FAMILIES)
def test_in_half_the_bits_it_is_the_decoder_but_for_rounding(family):
    torch.set_default_dtype(torch.float32)
    shape = (3, 32, 48) if family == "seed" else (3, 64, 96)  # its layers have a weight for every pair of pixels
    vae = build_vae(shape, 5, family, FAMILIES[family].widths[:3], enlargers=(4, 4) * (family == "conv")).eval()
    apart = inference.generate(vae, 70, seed=3).astype(int) - inference.generate(vae, 70, seed=3, precision="bf16")
    assert 0 < np.abs(apart).max() <= 4
    assert next(vae.parameters()).dtype == torch.float32
    codes = inference.draw(vae, 3, seed=1)
    few, many = (inference.decode(vae, np.repeat(codes, count, 0), "bf16") for count in (1, 40))
    assert np.abs(few.astype(int) - many[::40]).max() <= 1  # however few they are, the same way is taken
