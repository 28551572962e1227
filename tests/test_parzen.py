"""Manifold Parzen windows: a density, its samples and its bandwidth."""

from __future__ import annotations

import pytest
import torch
from torch import distributions as D

from betabloom.errors import UsageError
from betabloom.parzen import Parzen, fit_parzen
from betabloom.sample import base_noise


def ring(count: int, noise: float, seed: int) -> torch.Tensor:
    """Codes around a circle of radius 3 in the first two of four dimensions."""
    generator = torch.Generator().manual_seed(seed)
    angle = 6.2832 * torch.rand(count, generator=generator)
    plane = 3 * torch.stack([angle.cos(), angle.sin()], 1)
    return torch.cat([plane, torch.zeros(count, 2)], 1) + noise * torch.randn(count, 4, generator=generator)


def fitted(count: int = 300, bandwidth: float = 1.0) -> Parzen:
    return fit_parzen(ring(count, 0.05, 0), torch.full((count, 4), -5.0), bandwidth, neighbours=8)


def reference(density: Parzen) -> D.Distribution:
    """The same mixture, from torch.distributions."""
    mean, near = density.mean.float(), density.near.long()
    v = (mean[near] - mean[:, None]) * density.bandwidth / near.shape[1] ** 0.5
    covariance = v.mT @ v + torch.diag(density.spread.square())
    weights = D.Categorical(torch.ones(len(mean)))
    return D.MixtureSameFamily(weights, D.MultivariateNormal(mean, covariance))


def test_density_agrees_with_torch_distributions():
    density, z = fitted(40), 3 * torch.randn(200, 4, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(density.log_prob(z), reference(density).log_prob(z), rtol=1e-3, atol=0.05)


def test_samples_have_the_mean_and_covariance_of_the_density():
    density = fitted(60)
    samples = density.sample(*base_noise(0, 20000, 4))
    mean = density.mean.float()
    v = density.directions(torch.arange(60))
    inner = (v.mT @ v).mean(0) + torch.diag(density.spread.square())
    torch.testing.assert_close(samples.mean(0), mean.mean(0), atol=0.08, rtol=0)
    torch.testing.assert_close(torch.cov(samples.T), inner + torch.cov(mean.T, correction=0), atol=0.12, rtol=0.05)


def test_neighbours_are_the_nearest_and_never_oneself():
    density = fitted(100)
    distance = torch.cdist(ring(100, 0.05, 0), ring(100, 0.05, 0)).fill_diagonal_(torch.inf)
    assert not (density.near == torch.arange(100)[:, None]).any()
    farthest = distance.gather(1, density.near.long()).amax(1)
    assert ((distance < farthest[:, None]).sum(1) <= 7).all()


def test_samples_stay_on_the_ring_where_one_gaussian_fills_it():
    samples = fitted(300).sample(*base_noise(1, 2000, 4))
    radius = samples[:, :2].norm(dim=1)
    assert ((radius - 3).abs() < 0.6).float().mean() > 0.98


def test_the_bandwidth_is_how_far_samples_go_in_units_of_the_neighbours_distances():
    noise, choice = base_noise(1, 4000, 4)
    i = (choice.double() * 300).long()
    moved = []
    for bandwidth in (0.5, 1.0):
        density = fitted(300, bandwidth)
        density.spread.fill_(1e-6)
        moved.append((density.sample(noise, choice) - density.mean[i].float()).square().sum(1).mean())
    mean = fitted(300).mean.float()
    distances = (mean[fitted(300).near.long()] - mean[:, None]).square().sum(2).mean()
    torch.testing.assert_close(moved[1], distances, rtol=0.1, atol=0)
    torch.testing.assert_close(moved[1] / moved[0], torch.tensor(4.0), rtol=0.01, atol=0)


def test_each_picture_keeps_its_code_however_many_are_drawn():
    density = fitted()
    many, one = density.sample(*base_noise(4, 12, 4)), density.sample(*base_noise(4, 1, 4, start=7))
    torch.testing.assert_close(many[7:8], one)


def test_two_codes_suffice_and_one_does_not():
    assert fit_parzen(torch.randn(2, 3), torch.zeros(2, 3)).near.shape == (2, 1)
    with pytest.raises(UsageError, match="at least 2 codes"):
        fit_parzen(torch.randn(1, 3), torch.zeros(1, 3))
