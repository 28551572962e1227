"""The rectified flow: a density fitted to codes by carrying noise along."""

from __future__ import annotations

import pytest
import torch

from betabloom.errors import UsageError
from betabloom.samplers.flow import Flow, fit_flow
from betabloom.samplers.mixture import fit_mixture
from betabloom.vae.inference import base_noise

SMALL = {"width": 32, "blocks": 2}


def clusters(count: int, seed: int = 0) -> torch.Tensor:
    """A quarter of the codes around (−4, 0), the rest around (4, 2), both with standard deviation 0.5."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.rand(count, 1, generator=generator) < 0.25
    centre = torch.where(left, torch.tensor([-4.0, 0.0]), torch.tensor([4.0, 2.0]))
    return centre + 0.5 * torch.randn(count, 2, generator=generator)


@pytest.fixture(scope="module")
def parted() -> Flow:
    codes = clusters(4000)
    return fit_flow(codes, torch.full_like(codes, -20), 1500, **SMALL)


def shares(codes: torch.Tensor) -> tuple[float, float]:
    """Parts of the codes within four standard deviations of either centre."""
    near = [(codes - torch.tensor(centre)).norm(dim=1) < 2 for centre in ([-4.0, 0.0], [4.0, 2.0])]
    return near[0].float().mean().item(), near[1].float().mean().item()


def test_two_clusters_are_hit_in_their_shares_where_one_gaussian_fills_what_lies_between(parted):
    noise = base_noise(1, 4000, 2)
    left, right = shares(parted.sample(*noise))
    assert left == pytest.approx(0.25, abs=0.04)
    assert left + right > 0.95
    assert sum(shares(fit_mixture(clusters(4000), 1).sample(*noise))) < 0.7


def test_samples_have_the_mean_and_covariance_of_the_codes(parted):
    drawn, codes = parted.sample(*base_noise(2, 4000, 2)), clusters(4000)
    torch.testing.assert_close(drawn.mean(0), codes.mean(0), atol=0.3, rtol=0)
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(codes.T), atol=0.5, rtol=0.05)


def test_the_density_sums_to_one_and_is_that_of_the_samples(parted):
    x, y = torch.linspace(-7, 7, 90), torch.linspace(-4, 6, 90)
    grid = torch.cartesian_prod(x, y)
    mass = parted.log_prob(grid).exp() * (x[1] - x[0]) * (y[1] - y[0])
    assert mass.sum().item() == pytest.approx(1, abs=0.03)
    drawn = parted.sample(*base_noise(3, 4000, 2))
    assert mass[grid[:, 0] < 0].sum().item() == pytest.approx((drawn[:, 0] < 0).float().mean().item(), abs=0.03)


def test_two_clusters_are_likelier_under_the_flow_than_under_one_gaussian(parted):
    held_out = clusters(300, seed=9)
    assert parted.log_prob(held_out).mean() > fit_mixture(clusters(4000), 1).log_prob(held_out).mean() + 1


def test_untrained_it_is_one_gaussian_and_white_codes_keep_it_so():
    codes = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))
    noise = base_noise(0, 2000, 3)
    for steps, apart in ((1, 0.05), (400, 0.15)):
        drawn = fit_flow(codes, torch.full_like(codes, -20), steps, **SMALL).sample(*noise)
        assert (drawn - noise[0]).square().mean().sqrt() < apart, steps
        torch.testing.assert_close(torch.cov(drawn.T), torch.eye(3), atol=0.12, rtol=0)


def test_same_seed_same_flow():
    codes = clusters(100)
    one, same, other = (fit_flow(codes, torch.zeros_like(codes), 5, seed, **SMALL) for seed in (3, 3, 4))
    assert all(torch.equal(value, same.state_dict()[name]) for name, value in one.state_dict().items())
    assert not torch.equal(one.inner, other.inner)


def test_each_picture_keeps_its_code_however_many_are_drawn(parted):
    many, one = parted.sample(*base_noise(4, 12, 2)), parted.sample(*base_noise(4, 1, 2, start=7))
    torch.testing.assert_close(many[7:8], one)


def test_a_point_posterior_and_two_codes_suffice():
    codes = torch.tensor([[0.0, 1.0], [2.0, -1.0]])
    drawn = fit_flow(codes, torch.full_like(codes, -torch.inf), 3, **SMALL).sample(*base_noise(0, 5, 2))
    assert torch.isfinite(drawn).all()


@pytest.mark.parametrize(("count", "steps"), [(1, 5), (10, 0)])
def test_nothing_to_fit_is_refused(count, steps):
    with pytest.raises(UsageError, match="at least 2 codes and 1 step"):
        fit_flow(torch.zeros(count, 2), torch.zeros(count, 2), steps)
