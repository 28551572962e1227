"""Posteriors: what they say agrees with torch.distributions, and with one another."""

from __future__ import annotations

import contextlib
import math

import pytest
import torch
from torch import distributions

from betabloom.errors import UsageError
from betabloom.vae.build import build_vae
from betabloom.vae.objective import TotalCorrelation
from betabloom.vae.posterior import POSTERIORS, FullNormal, LowRankNormal
from betabloom.vae.prior import Mixture, Normal, StandardNormal

LATENTS, BATCH = 5, 3
WITH_DENSITY = [name for name, kind in POSTERIORS.items() if kind.has_density]


@pytest.fixture(autouse=True)
def _double():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def drawn(name, batch=BATCH, latents=LATENTS):
    kind = POSTERIORS[name]
    heads = kind.heads(latents)
    assert list(heads)[:2] == ["mean", "log_var"]
    return kind.of(*(torch.randn(batch, outputs) for outputs in heads.values()))


def covariance(posterior):
    """What `sample` makes of noise is linear: Σ = B Bᵀ, from its own values on the axes."""
    latents = posterior.mean.shape[1]
    columns = [posterior.sample(row.expand(len(posterior.mean), -1)) - posterior.mean for row in torch.eye(latents)]
    factor = torch.stack(columns, 2)
    return factor @ factor.mT


def of_torch(posterior):
    return distributions.MultivariateNormal(posterior.mean, covariance(posterior))


@pytest.mark.parametrize("name", WITH_DENSITY)
def test_densities_are_those_of_the_covariance_that_samples_have(name):
    q = drawn(name)
    z = q.sample(torch.randn(BATCH, LATENTS))
    torch.testing.assert_close(q.log_prob(z), of_torch(q).log_prob(z))
    variance = covariance(q).diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(q.log_var, variance.log())
    torch.testing.assert_close(q.std, variance.sqrt())
    marginals = distributions.Normal(q.mean, variance.sqrt())
    torch.testing.assert_close(q.log_prob_per_dimension(z), marginals.log_prob(z))


@pytest.mark.parametrize("name", WITH_DENSITY)
@pytest.mark.parametrize("prior", [StandardNormal(LATENTS), Normal(LATENTS, 0.3, 0.7)], ids=["standard", "normal"])
def test_the_rate_is_the_kl_divergence_of_torch(name, prior):
    q = drawn(name)
    std = torch.exp(0.5 * prior.log_var)
    p = distributions.MultivariateNormal(prior.mean.double(), torch.diag(std.double() ** 2))
    expected = distributions.kl_divergence(of_torch(q), p)
    torch.testing.assert_close(prior.kl(q, q.mean), expected)
    apart = prior.kl(q, q.mean) - prior.kl_per_dimension(q, q.mean).sum(1)
    torch.testing.assert_close(apart, torch.as_tensor(q.dependence()).expand(BATCH), atol=1e-12, rtol=1e-9)
    assert (apart > (1e-3 if name != "normal" else -1e-12)).all()


def test_other_priors_estimate_it_without_bias():
    q, prior = drawn("full", 1), Mixture(LATENTS, 3)
    z = FullNormal(q.mean.expand(40_000, -1), q.factor).sample(torch.randn(40_000, LATENTS))
    estimates = prior.kl(FullNormal(q.mean, q.factor), z)
    estimate = q.log_prob(z).mean() - prior.log_prob(z).mean()
    torch.testing.assert_close(estimates.mean(), estimate)
    assert estimates.mean() > 0


def test_a_covariance_of_low_rank_is_its_diagonal_and_directions():
    mean, log_var, third = (torch.randn(BATCH, n) for n in LowRankNormal.heads(LATENTS).values())
    q = LowRankNormal.of(mean, log_var, third)
    directions = q.directions * q.scale[:, :, None]
    expected = torch.diag_embed(log_var.exp()) + directions @ directions.mT
    torch.testing.assert_close(covariance(q), expected)
    assert LowRankNormal.heads(100)["low_rank"] == 800
    assert FullNormal.heads(100)["lower"] == 4950


@pytest.mark.parametrize("name", POSTERIORS)
def test_gradients_reach_every_head(name):
    kind = POSTERIORS[name]
    parameters = [torch.randn(BATCH, n, requires_grad=True) for n in kind.heads(LATENTS).values()]
    q = kind.of(*parameters)
    loss = q.sample(torch.randn(BATCH, LATENTS)).square().sum()
    if kind.has_density:
        loss = loss + StandardNormal(LATENTS).kl(q, q.mean).sum()
    loss.backward()
    used = parameters if kind.has_density else parameters[:1]
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in used)


def test_a_point_has_no_density():
    q = drawn("point")
    assert torch.equal(q.sample(torch.randn(BATCH, LATENTS)), q.mean)
    assert (q.log_var == -math.inf).all()
    assert (q.std == 0).all()
    with pytest.raises(UsageError):
        q.log_prob(q.mean)


@pytest.mark.parametrize("name", POSTERIORS)
def test_a_model_has_the_heads_of_its_posterior(name):
    torch.set_default_dtype(torch.float32)
    vae = build_vae((3, 16, 16), LATENTS, "conv", (4, 8), posterior=name)
    terms = vae(torch.rand(2, 3, 16, 16), torch.randn(2, LATENTS))
    assert isinstance(terms.posterior, POSTERIORS[name])
    assert (terms.rate > 0).all() == POSTERIORS[name].has_density
    with pytest.raises(UsageError) if name != "normal" else contextlib.nullcontext():
        TotalCorrelation(10)(terms, 0.0)
