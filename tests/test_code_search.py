"""Generation on request: where colours are linear in the codes, every target within reach comes true."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from betabloom.errors import UsageError
from betabloom.generate import colours
from betabloom.generate.code_search import search
from betabloom.imaging import colour
from betabloom.vae import inference
from betabloom.vae.likelihood import Gaussian
from betabloom.vae.prior import StandardNormal
from betabloom.vae.vae import VAE

TEN = ["red", "orange", "gold", "green", "cyan", "blue", "violet", "magenta", "pink", "white"]


class Linear(nn.Module):
    """A decoder whose colours are linear in z: inside the central disc by z₁…z₃, outside of it by z₄…z₆."""

    def __init__(self, gain=0.15):
        super().__init__()
        self.inside = torch.from_numpy(colour.disc(16, 16))
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, z):
        flat = torch.logit(0.5 + self.gain * z[:, :6], eps=1e-4).reshape(-1, 2, 3, 1, 1)
        return torch.where(self.inside, flat[:, 0], flat[:, 1])


@pytest.fixture(scope="module")
def vae():
    return VAE(nn.Identity(), Linear(), Gaussian(), StandardNormal(12)).eval()


@pytest.fixture(scope="module")
def bold():
    """The same with stronger colours."""
    return VAE(nn.Identity(), Linear(gain=0.3), Gaussian(), StandardNormal(12)).eval()


def free_hits(vae, targets, n=64):
    return np.all([each.satisfied(inference.generate(vae, n, seed=3)) for each in targets], 0)


@pytest.mark.parametrize("name", TEN)
def test_every_named_colour_within_reach_is_hit(vae, name):
    (targets,) = colours.palette(name)
    found = search(vae, [targets], 12, seed=3)
    assert found.satisfied.all()
    assert free_hits(vae, targets).mean() < 0.5
    assert (colour.named(colour.centre(found.pictures)) == colour.index_of(name)).all()


def test_what_is_called_a_hit_is_one(bold):
    """Whether pictures are as asked for is measured on the pictures that are returned."""
    targets = [*colours.palette("violet+gold")[0], *colours.avoid("green,grey")]
    found = search(bold, [targets], 10)
    assert np.array_equal(found.satisfied, np.all([each.satisfied(found.pictures) for each in targets], 0))
    assert found.satisfied.any()


def test_wishes_out_of_reach_are_not_called_hits():
    grey = VAE(nn.Identity(), Linear(gain=0.001), Gaussian(), StandardNormal(12)).eval()
    assert not search(grey, colours.palette("violet"), 4).satisfied.any()


def test_colours_of_a_palette_take_turns_by_number(vae):
    found = search(vae, colours.palette("violet,gold,red"), 7, start=2)
    names = [colour.NAMED[i].name for i in colour.named(colour.centre(found.pictures))]
    assert names == ["red", "violet", "gold", "red", "violet", "gold", "red"]


@pytest.mark.parametrize("turns", [0.0, 0.2, 0.45, 0.8, 0.99])
def test_hues_are_met(vae, turns):
    found = search(vae, [[colours.of_hue(turns)]], 6)
    assert found.satisfied.all()
    assert colour.hue_gap(colour.hue(colour.centre(found.pictures)), turns).max() <= 15 / 360


def test_like_finds_the_colours_of_a_picture_again(vae):
    given = inference.generate(vae, 5, seed=40)
    for picture in given:
        text = colours.hex_colours(picture)
        (found,) = search(vae, [[colours.like(text)]], 1).pictures
        for part in (colour.centre, colour.surroundings):
            assert np.linalg.norm(colour.oklab(part(found[None])) - colour.oklab(part(picture[None]))) <= 0.11
        assert colours.like(text).satisfied(picture[None]).all()


def test_colourful_pictures_are_more_colourful_and_avoided_colours_stay_out(vae, bold):
    free = inference.generate(vae, 32)
    found = search(vae, [[colours.colourful()]], 32)
    assert found.satisfied.all()
    assert np.median(colour.colourfulness(found.pictures)) > 1.3 * np.median(colour.colourfulness(free))
    green = colour.index_of("green")
    assert (colour.share(search(bold, [colours.avoid("green")], 32).pictures, green) <= 0.05).all()
    assert (colour.share(inference.generate(bold, 32), green) > 0.05).any()


def test_a_picture_does_not_depend_on_its_company(vae):
    targets = colours.palette("blue,orange")
    many = search(vae, targets, 6, seed=4)
    assert np.array_equal(many.pictures, search(vae, targets, 6, seed=4).pictures)
    assert np.array_equal(many.pictures[3:5], search(vae, targets, 2, seed=4, start=3).pictures)
    assert not np.array_equal(many.pictures, search(vae, targets, 6, seed=5).pictures)


def test_a_wish_that_nearly_all_satisfy_hardly_moves_a_code(vae):
    easy = search(vae, [colours.avoid("black")], 8)
    hard = search(vae, colours.palette("cyan"), 8)
    assert easy.moved.max() < 0.5 < hard.moved.mean()


def test_codes_stay_where_codes_are(vae):
    """A target far out of reach moves no code out of the ball of 99.9 % of the whitened codes."""
    from betabloom.generate.code_search import _within

    begun = np.random.default_rng(0).standard_normal((1000, 30))
    inside = np.linalg.norm(_within(begun + 50, begun), axis=1)
    assert (inside <= np.maximum(np.linalg.norm(begun, axis=1), 7.8) + 1e-9).all()  # √(χ² of 30, 99.9 %) = 7.73
    assert (np.linalg.norm(_within(begun, begun) - begun, axis=1) == 0).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: colours.palette("octarine"), "Unknown colour 'octarine'"),
        (lambda: colours.palette("red+red"), "differ"),
        (lambda: colours.avoid(""), "Unknown colour ''"),
        (lambda: colours.of_hue(1.5), "between 0 and 1"),
        (lambda: colours.of_hue(float("nan")), "between 0 and 1"),
        (lambda: colours.like("#123456"), "#8040a0,#203010"),
    ],
)
def test_wishes_that_cannot_be_meant_are_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()
