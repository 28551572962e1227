"""Detail is held to that of real pictures: `betabloom.refine.detail`."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from betabloom.metrics.spectrum import power_spectra, speckled
from betabloom.refine.detail import Detail, detail_of


def real_pictures(seed: int = 0, count: int = 16) -> torch.Tensor:
    """Soft pictures with some detail: noise, blurred."""
    noise = torch.randn((count, 3, 36, 40), generator=torch.Generator().manual_seed(seed))
    return (0.5 + 0.3 * F.avg_pool2d(noise, 5, 1)).clamp(0, 1)  # 32×36


def led(x: torch.Tensor, detail: Detail, steps: int = 60, rate: float = 0.3) -> torch.Tensor:
    """Pictures after some steps against the gradient."""
    for _ in range(steps):
        x = x - rate * detail.gradient(x)
    return x


def test_the_spectrum_is_the_one_that_is_measured():
    grey = real_pictures()[:, :1]
    own = detail_of(grey)
    as_pictures = (255 * grey).permute(0, 2, 3, 1).numpy()
    measured = power_spectra(as_pictures)
    wanted = [
        each.mean(0)[math.ceil(side / 4) : side // 2] / 255**2 for each, side in ((measured.x, 36), (measured.y, 32))
    ]
    np.testing.assert_allclose(own[1:].exp().numpy(), np.concatenate(wanted), rtol=1e-3)


def test_pictures_are_led_off_speckles_and_no_others_are():
    real = real_pictures()
    detail = Detail(1.0)
    detail.observe(real)
    spots = torch.rand((16, 1, 32, 36), generator=torch.Generator().manual_seed(1)) < 0.05
    made = torch.where(spots, 1 - real.round(), real)
    before = detail_of(made)[0]
    after = led(made, detail, 150)
    assert detail_of(after)[0] < before - 1
    assert (after - made).square()[~spots.expand_as(made)].mean() < 0.01 * (after - made).square()[
        spots.expand_as(made)
    ].mean()
    levels = [(255 * each.clamp(0, 1)).permute(0, 2, 3, 1).to(torch.uint8).numpy() for each in (made, after)]
    assert speckled(levels[1]).value < speckled(levels[0]).value


def test_pictures_are_led_off_harsh_detail_and_may_be_soft():
    real = real_pictures()
    detail = Detail(1.0)
    detail.observe(real)
    harsh = 0.5 + 2 * (real_pictures(1) - 0.5)  # all power times 4
    wanted = detail_of(real)[1:]
    away = [(detail_of(each)[1:] - wanted).mean() for each in (harsh, led(harsh, detail, 200))]
    assert away[0] == pytest.approx(math.log(4), abs=0.3)
    assert away[1] < 0.7 * away[0]
    again = Detail(1.0)
    again.observe(real)
    assert not again.gradient(0.5 + 0.2 * (real_pictures(1) - 0.5)).any()


def test_pictures_that_are_as_real_ones_are_left_alone():
    real = real_pictures()
    detail = Detail(1.0)
    detail.observe(real)
    assert detail.gradient(real).norm() < 1e-5


def test_without_weight_nothing_is_computed_and_nothing_is_changed():
    detail = Detail(0.0)
    detail.observe(real_pictures())
    assert detail.usual is None
    assert not detail.gradient(real_pictures(1)).any()


def test_what_it_remembers_survives_json_bit_for_bit():
    detail, again = Detail(0.5), Detail(0.5)
    detail.observe(real_pictures())
    detail.gradient(real_pictures(1) * 1.5)
    again.restore(detail.numbers())
    for each in (detail, again):
        each.observe(real_pictures(2))
    made = real_pictures(3) * 0.7
    assert torch.equal(detail.gradient(made), again.gradient(made))
    empty = Detail(0.5)
    empty.restore(Detail(0.5).numbers())
    assert empty.usual is None


def test_pictures_too_small_for_a_spectrum_have_speckles_alone():
    assert detail_of(torch.rand(2, 3, 12, 40)).shape == (1,)
    detail = Detail(1.0)
    detail.observe(torch.full((2, 1, 8, 8), 0.5))
    assert detail.gradient(torch.rand((2, 1, 8, 8))).any()
