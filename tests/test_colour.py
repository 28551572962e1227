"""Colours: hand-computed values, a name for every colour, laws of the hue of a mean."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from betabloom.errors import UsageError
from betabloom.imaging import colour, names

RANDOM = np.random.default_rng(0).random((2000, 3))


def flat(*rgb, size=(12, 16)):
    return np.broadcast_to(np.array(rgb, np.uint8), (1, *size, 3)).copy()


def test_hue_is_that_of_hsv_to_within_a_degree_and_a_fifth():
    expected = np.array([colorsys.rgb_to_hsv(*c)[0] for c in RANDOM])
    assert colour.hue_gap(colour.hue(RANDOM), expected).max() < 1.2 / 360
    exact = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1]])
    assert np.allclose(colour.hue(exact), np.arange(6) / 6)


def test_hue_does_not_change_with_brightness_white_light_or_turning_the_wheel():
    assert np.allclose(colour.hue(0.5 * RANDOM), colour.hue(RANDOM))
    assert np.allclose(colour.hue(0.5 * RANDOM + 0.3), colour.hue(RANDOM))
    turned = colour.hue(np.roll(RANDOM, 1, axis=-1))
    assert np.allclose(colour.hue_gap(turned, colour.hue(RANDOM) + 1 / 3), 0, atol=1e-9)


def test_hue_of_a_mean_is_the_mean_of_hues_weighted_by_how_colourful_they_are():
    red, green, blue = RANDOM.T
    weight = np.hypot(red - 0.5 * (green + blue), np.sqrt(0.75) * (green - blue))
    mean = np.angle((weight * np.exp(2j * np.pi * colour.hue(RANDOM))).sum()) / (2 * np.pi)
    assert colour.hue_gap(mean, colour.hue(RANDOM.mean(0))) < 1e-9


def test_distance_of_hues_goes_the_short_way_round():
    assert colour.hue_gap(0.95, 0.05) == pytest.approx(0.1)
    assert colour.hue_gap(0.25, 0.75) == pytest.approx(0.5)


def test_every_colour_has_a_name_and_the_typical_one_its_own():
    levels = np.arange(0, 256, 5) / 255
    every = np.stack(np.meshgrid(levels, levels, levels), -1)
    counts = np.bincount(colour.named(every).ravel() + 1, minlength=len(colour.NAMED) + 1)
    assert counts[0] == 0
    assert (counts[1:] > 0).all()
    typical = np.array([region.typical for region in colour.NAMED]) / 255
    assert colour.named(typical).tolist() == list(range(len(colour.NAMED)))


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((255, 0, 0), "red"), ((255, 165, 0), "orange"), ((255, 215, 0), "gold"), ((255, 255, 0), "gold"),
        ((0, 128, 0), "green"), ((0, 255, 255), "cyan"), ((0, 0, 255), "blue"), ((138, 43, 226), "violet"),
        ((128, 0, 128), "magenta"), ((255, 0, 255), "magenta"), ((255, 192, 203), "pink"), ((139, 69, 19), "brown"),
        ((255, 255, 255), "white"), ((128, 128, 128), "grey"), ((0, 0, 0), "black"), ((230, 230, 250), "white"),
    ],
)  # fmt: skip
def test_colours_of_css_have_the_names_that_people_give_them(rgb, name):
    assert colour.NAMED[int(colour.named(np.array(rgb) / 255))].name == name


def test_names_are_understood_as_people_type_them():
    assert colour.NAMED[colour.index_of(" Purple ")].name == "violet"
    with pytest.raises(UsageError, match=r"Unknown colour 'octarine'.*violet"):
        colour.index_of("octarine")


def test_colourfulness_of_two_halves_is_what_the_formula_gives_by_hand():
    """Left red, right blue: rg = 255, 0; yb = 127.5, −255; σ = 127.5, 191.25; μ = 127.5, −63.75."""
    picture = flat(255, 0, 0)
    picture[:, :, 8:] = (0, 0, 255)
    expected = np.hypot(127.5, 191.25) + 0.3 * np.hypot(127.5, 63.75)
    assert colour.colourfulness(picture)[0] == pytest.approx(expected)
    assert colour.colourfulness(flat(90, 90, 90))[0] == 0
    assert colour.colourfulness(flat(255, 255, 0))[0] == pytest.approx(0.3 * 255)  # rg = 0, yb = 255, no spread


def test_colourfulness_grows_with_contrast_and_ignores_where_pixels_are():
    picture = np.random.default_rng(1).integers(0, 256, (1, 20, 20, 3), dtype=np.uint8)
    shuffled = np.random.default_rng(2).permutation(picture.reshape(-1, 3)).reshape(picture.shape)
    assert colour.colourfulness(shuffled) == pytest.approx(colour.colourfulness(picture))
    assert colour.colourfulness(picture // 2)[0] == pytest.approx(0.5 * colour.colourfulness(picture)[0], rel=0.02)


def test_oklab_agrees_with_its_author():
    """Primaries and white; the values of css-color-4, and L = 1, a = b = 0 for white."""
    lab = colour.oklab(np.array([[1.0, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]))
    primaries = [[0.62796, 0.22486, 0.12585], [0.86644, -0.23389, 0.1795], [0.45201, -0.03246, -0.31153]]
    assert np.allclose(lab, [[1, 0, 0], *primaries, [0, 0, 0]], atol=2e-5)


def test_centre_and_surroundings_part_the_picture():
    picture = flat(10, 20, 30, size=(40, 60))
    inside = colour.disc(40, 60)
    picture[0, inside] = (200, 100, 50)
    assert np.allclose(colour.centre(picture) * 255, (200, 100, 50))
    assert np.allclose(colour.surroundings(picture) * 255, (10, 20, 30))
    assert inside.mean() == pytest.approx(np.pi * 10**2 / (40 * 60), rel=0.05)
    assert np.array_equal(inside, inside[::-1, ::-1])


@pytest.mark.parametrize(
    ("middle", "around", "name"),
    [
        ((135, 80, 200), (5, 5, 15), "nebula, violet and black"),
        ((205, 40, 50), (230, 125, 35), "fire, red and orange"),
        ((170, 120, 220), (170, 120, 220), "lavender, violet"),
        ((235, 232, 228), (60, 120, 50), "daisy, white and green"),
    ],
)
def test_names_tell_the_colours(middle, around, name):
    picture = flat(*around, size=(32, 32))[0]
    picture[colour.disc(32, 32)] = middle
    assert names.picture_name(picture) == name


def test_every_picture_has_a_name():
    for first in colour.NAMED:
        for second in colour.NAMED:
            picture = flat(*second.typical, size=(16, 16))[0]
            picture[colour.disc(16, 16)] = first.typical
            assert first.name in names.picture_name(picture).split(", ")[1]
    assert names.picture_name(np.full((8, 8, 1), 128, np.uint8)) == "mist, grey"
