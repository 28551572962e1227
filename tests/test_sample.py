"""Verbs: generate names pictures by seed and number, vary spreads with amount, decode inverts encode's file."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import betabloom
from betabloom.errors import FormatError, UsageError
from betabloom.model.codes import Codes, load_codes, save_codes
from betabloom.model.without_torch import open_without_torch
from betabloom.vae import inference
from betabloom.vae.build import build_vae


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return build_vae((3, 16, 16), 4, "conv", (8, 8)).eval()


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, (70, 16, 16, 3), dtype=np.uint8)


def close(one, other) -> bool:
    """Equal up to one grey level, which another batch size may round away."""
    return one.shape == other.shape and np.abs(one.astype(int) - other).max() <= 1


def test_pictures_are_named_by_seed_and_number(vae):
    many = inference.generate(vae, 130, seed=5)
    assert np.array_equal(many, inference.generate(vae, 130, seed=5))
    assert close(many[:3], inference.generate(vae, 3, seed=5))
    assert close(many[100:107], inference.generate(vae, 7, seed=5, start=100))
    assert not close(many[:3], inference.generate(vae, 3, seed=6))


def test_temperature_zero_would_be_one_picture_and_low_is_close_to_it(vae):
    cold, hot = (inference.generate(vae, 40, temperature=t).astype(float) for t in (0.1, 1.0))
    assert cold.std(0).mean() < 0.3 * hot.std(0).mean()
    with pytest.raises(UsageError, match="'temperature' should be a positive number"):
        inference.generate(vae, 1, temperature=0)


def test_reconstruction_does_not_depend_on_the_company(vae, pictures):
    whole = inference.reconstruct(vae, pictures)
    assert close(whole[:1], inference.reconstruct(vae, pictures[:1]))
    assert close(whole[::-1], inference.reconstruct(vae, pictures[::-1]))


def test_samples_of_a_posterior_spread_with_the_amount(vae, pictures):
    still = inference.sample_posterior(vae, pictures[0], 6, amount=0)
    assert close(still, np.repeat(inference.reconstruct(vae, pictures[:1]), 6, axis=0))
    small, large = (
        inference.sample_posterior(vae, pictures[0], 40, amount=a).astype(float).std(0).mean() for a in (0.3, 2.0)
    )
    assert 0 < small < large


def test_samples_follow_the_posterior(vae, pictures):
    """Their codes have the posterior's mean and spread: z = μ + σ ε with the noise of the seed."""
    mean, log_var = inference.encode(vae, pictures[:1])
    noise, _ = inference.base_noise(9, 5, vae.latents)
    expected = inference.decode(vae, mean + np.exp(0.5 * log_var) * noise.numpy())
    assert np.array_equal(inference.sample_posterior(vae, pictures[0], 5, seed=9), expected)


def test_pixels_survive_the_way_in_and_out(pictures):
    assert np.array_equal(inference.to_pictures(inference.to_tensor(pictures)), pictures)


@pytest.mark.parametrize("n", [0, -3])
def test_no_pictures_are_refused(vae, n):
    with pytest.raises(UsageError, match="from 1 to"):
        inference.generate(vae, n)


def test_codes_of_another_model_are_refused(vae):
    with pytest.raises(UsageError, match=r"shape \(N, 4\), not \(2, 7\)"):
        inference.decode(vae, np.zeros((2, 7), np.float32))


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e30])
def test_codes_that_no_network_can_compute_with_are_refused_with_torch_and_without(tiny_model, value):
    codes = np.zeros((3, betabloom.load(tiny_model).config.model.latents))
    codes[1, -1] = value
    for model in (betabloom.load(tiny_model), open_without_torch(tiny_model)):
        with pytest.raises(UsageError, match="NaN, infinite values or numbers beyond"):
            model.decode(codes)


@pytest.mark.parametrize(("side", "count"), [(16, 64), (64, 64), (128, 16), (512, 8)])
def test_fewer_large_pictures_are_worked_on_at_once(side, count):
    with torch.device("meta"):
        large = build_vae((3, side, side), 4, "conv", (8, 8)).decoder
    assert large.shape == (3, side, side)
    vae = build_vae((3, 16, 16), 4, "conv", (8, 8))
    vae.decoder.network = large.network
    assert inference.at_once(vae) == count


def test_how_many_are_worked_on_at_once_changes_nothing(vae, pictures, monkeypatch):
    whole = inference.encode(vae, pictures), inference.reconstruct(vae, pictures)
    monkeypatch.setattr(inference, "at_once", lambda _: 9)
    for one, other in zip(whole[0], inference.encode(vae, pictures), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert close(whole[1], inference.reconstruct(vae, pictures))


def test_code_files_come_back(tmp_path):
    rng = np.random.default_rng(0)
    codes = Codes(
        rng.random((3, 4), np.float32), rng.random((3, 4), np.float32), ["a", "ü b", "c/d"], "f00d", np.arange(3)
    )
    save_codes(codes, tmp_path / "c.npz")
    back = load_codes(tmp_path / "c.npz")
    assert np.array_equal(back.mean, codes.mean)
    assert np.array_equal(back.log_var, codes.log_var)
    assert (back.names, back.model, back.labels.tolist()) == (codes.names, "f00d", [0, 1, 2])
    assert [path.name for path in tmp_path.iterdir()] == ["c.npz"]


def test_what_is_no_code_file_is_refused(tmp_path):
    path = tmp_path / "c.npz"
    for content in (b"", b"PK\x03\x04 not a zip", b"hello"):
        path.write_bytes(content)
        with pytest.raises(FormatError, match="not a code file"):
            load_codes(path)
    np.savez(path, mean=np.array([object()]))  # pickled inside
    with pytest.raises(FormatError, match="not a code file"):
        load_codes(path)
    with pytest.raises(UsageError, match="no file"):
        load_codes(tmp_path / "missing.npz")
