"""A model that draws at twice its size: what stays the same, and that it learns detail."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import betabloom
from betabloom.data import Pipeline
from betabloom.errors import UsageError
from betabloom.model.without_torch import open_without_torch
from betabloom.networks.spec import FAMILIES
from betabloom.refine import enlarge as enlarging
from betabloom.refine.enlarge import enlarge, enlarged, enlarger_trainer
from betabloom.refine.student import Shares
from betabloom.refine.widen import widened
from betabloom.system.signals import Stop
from betabloom.vae.likelihood import LIKELIHOODS

PIXELS = Shares(1.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def photos():
    """Waves with crisp edges, which halves of them do not have."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32] / 32
    waves = np.sin(6 * (rng.random((60, 1, 1)) + x * rng.uniform(0.5, 2, (60, 1, 1)) + y * rng.random((60, 1, 1))))
    return np.repeat(np.where(waves > 0, 220, 30).astype(np.uint8)[..., None], 3, 3)


@pytest.fixture(scope="module")
def pictures(photos):
    return photos.reshape(60, 16, 2, 16, 2, 3).mean((2, 4)).round().astype(np.uint8)


@pytest.fixture(scope="module")
def model(pictures):
    store = betabloom.prepare(betabloom.data.Arrays(pictures), size=16)
    return betabloom.fit(store, "tiny", steps=30, latents=4, widths=(8, 8), batch=8)


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(enlarging, "HEAD_START", 2)


@pytest.fixture
def _clean(monkeypatch):
    monkeypatch.setattr(enlarging, "NOISIEST", 0.0)


def large(x):
    """Every pixel four times."""
    return x.repeat(2, 1).repeat(2, 2)


