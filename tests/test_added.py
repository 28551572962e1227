"""Adding a likelihood, prior, posterior, regulariser, schedule, sampler or family: one class or row, as each test does.

Each trains, is saved and loaded, and generates the same pictures as before.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import betabloom
from betabloom.model.without_torch import open_without_torch
from betabloom.networks import spec
from betabloom.networks.spec import Family, Layer
from betabloom.samplers.table import SAMPLERS, Sampler
from betabloom.training import loop
from betabloom.vae import likelihood, objective, posterior, prior, schedule
from betabloom.vae.posterior import DiagonalNormal
from betabloom.vae.prior import Prior
from betabloom.vae.schedule import make_schedule


@pytest.fixture
def trained(small_store, tiny_config, tmp_path):
    """Train with these settings; the model as it is loaded again, which draws what it drew before."""

    def train(**settings):
        model = loop.train(small_store, tiny_config.replace({"steps": 3, **settings}))
        pictures = model.generate(3, seed=4)
        model.save(tmp_path / "m")
        loaded = betabloom.load(tmp_path / "m")
        assert np.array_equal(loaded.generate(3, seed=4), pictures)
        return loaded

    return train


class Triangular(likelihood.Likelihood):
    """p(x|η) = 1 − |x − μ| on [0, 1], not normalised: a toy."""

    def log_prob(self, output, x):
        return torch.log(1.01 - (x - self.mean(output)).abs())

    def mean(self, output):
        return torch.sigmoid(output.float())

    def sample(self, output, uniform):
        return self.mean(output)


def test_a_likelihood(trained, monkeypatch, tmp_path):
    monkeypatch.setitem(likelihood.LIKELIHOODS, "triangular", Triangular)
    assert isinstance(trained(likelihood="triangular").vae.likelihood, Triangular)
    assert open_without_torch(tmp_path / "m") is None  # torch draws it


class Shifted(Prior):
    """N(1, I)."""

    def __init__(self, latents: int) -> None:
        super().__init__()
        self.latents = latents
        self.register_buffer("centre", torch.ones(latents))

    def log_prob(self, z):
        return -0.5 * ((z - self.centre).square() + math.log(2 * math.pi)).sum(1)

    def sample(self, noise, choice):
        return self.centre + noise


def test_a_prior(trained, monkeypatch, tmp_path):
    monkeypatch.setitem(prior.PRIORS, "shifted", lambda settings: Shifted(settings.latents))
    model = trained(prior="shifted")
    assert isinstance(model.vae.prior, Shifted)
    assert open_without_torch(tmp_path / "m") is None


class Narrow(DiagonalNormal):
    """A tenth of the usual deviation."""

    @classmethod
    def heads(cls, latents):
        return {**super().heads(latents), "gain": 1}

    @classmethod
    def of(cls, mean, log_var, *others):
        return cls(mean * torch.sigmoid(others[0]), log_var.clamp(-20, 20) - 2 * math.log(10))


def test_a_posterior(trained, monkeypatch):
    monkeypatch.setitem(posterior.POSTERIORS, "narrow", Narrow)
    model = trained(posterior="narrow")
    assert model.vae.encoder.gain.weight.shape[0] == 1
    assert model.encode(model.generate(2))[1].mean() < -3


def test_a_regulariser(trained, monkeypatch):
    monkeypatch.setitem(
        objective.REGULARISERS, "squared", lambda settings, images: lambda terms, t: (0.0, terms.rate.square().mean())
    )
    model = trained(regulariser="squared")
    assert model.config.objective.regulariser == "squared"
    assert math.isfinite(model.training["validation"]["loss"])


def test_a_schedule(trained, monkeypatch):
    monkeypatch.setitem(schedule.SCHEDULES, "squared", lambda value, warmup: lambda t: value * min(t, 1) ** 2)
    model = trained(beta_schedule="squared", beta=3.0)
    assert model.config.objective.beta_schedule == "squared"
    assert make_schedule("squared", 4.0, 0.1)(0.5) == 1


class Copies(Prior):
    """The codes of the training pictures themselves."""

    def __init__(self, codes) -> None:
        super().__init__()
        self.latents = codes.shape[1]
        self.register_buffer("codes", codes)

    def log_prob(self, z):
        return torch.zeros(len(z))

    def sample(self, noise, choice):
        return self.codes[(choice * len(self.codes)).long()]


COPIES = Sampler(
    fit=lambda data: Copies(data.mean),
    sizes={"count": 1 << 20},
    sizes_of=lambda density: {"count": len(density.codes)},
    tensors=lambda latents, count: {"codes": ((count, latents), "F32")},
    density=lambda **tensors: Copies(**tensors),
    draw=lambda found: lambda noise, choice: found["codes"][(choice * len(found["codes"])).astype(int)],
)


def test_a_sampler(trained, monkeypatch, tmp_path):
    monkeypatch.setitem(SAMPLERS, "copies", COPIES)
    model = trained()
    pictures = model.generate(5, seed=1, sampler="copies")
    drawn = open_without_torch(tmp_path / "m").generate(5, seed=1, sampler="copies")
    assert np.abs(drawn.astype(int) - pictures).max() <= 1


def linear(shape, latents, widths, kernel):
    """One linear layer each way."""
    features = math.prod(shape)
    return (
        [Layer("centre"), Layer("flatten")],
        features,
        [Layer("linear", latents, features), Layer("view", shape=shape)],
    )


def test_a_family(trained, monkeypatch, tmp_path):
    monkeypatch.setitem(spec.FAMILIES, "linear", Family(linear, (1,), 3, strided=False, even=False))
    model = trained(family="linear", widths="")
    assert [type(layer) for layer in model.vae.decoder.body][1:] != [nn.Conv2d]
    drawn = open_without_torch(tmp_path / "m").generate(3, seed=4)
    assert np.abs(drawn.astype(int) - model.generate(3, seed=4)).max() <= 1
    assert [row["shape"] for row in betabloom.describe_layers(model.config)][-1] == model.config.shape
