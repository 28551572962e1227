"""Priors: densities that integrate to one, samples that follow them, rates that are Kullback-Leibler divergences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributions as D

from betabloom.errors import UsageError
from betabloom.vae.inference import base_noise
from betabloom.vae.posterior import DiagonalNormal
from betabloom.vae.prior import Mixture, Normal, StandardNormal, VampPrior


def encoder(latents: int):
    """A fixed encoder of 1×2×2 pictures."""
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(4, latents, generator=generator)
    return lambda x: DiagonalNormal(x.flatten(1) @ weight, -1 + 0.3 * x.flatten(1) @ weight)


def priors(latents: int):
    torch.manual_seed(1)
    return {
        "standard": StandardNormal(latents),
        "normal": Normal(latents, mean=-1.2, std=0.7),
        "normal-learned": Normal(latents, mean=0.5, learned=True),
        "mixture": Mixture(latents, components=5),
        "vamp": VampPrior(encoder(latents), latents, (1, 2, 2), components=4),
    }


NAMES = list(priors(1))


def monte_carlo(q: DiagonalNormal, prior, count: int = 200_000) -> tuple[float, float]:
    """Mean and standard error of log q(z) − log p(z) over z ~ q."""
    torch.manual_seed(2)
    wide = DiagonalNormal(q.mean.expand(count, -1), q.log_var.expand(count, -1))
    z = wide.sample(torch.randn(count, q.mean.shape[1]))
    difference = wide.log_prob(z) - prior.log_prob(z)
    return difference.mean().item(), difference.std().item() / math.sqrt(count)


@pytest.mark.parametrize("name", NAMES)
def test_density_integrates_to_one(name):
    z = torch.linspace(-40, 40, 80001)
    density = priors(1)[name].log_prob(z[:, None]).exp().detach()
    assert torch.trapezoid(density, z).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_samples_follow_the_density(name):
    """As many samples lie below a quantile as the density says."""
    prior = priors(1)[name]
    noise, choice = base_noise(0, 20000, 1)
    samples = prior.sample(noise, choice).detach()
    z = torch.linspace(-40, 40, 80001)
    density = prior.log_prob(z[:, None]).exp().detach()
    distribution = torch.cumulative_trapezoid(density, z)
    for share in (0.1, 0.5, 0.9):
        quantile = z[int((distribution < share).sum())]
        assert (samples < quantile).float().mean().item() == pytest.approx(
            share, abs=4 * math.sqrt(share * (1 - share) / 20000)
        )


@pytest.mark.parametrize("name", ["standard", "normal", "normal-learned"])
def test_closed_form_rate_equals_monte_carlo_within_four_standard_errors(name):
    prior = priors(3)[name]
    q = DiagonalNormal(torch.tensor([[0.7, -0.2, 1.5]]), 2 * torch.log(torch.tensor([[0.4, 1.3, 0.05]])))
    mean, error = monte_carlo(q, prior)
    assert prior.kl(q, q.mean).item() == pytest.approx(mean, abs=4 * error)


def test_rate_against_a_shifted_prior_is_the_known_number():
    """KL(N(0.7, 0.4²) ‖ N(−1.2, 1)) = 2.3013 by the formula."""
    q = DiagonalNormal(torch.tensor([[0.7]]), torch.tensor([[2 * math.log(0.4)]]))
    expected = 0.5 * (0.4**2 + 1.9**2 - 1 - math.log(0.4**2))
    assert Normal(1, mean=-1.2).kl(q, q.mean).item() == pytest.approx(expected, rel=1e-6)
    assert expected == pytest.approx(2.3013, abs=1e-4)


def test_rate_is_not_the_wrong_formula_that_circulates():
    """Σ σ² + μ² + log σ − 1 gives −3.29 at μ = 0, σ = 0.1, and has no lower bound; the divergence is +1.81."""
    q = DiagonalNormal(torch.zeros(1, 1), torch.full((1, 1), 2 * math.log(0.1)))
    assert StandardNormal(1).kl(q, q.mean).item() == pytest.approx(1.8076, abs=1e-4)


@pytest.mark.parametrize("name", ["standard", "normal", "normal-learned"])
def test_rate_agrees_with_torch_distributions_and_splits_over_dimensions(name):
    prior = priors(4)[name]
    q = DiagonalNormal(torch.randn(7, 4), torch.randn(7, 4))
    reference = D.kl_divergence(D.Normal(q.mean, q.std), D.Normal(prior.mean, torch.exp(0.5 * prior.log_var)))
    torch.testing.assert_close(prior.kl_per_dimension(q, q.mean), reference)
    torch.testing.assert_close(prior.kl(q, q.mean), reference.sum(1))


@pytest.mark.parametrize("name", NAMES)
def test_rate_is_zero_for_the_prior_itself_and_positive_elsewhere(name):
    prior = priors(2)[name]
    q = DiagonalNormal(torch.tensor([[2.5, -2.0]]), torch.full((1, 2), -3.0))
    mean, error = monte_carlo(q, prior, 20000)
    assert mean - 4 * error > 0
    if name in ("standard", "normal"):
        same = DiagonalNormal(prior.mean[None], prior.log_var[None])
        assert prior.kl(same, same.mean).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", ["mixture", "vamp"])
def test_mixtures_agree_with_torch_distributions(name):
    prior = priors(3)[name]
    log_weight, mean, log_var = prior.components()
    components = D.Independent(D.Normal(mean, torch.exp(0.5 * log_var)), 1)
    reference = D.MixtureSameFamily(D.Categorical(logits=log_weight), components)
    z = 2 * torch.randn(11, 3)
    torch.testing.assert_close(prior.log_prob(z), reference.log_prob(z))


def test_a_mixture_of_one_has_the_rate_of_its_only_component():
    prior = Mixture(2, components=1)
    q = DiagonalNormal(torch.tensor([[0.3, -1.0]]), torch.tensor([[-1.0, 0.2]]))
    mean, error = monte_carlo(q, prior)
    closed = (
        D.kl_divergence(D.Normal(q.mean, q.std), D.Normal(prior.means, torch.exp(0.5 * prior.log_vars))).sum().item()
    )
    assert closed == pytest.approx(mean, abs=4 * error)
    z = q.sample(torch.randn(1, 2))
    torch.testing.assert_close(prior.kl_per_dimension(q, z).sum(1), prior.kl(q, z))


def test_vamp_prior_is_the_aggregate_posterior_of_its_pseudo_pictures():
    latents, encode = 2, encoder(2)
    prior = VampPrior(encode, latents, (1, 2, 2), components=6)
    q = encode(torch.sigmoid(prior.logits))
    z = torch.randn(9, latents)
    each = torch.stack([DiagonalNormal(q.mean[k : k + 1], q.log_var[k : k + 1]).log_prob(z) for k in range(6)])
    torch.testing.assert_close(prior.log_prob(z), torch.logsumexp(each, 0) - math.log(6))


def test_base_noise_names_a_picture_by_seed_and_number():
    noise, choice = base_noise(7, 10, 5)
    later_noise, later_choice = base_noise(7, 4, 5, start=6)
    assert torch.equal(noise[6:], later_noise)
    assert torch.equal(choice[6:], later_choice)
    assert not torch.equal(noise, base_noise(8, 10, 5)[0])


def test_impossible_priors_are_refused():
    with pytest.raises(UsageError, match="'std' must be positive, not 0"):
        Normal(2, std=0)
    with pytest.raises(UsageError, match="'mean' must be one number or 3"):
        Normal(3, mean=[1.0, 2.0])
    with pytest.raises(UsageError, match="'components' must be at least 1"):
        Mixture(2, components=0)
