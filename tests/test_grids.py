"""A grid in what a decoder draws is taken out by its last layers alone."""

from __future__ import annotations

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch

import betabloom
from betabloom.cli.main import run
from betabloom.data import Drawn
from betabloom.errors import UsageError
from betabloom.metrics import checkerboard, combs, power_spectra
from betabloom.refine import grids
from betabloom.refine.enlarge import enlarged
from betabloom.refine.grids import without_grids
from betabloom.refine.head import with_head
from betabloom.refine.sharpen import sharpen
from betabloom.refine.spectra import log_combs, log_lattice, powers
from betabloom.vae import inference


@pytest.fixture(scope="module")
def store():
    return betabloom.prepare(Drawn(96, seed=1, size=64), size=32)


def fitted(store, **settings):
    settings = {"steps": 60, "latents": 6, "batch": 8, **settings}
    return betabloom.fit(store, "tiny", progress=False, **settings)


@pytest.fixture(scope="module")
def model(store):
    return fitted(store, family="residual", widths=(16, 16))


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(grids, "CODES", 96)
    monkeypatch.setattr(grids, "OTHERS", 64)


def with_grid(model, much=0.01):
    """The model with one of four pixels lighter in all pictures."""
    vae = copy.deepcopy(model.vae)
    bias = grids._last_layer(vae.decoder.body).bias
    with torch.no_grad():
        bias[::4] += much  # the first phase of every colour
    return dataclasses.replace(model, vae=vae, fingerprint="")


def farthest(model, pictures):
    found = combs(power_spectra(pictures), power_spectra(model.generate(256, seed=9)))
    return max(abs(np.log(each.value)) for each in found)


@pytest.mark.parametrize("shape", [(32, 48, 3), (16, 16, 1), (32, 32, 4)])
def test_combs_are_those_of_the_metrics(shape):
    rng = np.random.default_rng(0)
    real, new = (rng.integers(0, high, (40, *shape)).astype(np.uint8) for high in (256, 200))
    new[..., ::2, ::2, :] //= 2
    wanted = [each.value for each in combs(power_spectra(real), power_spectra(new))]
    found = [log_combs(*(each.mean(0) for each in powers(inference.to_tensor(x))[:2]), shape[:2]) for x in (new, real)]
    by_axis = (found[0] - found[1]).exp().reshape(2, 3).T.flatten()  # the metrics name both axes of each frequency
    np.testing.assert_allclose(by_axis, wanted, rtol=2e-4)


@pytest.mark.parametrize("shape", [(32, 48, 3), (64, 64, 4)])
def test_the_checkerboard_is_that_of_the_metrics(shape):
    rng = np.random.default_rng(0)
    real, new = (rng.integers(0, high, (40, *shape)).astype(np.uint8) for high in (256, 200))
    new[..., ::4, ::2, :] //= 2
    found = [log_lattice(powers(inference.to_tensor(x))[2].mean(0)) for x in (new, real)]
    wanted = checkerboard(power_spectra(real), power_spectra(new)).value
    assert wanted > 1.5
    assert (found[0] - found[1]).max().exp().item() == pytest.approx(wanted, rel=2e-4)


def test_a_grid_goes_and_the_pictures_stay(model, monkeypatch):
    monkeypatch.setattr(grids, "CODES", 768)
    monkeypatch.setattr(grids, "OTHERS", 512)
    pictures = model.generate(256, seed=5)
    gridded = with_grid(model)
    mended = without_grids(gridded, pictures)
    facts = mended.training["without_grids"]
    assert farthest(gridded, pictures) > np.log(1.4)
    assert farthest(mended, pictures) < np.log(1.2)
    assert max(facts["before"].values()) > 1.4
    assert max(facts["after"].values()) < 1.2
    assert facts["steps"] == grids.STEPS
    changed = np.abs(mended.generate(64, seed=3).astype(int) - gridded.generate(64, seed=3))
    assert 0.02 < changed.mean() < 0.6  # grey levels


@pytest.fixture
def anything(monkeypatch):
    """What a few steps change is taken, better or not."""
    monkeypatch.setattr(grids, "_is_nearer", lambda before, after: True)


