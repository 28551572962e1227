"""A model in the hand: what it reads, what it refuses in words, and that it can be sent to other processes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

import betabloom
from betabloom.config import Config
from betabloom.data import Pipeline
from betabloom.errors import BetabloomError, PictureError, UsageError
from betabloom.model.model import Model
from betabloom.vae.build import make_vae


@pytest.fixture(scope="module")
def model():
    config = Config.preset("tiny", latents=4, widths="8,16")
    torch.manual_seed(1)
    vae = make_vae(config).requires_grad_(False).eval()
    for weight in vae.decoder.parameters():
        weight.mul_(3 if weight.ndim > 1 else 1)  # pictures with some contrast
    return Model(vae, config, Pipeline.named("square", (32, 32), 3), {})


@pytest.fixture
def photo():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))


def test_files_pictures_and_arrays_are_read_alike(model, photo, tmp_path):
    photo.save(tmp_path / "a.png")
    prepared = model.prepare([photo])
    mean, log_var = model.encode(prepared)
    for given in (photo, [photo], [tmp_path / "a.png"], tmp_path / "a.png", str(tmp_path / "a.png"), list(prepared)):
        for found, expected in zip(model.encode(given), (mean, log_var), strict=True):
            np.testing.assert_array_equal(found, expected)
    both = model.encode([photo, tmp_path / "a.png"])[0]
    np.testing.assert_allclose(both, np.repeat(mean, 2, 0), atol=1e-5)
    assert np.array_equal(model.reconstruct(photo), model.reconstruct(prepared))
    assert np.array_equal(model.vary(photo, 3, seed=2), model.vary(prepared[0], 3, seed=2))


@pytest.mark.parametrize("given", [[], [None], [3], ["no such file.png"], "no such file.png", np.zeros((2, 3, 3, 3))])
def test_what_is_no_picture_is_refused_in_words(model, given):
    with pytest.raises(UsageError):
        model.encode(given)


def test_a_file_that_is_no_picture_is_named(model, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(PictureError, match=r"broken\.png"):
        model.encode(tmp_path / "broken.png")


@pytest.mark.parametrize(
    "codes", [np.zeros((0, 4)), np.full((2, 4), np.nan), np.full((1, 4), np.inf), np.zeros(4), [["a"] * 4], []]
)
def test_codes_that_are_none_are_refused_in_words(model, codes):
    with pytest.raises(UsageError, match="codes"):
        model.decode(codes)


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"seed": 2**64}, {"seed": 0.5}, {"seed": "7"}, {"start": -1}, {"n": 0}]
)
def test_numbers_that_no_picture_has_are_refused_in_words(model, wrong):
    with pytest.raises(UsageError):
        model.generate(**{"n": 2, **wrong})


def test_no_seed_is_another_seed_each_time(model):
    assert np.array_equal(model.generate(3), model.generate(3, seed=0))
    assert not np.array_equal(model.generate(3, seed=None), model.generate(3, seed=None))
    assert not np.array_equal(model.vary(model.generate(1)[0], 2, seed=None), model.vary(model.generate(1)[0], 2))


def test_a_picture_of_a_seed_is_the_same_within_one_level_however_many_are_made(model):
    """And to the bit where the same ones are made together: sums of many pictures are added in another order."""
    many = model.generate(70, seed=5)
    assert np.array_equal(many, model.generate(70, seed=5))
    parts = np.concatenate([model.generate(5, seed=5, start=first) for first in range(0, 70, 5)])
    assert np.abs(many.astype(int) - parts).max() <= 1
    assert many.std() > 10


def test_a_model_can_be_sent_to_other_processes(model, photo):
    model.prepare([photo])
    other = pickle.loads(pickle.dumps(model))
    assert np.array_equal(other.prepare([photo]), model.prepare([photo]))
    assert np.array_equal(other.generate(3, seed=4), model.generate(3, seed=4))


def test_a_grid_takes_levels_or_floats():
    pictures = np.random.default_rng(1).integers(0, 256, (3, 4, 5, 3), np.uint8)
    assert np.array_equal(betabloom.grid(pictures), betabloom.grid(pictures / 255))
    assert np.array_equal(betabloom.grid(pictures), betabloom.grid((pictures / 255).astype(np.float32)))
    for wrong in (pictures.astype(float), pictures / 255 - 0.1, np.full((1, 2, 2, 3), np.nan), pictures.astype(int)):
        with pytest.raises(BetabloomError):
            betabloom.grid(wrong)
