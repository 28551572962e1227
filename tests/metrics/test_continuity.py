"""Continuity, completeness and information of codes: linear maps have exactly 1, Gaussians have closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from betabloom import metrics
from betabloom.errors import UsageError


def normal(n: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, width))


def test_a_linear_decoder_and_encoder_have_exactly_1() -> None:
    weights = normal(4, 12)
    jump, path = metrics.decoder_continuity(lambda z: 7 * z @ weights + 1, normal(50, 4))
    stretch = metrics.encoder_continuity(lambda x: 0.1 * x @ weights.T - 3, normal(50, 12))
    assert_allclose([jump.value, path.value, stretch.value], 1, atol=1e-3)


def test_a_step_is_a_jump_and_a_detour_a_longer_path() -> None:
    codes = np.array([[-1.0], [1.0]])
    jump, path = metrics.decoder_continuity(lambda z: (z > 0.1).astype(float), codes, steps=8)
    assert_allclose([jump.value, path.value], [8, 1])
    around, longer = metrics.decoder_continuity(
        lambda z: np.column_stack([np.cos(np.pi * z / 2), np.sin(np.pi * z / 2)]), codes, steps=64
    )
    assert_allclose([around.value, longer.value], [1, np.pi / 2], rtol=1e-3)  # half a circle beside its diameter


def test_an_encoder_that_jumps_is_stretched() -> None:
    pictures = normal(300, 1)
    assert metrics.encoder_continuity(lambda x: np.sin(60 * x), pictures, pairs=200).value > 3


def test_pictures_of_bytes_are_moved_and_all_alike_is_said() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (20, 6, 6, 3)).astype(np.uint8)
    stretch = metrics.encoder_continuity(lambda x: x.reshape(len(x), -1) / 255.0, pictures)
    assert_allclose(stretch.value, 1, atol=0.05)
    with pytest.raises(UsageError, match="same picture"):
        metrics.decoder_continuity(lambda z: np.zeros((len(z), 3)), normal(5, 2))
    with pytest.raises(UsageError, match="same code"):
        metrics.encoder_continuity(lambda x: np.zeros((len(x), 3)), pictures)
    with pytest.raises(UsageError, match="At least 2"):
        metrics.encoder_continuity(lambda x: x, pictures[:1])


def test_completeness_is_whole_for_equal_clouds_and_nothing_for_distant_ones() -> None:
    real = normal(400, 3)
    coverage, off = metrics.completeness(real, normal(400, 3, 1))
    assert coverage.value > 0.9
    assert off.value < 0.15
    coverage, off = metrics.completeness(real, normal(400, 3, 1) + 50)
    assert (coverage.value, off.value) == (0, 1)
    half = metrics.completeness(real, np.vstack([normal(200, 3, 1), normal(200, 3, 2) + 50]))[1]
    assert half.low < 0.5 < half.high


def test_rates_are_the_closed_form_and_a_collapsed_dimension_has_0() -> None:
    mean, log_var = np.array([[1.0, 0], [-1, 0]]), np.log(np.array([[0.25, 1], [0.25, 1]]))
    assert_allclose(metrics.rate_per_dimension(mean, log_var), [0.5 * (1 + 0.25 - 1 + np.log(4)), 0])


def test_information_of_gaussian_codes_has_a_closed_form() -> None:
    mean = normal(4000, 3) * [3, 1, 0]
    log_var = np.zeros((4000, 3))
    exact = 0.5 * np.log([10, 2, 1]).sum()  # ½ log (1 + signal / noise)
    found = metrics.mutual_information(mean, log_var)
    assert found.low < exact < found.high
    with pytest.raises(UsageError, match="Gaussian posteriors"):
        metrics.mutual_information(mean, np.full_like(mean, -np.inf))


def test_total_correlation_has_a_closed_form_and_is_0_for_independent_codes() -> None:
    z = normal(5000, 4)
    assert abs(metrics.total_correlation(z).value) < 0.003
    z[:, 1] = 0.8 * z[:, 0] + 0.6 * z[:, 1]
    found = metrics.total_correlation(z)
    assert found.low < -np.log(0.6) < found.high
    assert abs(np.mean([metrics.total_correlation(normal(100, 8, seed)).value for seed in range(20)])) < 0.05
    with pytest.raises(UsageError, match="more than 8"):
        metrics.total_correlation(z[:8])


def test_models_with_the_same_axes_rank_first() -> None:
    z, rates = normal(800, 3), np.ones(3)
    same, mixed = z[:, [2, 0, 1]] * [-1, 2, 1], z @ np.linalg.qr(normal(3, 3, 5))[0]
    scores = metrics.udr([z, same, z**3, mixed], [rates] * 4)
    assert (scores[:3] > 0.9 * scores.max()).all()
    assert scores[3] < 0.85 * scores[:3].min()
    dead = np.column_stack([same, normal(800, 1, 9)])
    assert_allclose(metrics.udr([z, dead], [rates, np.array([1.0, 1, 1, 0])]), metrics.udr([z, same], [rates] * 2))
    with pytest.raises(UsageError, match="two models"):
        metrics.udr([z], [rates])