@pytest.mark.usefixtures("anything")
def test_nothing_but_the_last_layers_learns(model, store):
    large = dataclasses.replace(with_head(with_grid(model)), fingerprint="")
    mended = without_grids(large, store.pictures, steps=3)
    last = {
        id(each) for part in (mended.vae.decoder.body, *mended.vae.decoder.head) for each in [grids._last_layer(part)]
    }
    names = {name for name, each in mended.vae.named_modules() if id(each) in last}
    old, new = large.vae.state_dict(), mended.vae.state_dict()
    changed = {name.rpartition(".")[0] for name in old if not torch.equal(old[name], new[name])}
    assert changed == names
    assert len(names) == 2
    np.testing.assert_array_equal(mended.draw(8, 1), large.draw(8, 1))
    assert not any(weight.requires_grad for weight in mended.vae.parameters())


@pytest.mark.usefixtures("anything")
def test_the_model_that_is_given_stays_as_it_is_and_the_result_follows_from_the_seed(model, store):
    gridded = with_grid(model)
    before = copy.deepcopy(gridded.vae.state_dict())
    first, second, other = (without_grids(gridded, store.pictures, steps=4, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(value, before[name]) for name, value in gridded.vae.state_dict().items())
    assert all(torch.equal(value, second.vae.state_dict()[name]) for name, value in first.vae.state_dict().items())
    assert not all(torch.equal(value, other.vae.state_dict()[name]) for name, value in first.vae.state_dict().items())


def test_where_no_grid_is_nothing_is_changed(model, monkeypatch):
    same = model.decode(model.draw(grids.CODES, 0))  # the pictures that it begins with, but for rounding
    monkeypatch.setattr(grids, "NEAR", 0.3)
    assert without_grids(model, same) is model


def test_what_comes_out_worse_is_not_taken(model, monkeypatch):
    monkeypatch.setattr(grids, "COMBS_WEIGHT", -3.0)  # away from what is wanted
    gridded = with_grid(model)
    assert without_grids(gridded, model.generate(96, seed=5), steps=20) is gridded


@pytest.mark.usefixtures("anything")
@pytest.mark.parametrize("family", ["seed", "burgess", "conv"])
def test_every_family_has_a_last_layer(store, family):
    model = fitted(store, family=family, steps=4)
    mended = without_grids(model, store.pictures, steps=3)
    changed = np.abs(mended.generate(16).astype(int) - model.generate(16))
    assert 0 < changed.max() < 40


def test_an_enlarger_learns_too(model, monkeypatch):
    monkeypatch.setattr(grids, "FRESH", 16)
    large = enlarged(with_grid(model))
    pictures = np.repeat(np.repeat(model.generate(256, seed=5), 2, 1), 2, 2)
    mended = without_grids(large, pictures, steps=12)
    assert farthest(mended, pictures) < 0.9 * farthest(large, pictures)


def test_pictures_that_cannot_be_used_are_refused(model, store):
    with pytest.raises(UsageError, match="of shape \\(N, 32, 32, 3\\)"):
        without_grids(model, store.pictures[:, :16])
    with pytest.raises(UsageError, match="at least 32 pictures"):
        without_grids(model, store.pictures[:31])
    with pytest.raises(UsageError, match="at least 32 pictures"):
        sharpen(model, store.pictures[:31], steps=1, teacher="grids")


@pytest.mark.usefixtures("anything")
def test_the_command_says_what_the_combs_were(model, tmp_path, capsys):
    with_grid(model).save(tmp_path / "m")
    words = ["sharpen", str(tmp_path / "m"), "drawn:96", "--teacher", "grids"]
    run([*words, "--steps", "5", "-o", str(tmp_path / "n"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["teacher"], found["steps"]) == ("grids", 5)
    assert found["before"].keys() == found["after"].keys()
    assert betabloom.load(tmp_path / "n").training["without_grids"]["steps"] == 5
    run([*words, "--budget", "1s", "-o", str(tmp_path / "o")])
    assert "The comb or checkerboard farthest from 1 was" in capsys.readouterr().out
    with pytest.raises(UsageError, match="--teacher grids has no options but"):
        run([*words, "--wider", "2"])