def test_before_it_learns_it_draws_the_same_with_larger_pixels(model, pictures):
    larger = enlarged(model)
    assert larger.config.shape == (3, 32, 32)
    for one, other in zip(larger.encode(large(pictures)), model.encode(pictures), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert np.array_equal(larger.generate(9, seed=2), large(model.generate(9, seed=2)))
    difference = larger.reconstruct(large(pictures)).astype(int) - large(model.reconstruct(pictures))
    assert np.abs(difference).max() <= 1


def test_only_the_enlarger_learns(model, photos):
    before = {name: value.clone() for name, value in model.vae.state_dict().items()}
    larger = enlarge(model, photos, steps=4)
    after = larger.vae.state_dict()
    assert all(torch.equal(value, model.vae.state_dict()[name]) for name, value in before.items())
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert {name.split(".")[1] for name in after.keys() - before.keys()} == {"enlargers"}
    assert (larger.sampler, larger.samplers) == (model.sampler, model.samplers)
    assert larger.training["enlarged"] == [
        {"steps": 4, "photos": 60, "seconds": larger.training["enlarged"][0]["seconds"]}
    ]


def test_the_same_seed_makes_the_same_enlarger(model, photos):
    before = torch.get_rng_state()
    made = [enlarge(model, photos, steps=4, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    one, same, other = ([*each.vae.decoder.enlargers[0].parameters()] for each in made)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one[0], other[0])


@pytest.mark.usefixtures("_clean")
def test_by_the_pixels_alone_it_draws_edges_that_halves_do_not_have(model, photos, pictures, monkeypatch):
    monkeypatch.setattr(enlarging, "BATCH", 8)

    def error(some):
        eta = torch.logit(torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255, 1 / 512)
        with torch.no_grad():
            drawn = some.vae.likelihood.mean(some.vae.decoder.enlargers[0](eta))
        return F.mse_loss(drawn, torch.from_numpy(photos).permute(0, 3, 1, 2) / 255).item()

    untaught = error(enlarged(model))
    taught = error(enlarge(model, photos, steps=150, width=16, shares=PIXELS))
    assert taught < 0.6 * untaught


@pytest.mark.usefixtures("_clean")
def test_what_is_compared_with_photos_is_made_of_their_halves(model, photos):
    trainer = enlarger_trainer(model, enlarged(model).vae.decoder.enlargers[0], photos)
    x, made = trainer.batches(0)
    assert x.shape == made.shape == (enlarging.BATCH, 3, 32, 32)
    halves = F.avg_pool2d(x, 2)
    soft = F.avg_pool2d(F.pad(halves, (1,) * 4, mode="replicate"), 3, 1)
    own = F.avg_pool2d(made, 2)
    low, high = torch.minimum(halves, soft) - 0.01, torch.maximum(halves, soft) + 0.01
    assert ((own >= low) & (own <= high)).all()


def test_an_enlarged_model_is_a_model_like_others(model, photos, pictures, tmp_path):
    larger = enlarge(model, photos, steps=2, width=6).save(tmp_path / "m")
    again, lean = betabloom.load(tmp_path / "m"), open_without_torch(tmp_path / "m")
    drawn = larger.generate(5, seed=1)
    assert drawn.shape == (5, 32, 32, 3)
    assert np.array_equal(again.generate(5, seed=1), drawn)
    assert np.abs(lean.generate(5, seed=1).astype(int) - drawn).max() <= 1
    huge = enlarge(again, large(photos), steps=1, width=6)
    assert huge.generate(2).shape == (2, 64, 64, 3)
    assert huge.config.data.pipeline == huge.pipeline.name
    assert [each["photos"] for each in huge.training["enlarged"]] == [60, 60]
    store = betabloom.prepare(betabloom.data.Arrays(pictures), size=16)
    with pytest.raises(UsageError, match="wider first"):
        widened(betabloom.fit(store, "tiny", steps=1, family="residual", enlargers="4", widths="4"), 2)


def test_components_of_a_prior_that_are_pictures_grow_too(pictures, photos):
    store = betabloom.prepare(betabloom.data.Arrays(pictures), size=16)
    model = betabloom.fit(store, "tiny", steps=2, latents=4, widths=(8, 8), batch=8, prior="vamp", prior_components=3)
    larger = enlarge(model, photos, steps=1, width=4)
    z = torch.randn(5, 4)
    torch.testing.assert_close(larger.vae.prior.log_prob(z), model.vae.prior.log_prob(z))


def test_a_stop_keeps_what_was_learned(model, photos):
    stop = Stop()

    def report(step, steps, text):
        stop.asked = step == 3

    kept = enlarge(model, photos, steps=1000, stop=stop, progress=report)
    assert kept.training["enlarged"][0]["steps"] == 3


@pytest.mark.parametrize("wrong", [{}, {"steps": 1, "seconds": 1.0}])
def test_either_steps_or_seconds(wrong, model, photos):
    with pytest.raises(UsageError, match="either the number of steps"):
        enlarge(model, photos, **wrong)


@pytest.mark.parametrize("change", [lambda x: x[:, ::2, ::2], lambda x: x[..., :1], lambda x: x / 255, lambda x: x[:0]])
def test_photos_that_do_not_fit_are_refused(change, model, photos):
    with pytest.raises(UsageError, match=r"32x32 pixels, photos are needed that are uint8 of shape \(N, 32, 32, 3\)"):
        enlarge(model, change(photos), steps=1)


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("channels", [1, 3])
def test_every_family_grey_or_coloured_and_of_any_shape(family, channels, tmp_path):
    rng = np.random.default_rng(0)
    high, wide = (17, 21) if family == "seed" else (16, 32)
    small, photos = (rng.integers(0, 256, (20, k * high, k * wide, channels), np.uint8) for k in (1, 2))
    store = betabloom.prepare(betabloom.data.Arrays(small), (high, wide), "square", channels=channels)
    settings = {"kernel": 5, "widths": "2,3"} if family == "seed" else {"kernel": 0, "widths": "4,4"}
    model = betabloom.fit(store, "tiny", steps=2, latents=3, batch=4, family=family, **settings)
    larger = enlarge(model, photos, seconds=0.01, width=4).save(tmp_path / "m")
    assert larger.generate(2).shape == (2, 2 * high, 2 * wide, channels)
    assert np.array_equal(betabloom.load(tmp_path / "m").generate(2), larger.generate(2))


@pytest.mark.parametrize("likelihood", list(LIKELIHOODS))
def test_halves_of_photos_are_told_as_outputs_of_every_likelihood(likelihood, pictures, photos):
    store = betabloom.prepare(betabloom.data.Arrays(pictures), size=16)
    model = betabloom.fit(store, "tiny", steps=1, latents=3, batch=4, widths=(4,), likelihood=likelihood)
    if likelihood == "continuous-bernoulli":
        with pytest.raises(UsageError, match="cannot be enlarged"):
            enlarge(model, photos, steps=1)
        return
    eta = torch.logit(torch.linspace(0, 1, 50), 1 / 512).view(1, 1, 1, 50)
    assert (model.vae.likelihood.mean(eta) - torch.linspace(0, 1, 50)).abs().max() < 0.05


def test_a_pipeline_is_doubled_with_all_its_pixels():
    square = Pipeline.named("square", (16, 24))
    assert square.doubled() == Pipeline.named("square", (32, 48))
    assert square.doubled().halved() == square
    chain = Pipeline.parse("resize:150%:outside,crop,blur:1.5,saturation:1.3", (64, 64))
    twice = chain.doubled()
    assert twice == Pipeline.parse("resize:150%:outside,crop,blur:3,saturation:1.3", (128, 128))
    assert Pipeline.parse(twice.name) == twice
    assert twice.halved() == chain
