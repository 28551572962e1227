"""Softness, grids and speckles: what leaves the numbers at 1, and what moves them by a known amount."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.ndimage import gaussian_filter, median_filter

from betabloom.errors import UsageError
from betabloom.metrics import bands, checkerboard, combs, power_spectra, speckled, spectrum


def noise(n, seed, size=(64, 64), deviation=20.0):
    rng = np.random.default_rng(seed)
    return np.clip(np.rint(128 + deviation * rng.standard_normal((n, *size, 3))), 0, 255).astype(np.uint8)


def with_comb(pictures, frequency, strength, axis):
    """The power within a bin of that frequency, times so much."""
    x = pictures.astype(float)
    spectrum = np.fft.rfft(x, axis=axis)
    place = round(frequency * pictures.shape[axis])
    near = [slice(None)] * 4
    near[axis] = slice(place - 1, place + 2)
    spectrum[tuple(near)] *= np.sqrt(strength)
    return np.clip(np.rint(np.fft.irfft(spectrum, pictures.shape[axis], axis=axis)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def real():
    return noise(150, 0)


def by_name(measures):
    return {each.name: each for each in measures}


def test_equal_sets_have_combs_and_bands_of_one(real):
    spectra = power_spectra(real)
    for each in (*combs(spectra, spectra), *bands(spectra, spectra)):
        assert each.value == pytest.approx(1)
        assert each.low < 1 < each.high
        assert each.n == {"real": 150, "generated": 150}


def test_other_samples_of_the_same_pictures_lie_within_the_interval():
    outside, count = 0, 0
    for seed in range(12):
        one, other = (power_spectra(noise(40, 100 + 2 * seed + i, (32, 32))) for i in (0, 1))
        found = [*combs(one, other), *bands(one, other)]
        outside += sum(not each.low <= 1 <= each.high for each in found)
        count += len(found)
    assert outside / count < 0.15  # 5 % are expected


@pytest.mark.parametrize(("name", "frequency"), [("comb_1_2", 0.5), ("comb_3_8", 0.375), ("comb_1_4", 0.25)])
@pytest.mark.parametrize(("direction", "axis"), [("x", 2), ("y", 1)])
@pytest.mark.parametrize("strength", [0.25, 4.0])
def test_a_comb_of_known_strength_is_found_where_it_is_and_nowhere_else(
    real, name, frequency, direction, axis, strength
):
    found = by_name(combs(power_spectra(real), power_spectra(with_comb(noise(150, 1), frequency, strength, axis))))
    assert found.pop(f"{name}_{direction}").value == pytest.approx(strength, rel=0.12)
    assert all(each.value == pytest.approx(1, abs=0.12) for each in found.values())


@pytest.mark.parametrize(("size", "waves"), [((64, 64), (16, 16)), ((64, 64), (24, -16)), ((32, 48), (8, 24))])
def test_a_pattern_along_both_axes_is_a_checkerboard_that_combs_hardly_see(size, waves):
    """Power at one place of the plane: cos 2π(u y + v x), one of the 32 or 64 in its row and column."""
    real, other = noise(400, 3, size), noise(400, 4, size)
    y, x = np.mgrid[: size[0], : size[1]]
    wave = np.cos(2 * np.pi * (waves[0] * y / size[0] + waves[1] * x / size[1]))[..., None]
    gridded = np.clip(np.rint(other + 80 / size[1] * wave), 0, 255).astype(np.uint8)
    spectra = [power_spectra(each) for each in (real, other, gridded)]
    assert checkerboard(spectra[0], spectra[1]).value < 1.3
    found = checkerboard(spectra[0], spectra[2])
    assert found.value > 1.8
    assert found.low > 1.5
    assert all(each.value < found.value / 1.5 for each in combs(spectra[0], spectra[2]))


def test_each_frequency_of_a_checkerboard_is_there_once():
    rows, columns = spectrum.lattice_places((64, 64))
    places = set(zip(rows[:, 0].tolist(), columns[:, 0].tolist(), strict=True))
    assert len(places) == len(rows) == 29
    assert all(max(min(i, 64 - i), min(j, 64 - j)) >= 16 for i, j in places)
    opposite = {(-i % 64, -j % 64) for i, j in places}
    assert all(place == (-place[0] % 64, -place[1] % 64) for place in places & opposite)


def test_blur_lowers_the_band_in_its_direction_and_contrast_moves_no_comb(real):
    reference = power_spectra(real)
    soft = gaussian_filter(real.astype(float), (0, 0, 0.7, 0)).astype(np.uint8)
    x, y = bands(reference, power_spectra(soft))
    assert x.high < 0.5
    assert x.value < 0.5 * y.value
    half = (128 + 0.5 * (real.astype(float) - 128)).round().astype(np.uint8)
    assert_allclose([each.value for each in bands(reference, power_spectra(half))], 0.25, rtol=0.02)
    assert_allclose([each.value for each in combs(reference, power_spectra(half))], 1, atol=0.03)


def test_noise_raises_speckles_and_edges_do_not():
    smooth = np.full((20, 32, 32, 3), 90, np.uint8)
    smooth[:, 10:, 16:] = 250  # an edge is in its surroundings
    assert speckled(smooth).value == 0
    rng = np.random.default_rng(0)
    shares = []
    for part in (0.005, 0.04):
        dotted = smooth.copy()
        dotted[rng.random(dotted.shape[:3]) < part] = 0
        shares.append(speckled(dotted).value)
    assert shares == [0, 1]


def test_pictures_may_be_grey_and_of_any_shape_but_not_tiny():
    oblong = noise(30, 3, (24, 48))[..., :1]
    spectra = power_spectra(oblong)
    assert (spectra.x.shape, spectra.y.shape) == ((30, 25), (30, 13))
    assert all(each.value == pytest.approx(1) for each in combs(spectra, spectra))
    with pytest.raises(UsageError, match="at least 16x16"):
        power_spectra(noise(3, 0, (8, 32)))
    with pytest.raises(UsageError, match="cannot be compared"):
        bands(spectra, power_spectra(noise(3, 0)))


def test_pictures_without_detail_have_finite_numbers():
    flat = power_spectra(np.zeros((4, 16, 16, 3), np.uint8))
    assert all(np.isfinite(each.value) for each in (*combs(flat, flat), *bands(flat, flat)))


def test_the_median_is_that_of_nine():
    x = np.random.default_rng(0).integers(0, 256, (5, 17, 20), np.int16)
    assert np.array_equal(spectrum._median(x), median_filter(x, (1, 3, 3), mode="nearest"))
