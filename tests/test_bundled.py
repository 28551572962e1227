"""The bundled generator: flowers without a training, a download or an argument."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import betabloom
from betabloom.cli.main import run
from betabloom.imaging import colour
from betabloom.model.directory import BUNDLED, MODELS
from betabloom.model.without_torch import open_without_torch

FOLDER = MODELS / BUNDLED


@pytest.fixture(scope="module")
def model():
    return betabloom.load()


def test_all_is_small_enough_for_a_wheel_and_says_where_it_comes_from():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 25e6
    assert sum(path.stat().st_size for path in MODELS.rglob("*")) < 45e6
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for word in ("Nilsback", "limits", "near copies", "parzen"):
        assert word in card, word


def test_its_name_and_nothing_mean_the_same_model(model):
    assert betabloom.load(BUNDLED).fingerprint == model.fingerprint != ""


def test_its_pictures_are_colourful_and_all_different(model):
    pictures = model.generate(32, seed=1)
    assert pictures.shape == (32, 64, 64, 3)
    assert len({picture.tobytes() for picture in pictures}) == 32
    assert colour.colourfulness(pictures).mean() > 25
    flat = pictures.reshape(32, -1).astype(float)
    distance = np.sqrt(np.square(flat[:, None] - flat[None]).mean(2))
    assert np.median(distance[np.triu_indices(32, 1)]) > 40


def test_the_large_one_draws_the_same_with_twice_the_pixels(model):
    large = betabloom.load("oxford128")
    assert large.sampler == model.sampler
    card = (MODELS / "oxford128" / "README.md").read_text(encoding="utf-8")
    for word in ("flowers64", "betabloom enlarge", "limits", "belong to their authors"):
        assert word in card, word
    pictures, small = large.generate(16, seed=1).astype(float), model.generate(16, seed=1).astype(float)
    assert pictures.shape == (16, 128, 128, 3)
    quarters, halves = (x.reshape(16, 32, side, 32, side, 3).mean((2, 4)) for x, side in ((pictures, 4), (small, 2)))
    assert np.abs(quarters - halves).mean() < 6
    assert np.abs(open_without_torch("oxford128").generate(4, seed=1) - pictures[:4]).max() <= 1
    assert roughness(pictures) > roughness(large_pixels(small))  # edges and texture, not enlarged pixels made soft


def test_the_one_of_flower_photos_draws_other_pictures_crisply_and_says_what_it_learned_from(model):
    photos = betabloom.load("flowers128")
    card = (MODELS / "flowers128" / "README.md").read_text(encoding="utf-8")
    for word in ("flower-photos", "keep_decoder", "H100", "limits", "belong to their authors", "Fréchet"):
        assert word in card, word
    assert photos.config.train.init_from == BUNDLED
    pictures = photos.generate(32, seed=1)
    assert pictures.shape == (32, 128, 128, 3)
    assert len({picture.tobytes() for picture in pictures}) == 32
    assert colour.colourfulness(pictures).mean() > 25
    assert np.abs(open_without_torch("flowers128").generate(4, seed=1).astype(int) - pictures[:4]).max() <= 1
    assert roughness(pictures.astype(float)) > roughness(large_pixels(model.generate(32, seed=1).astype(float)))
    mine, theirs = (m.vae.state_dict() for m in (photos, model))
    for part in ("encoder.", "decoder.body"):
        assert any(not torch.equal(mine[name], theirs[name]) for name in theirs if name.startswith(part)), part


def roughness(x):
    return np.abs(np.diff(x, axis=1)).mean()


def large_pixels(x):
    return x.repeat(2, 1).repeat(2, 2)


def test_generate_needs_no_argument(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run(["generate", "-n", "4", "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert (tmp_path / facts["made"][0]).is_file()
    run(["info", BUNDLED])
    assert BUNDLED in capsys.readouterr().out


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / BUNDLED).mkdir()
    with pytest.raises(betabloom.BetabloomError, match="not a model directory"):
        betabloom.load(BUNDLED)


@pytest.mark.parametrize("name", ["oxford128", "flowers128"])
def test_cards_of_models_that_learned_from_photos_credit_them(name):
    card = " ".join((MODELS / name / "README.md").read_text(encoding="utf-8").split())
    for words in ("TensorFlow's `flower_photos`", "Flickr", "CC BY 2.0", "LICENSE.txt of that archive"):
        assert words in card
