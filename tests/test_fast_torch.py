"""Decoders rearranged for drawing are the same function: to rounding in float64, whatever the layers are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from betabloom.networks import fast_torch as module
from betabloom.networks.build import FAMILIES, Decoder
from betabloom.networks.fast_torch import fast_decoder
from betabloom.vae import inference
from betabloom.vae.build import build_vae


@pytest.fixture(autouse=True)
def double(monkeypatch):
    monkeypatch.setattr(module, "WIDE", 5)
    monkeypatch.setattr(module, "TILES", 3)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


LAYERS = [
    (kernel, padding, extra)
    for kernel, padding, extra in itertools.product((2, 3, 4, 5, 6, 7), (0, 1, 2, 3), (0, 1))
    if padding < kernel
]


@torch.inference_mode()
@pytest.mark.parametrize(("kernel", "padding", "extra"), LAYERS)
def test_a_transposed_convolution_is_ordinary_ones(kernel, padding, extra, monkeypatch):
    """Together for few channels, in tiles of either size for many, at sizes that tiles fit and do not."""
    monkeypatch.setattr(module, "FEW", 4)
    kinds = set()
    for before, after, bias, largest in [(6, 2, True, 0), (6, 7, True, 10**6), (6, 7, False, 80 * 42)]:
        monkeypatch.setattr(module, "LARGEST", largest)
        layer = nn.ConvTranspose2d(before, after, kernel, 2, padding, extra, bias=bias)
        if not (quicker := module._doubled(layer)):
            continue
        kinds.add((after, largest))
        for size in ((1, 9), (4, 5), (8, 3)):
            x = torch.randn(4, before, *size)
            if min(2 * (side - 1) - 2 * padding + kernel + extra for side in size) > 0:
                torch.testing.assert_close(quicker(x), layer(x), rtol=0, atol=1e-13)
    assert len(kinds) == (3 if kernel in (3, 4, 5) else 1)


@pytest.mark.parametrize("kind", ["stride", "dilation", "groups", "oblong", "narrow"])
def test_what_has_no_quicker_form_stays_as_it_is(kind):
    how = {
        "stride": {"stride": 3},
        "dilation": {"dilation": 2},
        "groups": {"groups": 2},
        "oblong": {"kernel_size": (4, 5)},
        "narrow": {"in_channels": 4},
    }[kind]
    layer = nn.ConvTranspose2d(**{"in_channels": 20, "out_channels": 20, "kernel_size": 5, "stride": 2, **how})
    assert module._doubled(layer) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_frozen_decoder_is_the_decoder(family):
    decoder = build_vae((3, 32, 48), 5, family, FAMILIES[family].widths[:3]).decoder.eval()
    codes = torch.randn(7, 5)
    before = {name: value.clone() for name, value in decoder.state_dict().items()}
    with torch.inference_mode():
        torch.testing.assert_close(fast_decoder(decoder)(codes), decoder.body(codes), rtol=0, atol=1e-12)
    assert all(torch.equal(value, before[name]) for name, value in decoder.state_dict().items())


def test_batch_normalisation_becomes_part_of_the_layer_before_it():
    norms = [nn.BatchNorm2d(8), nn.BatchNorm2d(8, affine=False), nn.BatchNorm2d(3)]
    body = [nn.Unflatten(1, (8, 4, 4)), nn.ConvTranspose2d(8, 8, 5, 2, 2), norms[0], nn.LeakyReLU(0.2)]
    body += [nn.Sequential(nn.Conv2d(8, 8, 3, bias=False), norms[1], nn.ReLU()), nn.Conv2d(8, 3, 3), norms[2]]
    decoder = Decoder(nn.Sequential(*body))
    z = torch.randn(6, 128)
    for norm in norms:
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        if norm.affine:
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
    fast_decoder(decoder)  # in training nothing is folded
    assert any(isinstance(op, nn.BatchNorm2d) for op in module._ops(body))
    decoder.eval()
    with torch.inference_mode():
        torch.testing.assert_close(fast_decoder(decoder)(z), decoder.body(z), rtol=0, atol=1e-12)
    assert not any(isinstance(op, nn.BatchNorm2d) for op in module._ops(list(module._flat(decoder))))


def test_pictures_are_those_of_the_plain_decoder(monkeypatch):
    torch.set_default_dtype(torch.float32)
    vae = build_vae((3, 32, 32), 6, "conv", (8, 16)).eval()
    drawn = inference.generate(vae, 70, seed=3).astype(int)
    monkeypatch.setattr(inference, "ENOUGH", 71)
    assert np.abs(drawn - inference.generate(vae, 70, seed=3)).max() <= 1


@torch.inference_mode()
def test_codes_stay_as_they_are():
    decoder = Decoder(nn.Sequential(nn.Unflatten(1, (4, 1, 1)), nn.ReLU(), nn.ConvTranspose2d(4, 3, 4, 2)))
    z = torch.randn(3, 4)
    before = z.clone()
    fast_decoder(decoder)(z)
    assert torch.equal(z, before)


@pytest.mark.parametrize("family", FAMILIES)
def test_in_half_the_bits_it_is_the_decoder_but_for_rounding(family):
    torch.set_default_dtype(torch.float32)
    vae = build_vae((3, 64, 96), 5, family, FAMILIES[family].widths[:3], enlargers=(4, 4) * (family == "conv")).eval()
    apart = inference.generate(vae, 70, seed=3).astype(int) - inference.generate(vae, 70, seed=3, precision="bf16")
    assert 0 < np.abs(apart).max() <= 4
    assert next(vae.parameters()).dtype == torch.float32
    codes = inference.draw(vae, 3, seed=1)
    few, many = (inference.decode(vae, np.repeat(codes, count, 0), "bf16") for count in (1, 40))
    assert np.abs(few.astype(int) - many[::40]).max() <= 1  # however few they are, the same way is taken
