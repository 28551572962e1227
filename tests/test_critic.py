"""A decoder taught by a critic: what changes, what does not, and that it learns what it is told."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import betabloom
from betabloom.errors import UsageError
from betabloom.refine.patch_critic import PatchDiscriminator
from betabloom.refine.repetition import Repetition, repeated_detail
from betabloom.refine.sharpen import LARGE, decoder_trainer, sharpen
from betabloom.refine.student import Shares
from betabloom.system.signals import Stop


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16] / 16
    waves = np.sin(6 * (rng.random((60, 1, 1)) + x * rng.uniform(0.5, 2, (60, 1, 1)) + y * rng.random((60, 1, 1))))
    return np.repeat((127 + 120 * waves).astype(np.uint8)[..., None], 3, 3)


@pytest.fixture(scope="module")
def model(pictures):
    store = betabloom.prepare(betabloom.data.Arrays(pictures), size=16)
    return betabloom.fit(store, "tiny", steps=30, latents=4, widths=(8, 8), batch=8)


def test_only_the_decoder_changes(model, pictures):
    before = {name: value.clone() for name, value in model.vae.state_dict().items()}
    sharper = sharpen(model, pictures, steps=3)
    after = sharper.vae.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {f"decoder.{name}" for name, _ in model.vae.decoder.named_parameters()}
    assert all(torch.equal(value, model.vae.state_dict()[name]) for name, value in before.items())
    assert (sharper.sampler, sharper.samplers) == (model.sampler, model.samplers)
    assert np.array_equal(sharper.encode(pictures)[0], model.encode(pictures)[0])
    assert sharper.training["sharpened"]["steps"] == 3
    assert sharpen(sharper, pictures, steps=2).training["sharpened"]["steps"] == 5


def test_a_narrow_decoder_is_said_to_be_too_narrow(model, pictures, caplog):
    def warnings(steps_of):
        caplog.clear()
        sharpen(steps_of, pictures, steps=1)
        return [r.getMessage() for r in caplog.records if "few channels" in r.getMessage()]

    store = betabloom.prepare(betabloom.data.Arrays(pictures), size=16)
    (advice,) = warnings(model)
    assert "more channels in training: --set widths=…" in advice
    settings = {"steps": 1, "latents": 4, "family": "residual", "batch": 8}
    (advice,) = warnings(betabloom.fit(store, "tiny", widths=(6, 8), **settings))
    assert "Try --wider 3." in advice
    assert warnings(betabloom.fit(store, "tiny", widths=(16, 16), **settings)) == []


def test_the_same_seed_makes_the_same_decoder(model, pictures):
    before = torch.get_rng_state()
    one, same, other = (sharpen(model, pictures, steps=2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    drawn = [each.decode(np.zeros((1, 4), np.float32)) for each in (one, same, other)]
    weights = [next(each.vae.decoder.parameters()) for each in (one, same, other)]
    assert np.array_equal(drawn[0], drawn[1])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_pulled_by_the_pixels_alone_it_is_an_auto_encoder_that_learns(model, pictures):
    def error(some):
        return np.square(some.reconstruct(pictures).astype(float) - pictures).mean()

    alone = sharpen(model, pictures, steps=40, shares=Shares(1.0, 0.0, 0.0))
    assert error(alone) < error(model)


def test_the_critic_learns_to_tell_pictures_from_what_is_made(model, pictures):
    torch.manual_seed(0)
    trainer = decoder_trainer(model, pictures, 0, Shares(1.0, 0.0, 0.0))
    for step in range(40):
        trainer.step(step, 1.0)
    with torch.no_grad():
        real = trainer.teacher.network(betabloom.vae.inference.to_tensor(pictures))[1].mean()
        made = trainer.teacher.network(betabloom.vae.inference.to_tensor(model.generate(60)))[1].mean()
    assert real > made


def test_the_pull_has_the_shares_that_were_asked_for(model, pictures):
    for shares in (Shares(2.0, 0.0, 0.0), Shares(0.0, 0.0, 0.5), Shares(0.0, 3.0, 0.0)):
        trainer = decoder_trainer(model, pictures, 0, shares)
        x, made = trainer.batches(0)
        pull = trainer.teacher.gradient(0, x, made.detach())
        assert pull.norm().item() == pytest.approx(max(shares.likelihood, shares.features, shares.verdict), rel=1e-3)
        if not shares.verdict:  # new pictures have no picture to be near to
            assert pull[len(x) :].abs().max() == 0


def test_a_pattern_repeats_and_noise_does_not():
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(8, 3, 128, 128, generator=generator)
    pattern = torch.rand(8, 3, 8, 8, generator=generator).tile(1, 1, 16, 16)
    stripes = torch.tensor([0.2, 0.8]).tile(64).expand(8, 3, 128, 128)
    assert repeated_detail(noise).item() == pytest.approx(np.log(1 / 16), abs=0.1)
    assert repeated_detail(stripes).item() == pytest.approx(0, abs=0.05)  # at the edges pictures are mirrored
    halves = [
        repeated_detail(noise).item(),
        repeated_detail(0.5 * noise + 0.5 * pattern).item(),
        repeated_detail(pattern).item(),
    ]
    assert halves == sorted(halves)
    slope = torch.linspace(0, 1, 128).expand(8, 3, 128, 128) + 0.1 * noise  # light that changes slowly is no detail
    assert repeated_detail(slope).item() == pytest.approx(np.log(1 / 16), abs=0.1)
    assert repeated_detail(noise[:, :, :24, :24]).item() == 0
    assert repeated_detail(noise[:, :, :100, :70]).isfinite()
    assert repeated_detail(torch.zeros(1, 3, 64, 64)).item() == 0


def test_what_repeats_more_than_in_pictures_is_pulled_away_from():
    repetition = Repetition()
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(4, 3, 64, 64, generator=generator)
    striped = noise + torch.tensor([0.0, 0.4]).tile(32)
    repetition.observe(noise)
    assert repetition.usual == pytest.approx(repeated_detail(noise).item())
    pull = repetition.gradient(striped)
    assert repeated_detail(striped - 5 * pull) < repeated_detail(striped) - 0.1
    assert pull.norm().item() == pytest.approx(1)
    assert not repetition.gradient(noise + 0.0).any()  # no more than pictures do


def test_a_step_of_larger_pictures_has_fewer_of_them(pictures):
    large = pictures.repeat(LARGE // pictures.shape[1] + 1, 1).repeat(LARGE // pictures.shape[1] + 1, 2)
    store = betabloom.prepare(betabloom.data.Arrays(large[:20]), size=large.shape[1])
    network = {"family": "residual", "widths": (4, 4, 4), "latents": 4}
    model = betabloom.fit(store, "tiny", steps=2, batch=8, **network)
    trainer = decoder_trainer(model, np.asarray(store.pictures))
    x, z = trainer.batches(0)
    assert (len(x), len(z)) == (16, 28)
    assert trainer.recipe.shares == Shares(1.0, 1.0, 0.2)


def test_a_patch_is_as_large_as_documented():
    judge = PatchDiscriminator(3).double().eval()
    x = torch.rand(1, 3, 128, 128, dtype=torch.double, requires_grad=True)
    features, _ = judge(x)
    for level, side in ((2, 22), (3, 46)):
        middle = features[level].shape[2] // 2
        (slope,) = torch.autograd.grad(features[level][0, :, middle, middle].sum(), x, retain_graph=True)
        rows = slope[0].abs().sum((0, 2)).nonzero().flatten()
        assert rows.max() - rows.min() + 1 == side


def test_who_asks_to_stop_keeps_what_was_learned(model, pictures):
    stop = Stop()

    def report(step, steps, text):
        stop.asked = step == 3

    kept = sharpen(model, pictures, steps=1000, stop=stop, progress=report)
    assert kept.training["sharpened"]["steps"] == 3
    assert not torch.equal(next(kept.vae.decoder.parameters()), next(model.vae.decoder.parameters()))


@pytest.mark.parametrize("wrong", [{}, {"steps": 3, "seconds": 1.0}], ids=["neither", "both"])
def test_how_long_is_said_once(model, pictures, wrong):
    with pytest.raises(UsageError, match="either the number of steps"):
        sharpen(model, pictures, **wrong)


def test_too_few_pictures_are_refused(model, pictures):
    with pytest.raises(UsageError, match="at least 2 pictures"):
        sharpen(model, pictures[:1], steps=1)
