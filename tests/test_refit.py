"""A model that draws like other pictures: only its samplers change, and what they draw is like them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import betabloom
from betabloom.cli.main import run
from betabloom.errors import UsageError
from betabloom.model.without_torch import open_without_torch
from betabloom.refine.refit import refit


def blots(count, colour, seed):
    """Blots of one colour, 0 red or 2 blue, at different places."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:16, :16] / 16
    at = rng.uniform(0.3, 0.7, (2, count, 1, 1))
    blot = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 0.05)
    pictures = np.full((count, 16, 16, 3), 30.0)
    pictures[..., colour] += 200 * blot
    return pictures.astype(np.uint8)


def stored(pictures):
    return betabloom.prepare(betabloom.data.Arrays(pictures), size=16)


@pytest.fixture(scope="module")
def model():
    both = np.concatenate([blots(150, 0, 1), blots(150, 2, 2)])
    return betabloom.fit(stored(both), "tiny", steps=300, latents=6, widths=(16, 16), batch=32, beta=0.1)


def blueness(pictures):
    return pictures[..., 2].mean((1, 2)) - pictures[..., 0].mean((1, 2)).astype(float)


def test_it_draws_like_the_pictures_that_it_was_fitted_to(model):
    red, blue = (refit(model, stored(blots(100, colour, 3))) for colour in (0, 2))
    drawn = [blueness(each.generate(64, seed=1)) for each in (red, model, blue)]
    assert [each.mean() for each in drawn] == sorted(each.mean() for each in drawn)
    assert (drawn[0] < 0).mean() > 0.9
    assert (drawn[2] > 0).mean() > 0.9
    assert 0.2 < (drawn[1] > 0).mean() < 0.8


def test_nothing_but_the_samplers_changes(model, tmp_path):
    before = {name: value.clone() for name, value in model.vae.state_dict().items()}
    state, names = torch.get_rng_state(), dict(model.samplers)
    other = refit(model, stored(blots(60, 0, 4))).save(tmp_path / "m")
    assert torch.equal(torch.get_rng_state(), state)
    assert model.samplers == names
    for name, value in before.items():
        assert torch.equal(value, model.vae.state_dict()[name])
        assert torch.equal(value, other.vae.state_dict()[name])
    assert 40 < other.training["refitted"]["pictures"] < 60  # some are held out
    again, lean = betabloom.load(tmp_path / "m"), open_without_torch(tmp_path / "m")
    assert np.array_equal(again.generate(5), other.generate(5))
    assert np.abs(lean.generate(5).astype(int) - other.generate(5)).max() <= 1
    assert "New codes are drawn from the distribution of those of" in (tmp_path / "m" / "README.md").read_text()


def test_the_same_seed_fits_the_same(model):
    one, same, other = (refit(model, stored(blots(60, 0, 4)), seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.generate(3), same.generate(3))
    assert not np.array_equal(one.generate(3, sampler="gaussian"), other.generate(3, sampler="gaussian"))


@pytest.mark.parametrize("pictures", [blots(4, 0, 1), blots(40, 0, 1)[:, :8, :8]])
def test_pictures_that_do_not_fit_are_refused(pictures, model):
    store = betabloom.prepare(betabloom.data.Arrays(pictures), size=pictures.shape[1])
    with pytest.raises(UsageError, match="at least 16 pictures of 16x16"):
        refit(model, store)


def test_the_command(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BETABLOOM_CACHE", str(tmp_path / "cache"))
    model.save(tmp_path / "m")
    (tmp_path / "reds").mkdir()
    for i, picture in enumerate(blots(40, 0, 5)):
        Image.fromarray(picture).save(tmp_path / "reds" / f"{i}.png")
    run(["refit", "m", "reds", "-o", "red", "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert facts["made"] == "red"
    assert (tmp_path / "red" / "samples.png").is_file()
    assert betabloom.load("red").config.data.source == str(tmp_path / "reds")
    with pytest.raises(UsageError, match="red exists already"):
        run(["refit", "m", "reds", "-o", "red"])
