"""The density fitted to the aggregate posterior."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import distributions as D

from betabloom.errors import UsageError
from betabloom.samplers.mixture import GaussianMixture, fit_aggregate, fit_mixture
from betabloom.vae.inference import base_noise


def two_clusters(count: int = 4000, seed: int = 0) -> torch.Tensor:
    """Half N([−3, 0], [[1, .9], [.9, 1]]), half N([3, 1], 0.25 I)."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 2, generator=generator)
    left = noise @ torch.linalg.cholesky(torch.tensor([[1.0, 0.9], [0.9, 1.0]])).T + torch.tensor([-3.0, 0.0])
    right = 0.5 * noise + torch.tensor([3.0, 1.0])
    return torch.where(torch.arange(count)[:, None] % 2 == 0, left, right)


def random_mixture(components: int = 3, latents: int = 4) -> GaussianMixture:
    torch.manual_seed(1)
    factor = 0.3 * torch.randn(components, latents, latents).tril() + torch.eye(latents)
    return GaussianMixture(torch.tensor([0.2, 0.5, 0.3]), 2 * torch.randn(components, latents), factor)


def test_density_agrees_with_torch_distributions():
    mixture, z = random_mixture(), 2 * torch.randn(9, 4)
    components = D.MultivariateNormal(mixture.mean, scale_tril=mixture.factor)
    reference = D.MixtureSameFamily(D.Categorical(mixture.weight), components)
    torch.testing.assert_close(mixture.log_prob(z), reference.log_prob(z))


def test_samples_have_the_mixture_mean_and_covariance():
    mixture = random_mixture()
    samples = mixture.sample(*base_noise(0, 40000, 4))
    mean = (mixture.weight[:, None] * mixture.mean).sum(0)
    second = mixture.factor @ mixture.factor.mT + mixture.mean[:, :, None] * mixture.mean[:, None, :]
    covariance = (mixture.weight[:, None, None] * second).sum(0) - torch.outer(mean, mean)
    torch.testing.assert_close(samples.mean(0), mean, atol=0.06, rtol=0)
    torch.testing.assert_close(torch.cov(samples.T), covariance, atol=0.2, rtol=0.05)


def test_one_component_is_the_sample_mean_and_nearly_the_sample_covariance():
    z = two_clusters()
    mixture = fit_mixture(z, 1)
    torch.testing.assert_close(mixture.mean[0], z.mean(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(mixture.factor[0] @ mixture.factor[0].T, torch.cov(z.T), rtol=0.01, atol=0.01)


def test_two_clusters_are_found():
    mixture = fit_mixture(two_clusters(), 2)
    order = mixture.mean[:, 0].argsort()
    torch.testing.assert_close(mixture.weight, torch.full((2,), 0.5), atol=0.02, rtol=0)
    torch.testing.assert_close(mixture.mean[order], torch.tensor([[-3.0, 0.0], [3.0, 1.0]]), atol=0.08, rtol=0)
    covariance = mixture.factor @ mixture.factor.mT
    torch.testing.assert_close(covariance[order[0]], torch.tensor([[1.0, 0.9], [0.9, 1.0]]), atol=0.08, rtol=0)


def test_expectation_maximisation_makes_the_codes_likelier():
    z = two_clusters()
    likelihoods = [fit_mixture(z, 3, iterations=n).log_prob(z).mean().item() for n in (1, 3, 10, 30)]
    assert all(later > before - 1e-3 for before, later in itertools.pairwise(likelihoods))  # shrinkage
    assert likelihoods[-1] > likelihoods[0] + 0.01


def test_held_out_codes_choose_the_number_of_components():
    two = fit_aggregate(two_clusters(2000), two_clusters(500, seed=1))
    assert len(two.weight) >= 2
    generator = torch.Generator().manual_seed(0)
    one = fit_aggregate(torch.randn(300, 8, generator=generator), torch.randn(300, 8, generator=generator))
    assert len(one.weight) == 1


@pytest.mark.parametrize("count", [2, 5, 40])
def test_few_codes_in_many_dimensions_still_give_a_density(count):
    z = torch.randn(count, 30, generator=torch.Generator().manual_seed(0))
    mixture = fit_mixture(z, 2 if count > 2 else 1)
    assert torch.isfinite(mixture.log_prob(z)).all()
    assert (mixture.factor.diagonal(dim1=1, dim2=2) > 0).all()


def test_constant_dimensions_do_not_break_the_fit():
    z = torch.cat([torch.randn(200, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(200, 3)], 1)
    assert torch.isfinite(fit_mixture(z, 4).log_prob(z)).all()


def test_same_seed_same_fit():
    z = two_clusters(500)
    assert torch.equal(fit_mixture(z, 4, seed=3).mean, fit_mixture(z, 4, seed=3).mean)


def test_nothing_to_fit_is_refused():
    with pytest.raises(UsageError, match="at least 2 codes"):
        fit_mixture(torch.zeros(1, 3), 1)


@pytest.mark.parametrize("size", [1e-20, 1e8, 1e15, 1e30])
def test_codes_of_any_size_on_a_line_have_a_density_that_can_be_drawn_from(size):
    """A model that diverged has such codes: rounding makes their covariance singular, or they have none."""
    z = size * torch.linspace(-1, 1, 50)[:, None] * torch.tensor([[1.0, 1.0, -1.0]])
    for components in (1, 2):
        mixture = fit_mixture(z, components)
        assert mixture.sample(*base_noise(0, 20, 3)).isfinite().all()
