"""A wider network is the same function, and its copies can learn apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import betabloom
from betabloom.errors import UsageError
from betabloom.refine.widen import widened


def made(widths, family="residual", **settings):
    store = betabloom.prepare(betabloom.data.Drawn(40, seed=1, size=32), size=32)
    return betabloom.fit(store, "tiny", steps=12, latents=5, family=family, widths=widths, batch=8, **settings), store


@pytest.mark.parametrize("widths", [(4, 6, 8), (4, 16), (8, 6), (5,)])
@pytest.mark.parametrize("factor", [2, 3])
def test_a_wider_model_draws_and_encodes_the_same(widths, factor):
    model, store = made(widths)
    wide = widened(model, factor)
    assert wide.config.model.widths == tuple(factor * width for width in widths)
    with torch.no_grad():
        z = 2 * torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(wide.vae.decoder(z), model.vae.decoder(z), atol=1e-4, rtol=1e-4)
    mean, log_var = model.encode(store.pictures[:6])
    np.testing.assert_allclose(wide.encode(store.pictures[:6])[0], mean, atol=1e-4)
    np.testing.assert_allclose(wide.encode(store.pictures[:6])[1], log_var, atol=1e-4)
    assert np.abs(wide.generate(4).astype(int) - model.generate(4)).max() <= 1
    assert np.array_equal(model.generate(4), model.generate(4))


def test_copies_have_gradients_of_their_own():
    model, store = made((4, 6))
    wide = widened(model, 2)
    wide.vae.requires_grad_(requires_grad=True)
    x = betabloom.vae.inference.to_tensor(store.pictures[:6])
    wide.vae(x, torch.randn(6, 5)).distortion.sum().backward()
    for layer in (wide.vae.encoder.body[1], wide.vae.decoder.body[2].body[3], wide.vae.decoder.body[0]):
        gradient = layer.weight.grad
        step = gradient.shape[0] // 12 if layer is wide.vae.decoder.body[0] else 1  # features are (channel, pixel)
        assert not torch.allclose(gradient[0], gradient[step], rtol=1e-2)
        assert torch.equal(layer.weight[0], layer.weight[step])


def test_a_wider_model_can_be_saved_loaded_and_made_wider_again(tmp_path):
    model, _ = made((4, 6))
    saved = widened(model, 2).save(tmp_path / "wide")
    assert np.array_equal(betabloom.load(tmp_path / "wide").generate(3), saved.generate(3))
    assert widened(saved, 2).config.model.widths == (16, 24)
    assert saved.fingerprint != model.fingerprint


def test_no_factor_changes_nothing_and_wrong_ones_are_refused():
    model, _ = made((4, 6))
    assert widened(model, 1) is model
    with pytest.raises(UsageError, match="at least 1"):
        widened(model, 0)
    with pytest.raises(UsageError, match="Only residual networks"):
        widened(made((4, 6), "conv")[0], 2)
