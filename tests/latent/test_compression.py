"""Codes come back as they were rounded, in about as many bytes as their rate; damaged files are refused."""

from __future__ import annotations

import numpy as np
import pytest

from betabloom.errors import FormatError, UsageError
from betabloom.latent import compress, decompress, pack_codes, unpack_codes
from betabloom.model.model import load
from betabloom.model.without_torch import open_without_torch

PRINT = "0123456789abcdef"


def codes(n=400, latents=32, sigma=0.05, seed=0):
    rng = np.random.default_rng(seed)
    mean = rng.standard_normal((n, latents)) * np.linspace(0.2, 2, latents) + 0.3
    return mean.astype(np.float32), np.full((n, latents), 2 * np.log(sigma), np.float32)


@pytest.mark.parametrize("n", [1, 2, 400])
def test_codes_come_back_to_within_half_a_step(n):
    mean, log_var = codes(n)
    back, fingerprint = unpack_codes(pack_codes(mean, log_var, PRINT))
    assert fingerprint == PRINT
    step = np.sqrt(12) * 0.05 * 2**0.125  # of the coarsest class that it can be rounded to
    assert np.abs(back - mean).max() <= step / 2 + 1e-6
    assert np.array_equal(unpack_codes(pack_codes(mean, log_var, PRINT))[0], back)


def test_rounded_codes_are_coded_without_loss():
    mean, log_var = codes()
    back, _ = unpack_codes(pack_codes(mean, log_var, PRINT))
    again, _ = unpack_codes(pack_codes(back, log_var, PRINT))
    assert np.abs(again - back).max() < 1e-4


def test_a_picture_takes_about_its_rate():
    """The rate with a prior that has the codes' moments, and ¼ bit a dimension for rounding rather than noise."""
    mean, log_var = codes(2000)
    rate = 0.5 * np.log2(1 + mean.var(0) / 0.05**2).sum()
    data = pack_codes(mean, log_var, PRINT)
    bits = 8 * len(data) / len(mean)
    assert rate < bits < 1.12 * rate + 0.35 * mean.shape[1]
    finer, coarser = (len(pack_codes(mean, log_var, PRINT, f)) for f in (2.0, 0.5))
    assert 8 * (finer - len(data)) / mean.size == pytest.approx(1, abs=0.05)  # a bit a number
    assert coarser < len(data)


def test_a_point_posterior_and_constant_dimensions_are_compressed_too():
    mean, log_var = codes(50)
    mean[:, 3] = 0.7
    back, _ = unpack_codes(pack_codes(mean, np.full_like(log_var, -np.inf), PRINT))
    assert np.abs(back - mean).max() < 0.12


def test_pictures_come_back_as_reconstructions(small_store, tiny_model):
    model = load(tiny_model)
    pictures = np.asarray(small_store.pictures[:20])
    back = decompress(model, compress(model, pictures, fineness=64))
    assert np.abs(back.astype(int) - model.reconstruct(pictures)).max() <= 2
    with pytest.raises(UsageError, match=f"compressed with model {PRINT}"):
        decompress(model, pack_codes(*codes(3), PRINT))


def test_a_search_draws_pictures_more_exactly_in_about_as_many_bytes():
    model, told = load("flowers64"), []
    pictures = model.generate(40)[::5]
    plain = compress(model, pictures)
    found = compress(model, pictures, search=25, progress=lambda done, of, text: told.append((done, of)))
    before, after = (np.square(decompress(model, data).astype(float) - pictures).mean() for data in (plain, found))
    assert after < 0.8 * before
    assert len(found) < 1.05 * len(plain)
    assert told[-1] == (200, 200)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_search_needs_torch(small_store, tiny_model):
    light = open_without_torch(tiny_model)
    with pytest.raises(UsageError, match="needs a model with torch"):
        compress(light, np.asarray(small_store.pictures[:2]), search=5)


def test_damaged_bytes_are_refused():
    data = pack_codes(*codes(5), PRINT)
    spoiled = [data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :] for i in range(0, len(data), 7)]
    for bad in (b"", b"bbc1", data[:-9], data + b"x", *spoiled):
        with pytest.raises(FormatError, match="not compressed pictures, or they are damaged"):
            unpack_codes(bad)


def test_impossible_requests_are_refused():
    with pytest.raises(UsageError, match="positive fineness"):
        pack_codes(*codes(3), PRINT, fineness=0)
    with pytest.raises(UsageError, match="At least one picture"):
        pack_codes(*(each[:0] for each in codes(3)), PRINT)
