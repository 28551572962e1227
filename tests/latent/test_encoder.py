"""Codes without torch are those of torch, for every family, size of batch and number of enlargers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from betabloom.config import Config
from betabloom.data import Pipeline
from betabloom.errors import UsageError
from betabloom.model.model import Model
from betabloom.model.without_torch import open_without_torch
from betabloom.vae.build import build_vae


def saved(folder, **settings):
    config = Config.preset("tiny", **{"height": 16, "width": 24, "latents": 5, "widths": "6,18", **settings})
    m = config.model
    torch.manual_seed(3)
    vae = build_vae(config.shape, m.latents, m.family, m.widths, m.kernel, posterior=m.posterior, enlargers=m.enlargers)
    with torch.no_grad():
        for name, value in vae.state_dict().items():
            if name.startswith("encoder"):
                value.normal_(0, 1.2 / value[0].numel() ** 0.5 if value.ndim > 1 else 0.3)
    return Model(vae.eval(), config, Pipeline.named("square", config.shape[1:]), {}).save(folder)


@pytest.mark.parametrize(
    "settings",
    [
        {"family": "conv"}, {"family": "conv", "kernel": 6}, {"family": "burgess"}, {"family": "residual"},
        {"family": "residual", "kernel": 5}, {"family": "residual", "enlargers": "7"}, {"posterior": "point"},
    ],
    ids=str,
)  # fmt: skip
def test_codes_are_those_of_torch(tmp_path, settings):
    model, light = saved(tmp_path / "m", **settings), open_without_torch(tmp_path / "m")
    pictures = np.random.default_rng(0).integers(0, 256, (19, 16, 24, 3), dtype=np.uint8)
    for one, other in zip(model.encode(pictures), light.encode(pictures), strict=True):
        assert np.allclose(one, other, rtol=1e-4, atol=1e-5)
    assert np.allclose(light.encode(pictures[:1])[0], light.encode(pictures)[0][:1], rtol=1e-4, atol=1e-5)
    assert np.array_equal(model.first_layer, light.first_layer)
    assert np.allclose(model.draw(20, 3), light.draw(20, 3), atol=1e-5)


def test_pictures_of_another_shape_are_refused_alike(tmp_path):
    model, light = saved(tmp_path / "m"), open_without_torch(tmp_path / "m")
    for each in (model, light):
        with pytest.raises(UsageError, match=r"reads uint8 pictures of shape \(N, 16, 24, 3\), not uint8"):
            each.encode(np.zeros((2, 16, 16, 3), np.uint8))
        with pytest.raises(UsageError, match=r"decodes codes of shape \(N, 5\), not \(2, 4\)"):
            each.decode(np.zeros((2, 4), np.float32))
