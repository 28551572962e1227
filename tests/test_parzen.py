"""Manifold Parzen windows: a density, its samples and its bandwidth."""

from __future__ import annotations

import pytest
import torch
from torch import distributions as D

from betabloom.errors import UsageError
from betabloom.samplers.parzen import Parzen, fit_parzen
from betabloom.vae.inference import base_noise


def ring(count: int, noise: float, seed: int) -> torch.Tensor:
    """Codes around a circle of radius 3 in the first two of four dimensions."""
    generator = torch.Generator().manual_seed(seed)
    angle = 6.2832 * torch.rand(count, generator=generator)
    plane = 3 * torch.stack([angle.cos(), angle.sin()], 1)
    return torch.cat([plane, torch.zeros(count, 2)], 1) + noise * torch.randn(count, 4, generator=generator)


def fitted(count: int = 300, bandwidth: float = 1.0) -> Parzen:
    return fit_parzen(ring(count, 0.05, 0), torch.full((count, 4), -5.0), bandwidth, neighbours=8)


def kernels(density: Parzen) -> tuple[torch.Tensor, torch.Tensor]:
    """Means and covariances of the kernels, one by one as the formula has them, in double."""
    codes, h, k = density.mean.double(), density.bandwidth.item(), density.near.shape[1]
    middle, means, covariances = codes.mean(0), [], []
    for code, near in zip(codes, density.near.long(), strict=True):
        apart = codes[near] - torch.cat([code[None], codes[near]]).mean(0)
        wider = h**2 / k * apart.T @ apart
        square = (code - middle).square().sum()
        a = (square / (square + wider.trace())).sqrt()
        means.append(middle + a * (code - middle))
        covariances.append(a**2 * wider + torch.diag(density.spread.double().square()))
    return torch.stack(means), torch.stack(covariances)


def test_density_agrees_with_torch_distributions():
    density, z = fitted(40), 3 * torch.randn(200, 4, generator=torch.Generator().manual_seed(3))
    weights = D.Categorical(torch.ones(40).double())
    reference = D.MixtureSameFamily(weights, D.MultivariateNormal(*kernels(density)))
    torch.testing.assert_close(density.log_prob(z).double(), reference.log_prob(z.double()), rtol=1e-3, atol=0.05)


def test_samples_have_the_mean_and_covariance_of_the_density():
    density = fitted(60)
    samples = density.sample(*base_noise(0, 20000, 4))
    mean, inner = (each.float() for each in kernels(density))
    torch.testing.assert_close(samples.mean(0), mean.mean(0), atol=0.08, rtol=0)
    expected = inner.mean(0) + torch.cov(mean.T, correction=0)
    torch.testing.assert_close(torch.cov(samples.T), expected, atol=0.12, rtol=0.05)


@pytest.mark.parametrize("bandwidth", [0.5, 1.0, 2.5])
def test_codes_are_as_far_from_their_mean_as_those_of_pictures_however_wide_the_windows(bandwidth):
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(500, 64, generator=generator)  # neighbours are as far from a code as the mean is, or farther
    density = fit_parzen(codes, torch.full((500, 64), -6.0), bandwidth)
    samples = density.sample(*base_noise(0, 2000, 64))
    expected = (codes - codes.mean(0)).square().sum(1).mean() + density.spread.square().sum()
    found = (samples - codes.mean(0)).square().sum(1).mean()
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0)


def test_codes_keep_what_their_picture_has_and_never_become_its_opposite():
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(500, 64, generator=generator)
    density = fit_parzen(codes, torch.full((500, 64), -6.0), 1.4)
    noise, choice = base_noise(0, 2000, 64)
    own = codes[(choice * 500).long()]
    along = (density.sample(noise, choice) * own).sum(1) / own.square().sum(1)
    assert along.min() > 0.1
    assert 0.4 < along.mean() < 0.9


def test_equal_codes_leave_nothing_but_the_posteriors_spread():
    density = fit_parzen(torch.ones(20, 3), torch.zeros(20, 3))
    samples = density.sample(*base_noise(0, 5000, 3))
    torch.testing.assert_close(samples.mean(0), torch.ones(3), atol=0.1, rtol=0)
    torch.testing.assert_close(torch.cov(samples.T), torch.eye(3), atol=0.1, rtol=0)


def test_directions_a_million_times_longer_than_the_spread_are_no_matter():
    codes = 1e4 * ring(200, 0.05, 0)
    density = fit_parzen(codes, torch.full((200, 4), -20.0))
    samples = density.sample(*base_noise(0, 500, 4))
    assert samples.isfinite().all()
    assert density.log_prob(samples).isfinite().all()


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


def test_each_picture_keeps_its_code_however_many_are_drawn():
    density = fitted()
    many, one = density.sample(*base_noise(4, 12, 4)), density.sample(*base_noise(4, 1, 4, start=7))
    torch.testing.assert_close(many[7:8], one)


def test_two_codes_suffice_and_one_does_not():
    assert fit_parzen(torch.randn(2, 3), torch.zeros(2, 3)).near.shape == (2, 1)
    with pytest.raises(UsageError, match="at least 2 codes"):
        fit_parzen(torch.randn(1, 3), torch.zeros(1, 3))
