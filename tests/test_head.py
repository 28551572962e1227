"""A head draws the same at first; every program that draws pictures draws it, and larger networks keep it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from betabloom.config import Config
from betabloom.data import Pipeline
from betabloom.errors import UsageError
from betabloom.model.model import Model, load
from betabloom.model.without_torch import open_without_torch
from betabloom.networks.fast_torch import fast_decoder
from betabloom.refine.enlarge import enlarged
from betabloom.refine.head import with_head
from betabloom.refine.widen import widened
from betabloom.training.setup import initial_vae
from betabloom.training.warm_start import warm_start, with_initial_model
from betabloom.vae.build import make_vae

SETTINGS = {"height": 32, "width": 32, "family": "residual", "widths": (4, 6), "latents": 5}


def untrained(**changes) -> Model:
    config = Config.preset("tiny", **SETTINGS, **changes)
    torch.manual_seed(1)
    vae = make_vae(config).requires_grad_(False).eval()
    return Model(vae, config, Pipeline.named("square", (32, 32)), {"source": "noise"})


def taught(model: Model) -> Model:
    """The same with a head that has learned something."""
    vae = model.vae
    torch.manual_seed(2)
    for weight in vae.decoder.head.parameters():
        weight.add_(0.1 * torch.randn(weight.shape))
    return model


@pytest.fixture(scope="module")
def model() -> Model:
    return taught(with_head(untrained(), 3))


def codes(count=6) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 5)).astype(np.float32)


def test_it_draws_the_same_at_first_and_another_picture_once_taught(model):
    plain, new = untrained(), with_head(untrained(), 3)
    assert np.array_equal(plain.decode(codes()), new.decode(codes()))
    drawn = plain.decode(codes())
    assert np.allclose(plain.encode(drawn)[0], new.encode(drawn)[0], atol=1e-6)
    assert new.config.model.head == 3
    assert not np.array_equal(model.decode(codes()), new.decode(codes()))


def test_a_model_has_one_head_and_an_enlarged_one_gets_none(model):
    assert with_head(model, 9) is model
    assert with_head(enlarged(untrained(), 4)).config.model.head == 0
    plain = untrained()
    assert with_head(plain, 0) is plain
    with pytest.raises(UsageError, match="'head'"):
        plain.config.replace({"head": -1})


def test_it_is_saved_loaded_and_drawn_without_torch(model, tmp_path):
    expected = model.save(tmp_path / "m").decode(codes())
    assert np.array_equal(load(tmp_path / "m").decode(codes()), expected)
    lean = open_without_torch(tmp_path / "m")
    assert np.abs(lean.decode(codes()).astype(int) - expected).max() <= 1
    z = torch.from_numpy(codes())
    assert torch.allclose(fast_decoder(model.vae.decoder)(z), model.vae.decoder(z), atol=1e-5)


def test_wider_and_larger_models_keep_what_it_draws(model):
    wide = widened(model, 2)
    assert np.abs(wide.decode(codes()).astype(int) - model.decode(codes())).max() <= 1
    large = enlarged(model, 4)
    assert np.array_equal(large.decode(codes())[:, ::2, ::2], model.decode(codes()))


def test_training_starts_from_it_at_its_size_and_without_it_at_twice_the_size(model, tmp_path):
    model.save(tmp_path / "m")
    given = {"init_from": str(tmp_path / "m")}
    for size in (32, 64):
        config = with_initial_model(
            dataclasses.replace(Config(), train=Config().train).replace(
                {**given, "height": size, "width": size, "steps": 1}
            )
        )
        vae = initial_vae(config)
        warm_start(vae, config)
        last = vae.decoder.head[0].body[2].weight
        assert last.any() == (size == 32)  # at twice the size there is another picture to correct
        if size == 32:
            assert torch.equal(vae.decoder(torch.from_numpy(codes())), model.vae.decoder(torch.from_numpy(codes())))
