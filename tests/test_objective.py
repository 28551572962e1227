"""Objectives: β = 1 is −ELBO, each variant is what its paper says, and β is only a weight."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from betabloom.errors import UsageError
from betabloom.vae.build import build_vae
from betabloom.vae.objective import (
    Capacity,
    Elbo,
    FreeBits,
    JensenShannon,
    MeanDiscrepancy,
    Objective,
    Terms,
    TotalCorrelation,
    aggregate_log_density,
    normalised_beta,
)
from betabloom.vae.other_divergences import geometric_jensen_shannon, mmd, mmd_to_standard_normal, normal_kl
from betabloom.vae.posterior import DiagonalNormal, Point
from betabloom.vae.prior import StandardNormal
from betabloom.vae.schedule import Constant, LinearSchedule


def terms(batch: int = 6, latents: int = 3, seed: int = 0) -> Terms:
    generator = torch.Generator().manual_seed(seed)
    posterior = DiagonalNormal(
        torch.randn(batch, latents, generator=generator), torch.randn(batch, latents, generator=generator) - 1
    )
    z = posterior.sample(torch.randn(batch, latents, generator=generator))
    rates = StandardNormal(latents).kl_per_dimension(posterior, z)
    return Terms(100 * torch.rand(batch, generator=generator), rates.sum(1), rates, None, posterior, z)


def test_beta_one_is_the_negative_elbo():
    t = terms()
    torch.testing.assert_close(Objective(Constant(1.0))(t), -t.elbo.mean())


def test_beta_zero_is_the_distortion_alone():
    t = terms()
    for regulariser in (Elbo(), Capacity(Constant(5.0)), FreeBits(0.5)):
        torch.testing.assert_close(Objective(Constant(0.0), regulariser)(t), t.distortion.mean())


@pytest.mark.parametrize("regulariser", [Elbo(), Capacity(Constant(5.0)), FreeBits(0.5), TotalCorrelation(50)], ids=str)
def test_loss_is_affine_in_beta(regulariser):
    t = terms()
    at = [Objective(Constant(beta), regulariser)(t).item() for beta in (0.0, 1.0, 4.0)]
    assert at[2] == pytest.approx(at[0] + 4 * (at[1] - at[0]), rel=1e-5)


def test_capacity_holds_the_rate_and_grows():
    t = terms()
    objective = Objective(Constant(10.0), Capacity(LinearSchedule(0.0, 20.0)))
    for progress in (0.0, 0.5, 1.0):
        expected = t.distortion.mean() + 10 * (t.rate.mean() - 20 * progress).abs()
        torch.testing.assert_close(objective(t, progress), expected)


def test_free_bits_charge_no_less_than_the_minimum_and_nothing_more_is_the_elbo():
    t = terms()
    torch.testing.assert_close(Objective(Constant(2.0), FreeBits(0.0))(t), Objective(Constant(2.0))(t))
    means = t.rate_per_dimension.mean(0)
    expected = sum(max(0.6, value) for value in means.tolist())
    assert Objective(Constant(1.0), FreeBits(0.6))(t).item() == pytest.approx(t.distortion.mean().item() + expected)


def test_total_correlation_with_beta_one_is_the_elbo():
    t = terms()
    torch.testing.assert_close(Objective(Constant(1.0), TotalCorrelation(1000))(t), -t.elbo.mean())


def test_aggregate_density_is_exact_when_the_batch_is_the_data_set():
    t = terms(batch=7)
    each = torch.stack([DiagonalNormal(m[None], v[None]).log_prob_per_dimension(t.z) for m, v in rows(t.posterior)])
    joint, marginals = aggregate_log_density(t.posterior, t.z, images=7)
    torch.testing.assert_close(joint, torch.logsumexp(each.sum(2), 0) - math.log(7))
    torch.testing.assert_close(marginals, torch.logsumexp(each, 0) - math.log(7))


def test_aggregate_density_is_unbiased_over_random_batches():
    """The mean over all batches of 3 of 6 pictures that hold picture 0 is q(z) of the whole set."""
    t = terms(batch=6)
    whole = aggregate_log_density(t.posterior, t.z, images=6)[0][0].exp().item()
    estimates = []
    for others in itertools.combinations(range(1, 6), 2):
        chosen = [0, *others]
        part = DiagonalNormal(t.posterior.mean[chosen], t.posterior.log_var[chosen])
        estimates.append(aggregate_log_density(part, t.z[chosen], images=6)[0][0].exp().item())
    assert sum(estimates) / len(estimates) == pytest.approx(whole, rel=1e-5)


def test_total_correlation_vanishes_for_independent_latents_and_not_for_copies():
    generator = torch.Generator().manual_seed(0)
    spread = torch.full((3000, 2), -2.0)

    def tc(mean):
        posterior = DiagonalNormal(mean, spread)
        z = posterior.sample(torch.randn(3000, 2, generator=generator))
        joint, marginals = aggregate_log_density(posterior, z, images=3000)
        return (joint - marginals.sum(1)).mean().item()

    independent = torch.randn(3000, 2, generator=generator)
    copied = independent[:, :1].expand(-1, 2)
    variance, covariance = 1 + math.exp(-2.0), 1.0  # of the two latents that copy one another
    expected = -0.5 * math.log(1 - (covariance / variance) ** 2)
    assert tc(independent) == pytest.approx(0, abs=0.05)
    assert tc(copied) == pytest.approx(expected, abs=0.1)


def test_what_cannot_be_computed_is_refused_with_a_reason():
    t = terms()
    point = Terms(t.distortion, t.rate, None, None, Point(t.z), t.z)
    with pytest.raises(UsageError, match="Gaussian posterior"):
        TotalCorrelation(10)(point, 0.0)
    with pytest.raises(UsageError, match="rate per dimension"):
        FreeBits(0.1)(point, 0.0)
    with pytest.raises(UsageError, match="2 ≤ batch ≤ training pictures, not 6 and 5"):
        TotalCorrelation(5)(t, 0.0)


def test_normalised_beta_is_beta_times_latents_over_inputs():
    assert normalised_beta(4, 64, (3, 136, 136)) == pytest.approx(0.0046, abs=2e-5)


def rows(posterior: DiagonalNormal):
    return zip(posterior.mean, posterior.log_var, strict=True)


def test_the_discrepancy_of_two_samples_of_one_law_is_nearly_nothing_and_unbiased():
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(2000, 6, generator=generator) for _ in range(2))
    assert abs(mmd(x, y)) < 2e-3
    assert abs(mmd_to_standard_normal(x)) < 2e-3
    small = torch.randn(400, 8, 6, generator=generator)
    estimates = torch.stack([mmd_to_standard_normal(z) for z in small])
    assert abs(estimates.mean()) < 4 * estimates.std() / 20  # of eight codes each: often below 0, right on average
    assert estimates.min() < 0


@pytest.mark.parametrize("change", [lambda x: x + 0.5, lambda x: 0.5 * x, lambda x: x.abs()])
def test_the_discrepancy_tells_laws_apart_and_its_closed_form_is_that_of_samples(change):
    generator = torch.Generator().manual_seed(2)
    x, y = (torch.randn(3000, 4, generator=generator) for _ in range(2))
    apart = mmd_to_standard_normal(change(x))
    assert apart > 0.01
    torch.testing.assert_close(mmd(change(x), y), apart, atol=4e-3, rtol=0.03)


def test_two_codes_at_least():
    with pytest.raises(UsageError, match="at least 2"):
        mmd_to_standard_normal(torch.zeros(1, 3))


def test_the_geometric_jensen_shannon_divergence_lies_between_the_two_of_kullback_and_leibler():
    """Deasy et al. 2020: a = 0 is KL(q‖p), a = 1 is KL(p‖q); by its definition at what lies between."""
    generator = torch.Generator().manual_seed(3)
    mean, other = (torch.randn(7, generator=generator, dtype=torch.float64) for _ in range(2))
    log_var, other_log_var = (torch.randn(7, generator=generator, dtype=torch.float64) for _ in range(2))
    q = torch.distributions.Normal(mean, (0.5 * log_var).exp())
    p = torch.distributions.Normal(other, (0.5 * other_log_var).exp())
    kl = torch.distributions.kl_divergence
    of = (mean, log_var, other, other_log_var)
    torch.testing.assert_close(normal_kl(*of), kl(q, p))
    torch.testing.assert_close(geometric_jensen_shannon(*of, skew=0), kl(q, p))
    torch.testing.assert_close(geometric_jensen_shannon(*of, skew=1), kl(p, q))
    a = 0.3
    x = torch.linspace(-30, 30, 60001, dtype=torch.float64)[:, None]
    log_g = a * q.log_prob(x) + (1 - a) * p.log_prob(x)
    log_g = log_g - torch.logsumexp(log_g, 0) - math.log(1e-3)
    expected = [(each.log_prob(x).exp() * (each.log_prob(x) - log_g)).sum(0) * 1e-3 for each in (q, p)]
    torch.testing.assert_close(geometric_jensen_shannon(*of, skew=a), (1 - a) * expected[0] + a * expected[1])
    torch.testing.assert_close(geometric_jensen_shannon(mean, log_var, mean, log_var), torch.zeros_like(mean))


def test_jensen_shannon_with_skew_0_is_the_elbo_and_names_what_it_needs():
    vae = build_vae((3, 16, 16), 4, "conv", (4, 8))
    terms = vae(torch.rand(3, 3, 16, 16), torch.randn(3, 4))
    elbo = Objective(Constant(2.0))(terms)
    torch.testing.assert_close(Objective(Constant(2.0), JensenShannon(0.0))(terms), elbo)
    found = Objective(Constant(1e3), MeanDiscrepancy())(terms) - terms.distortion.mean()
    torch.testing.assert_close(found, 1e3 * mmd_to_standard_normal(terms.z))
    for prior, posterior in (("mixture", "normal"), ("standard", "full")):
        vae = build_vae((3, 16, 16), 4, "conv", (4, 8), prior=prior, posterior=posterior)
        terms = vae(torch.rand(3, 3, 16, 16), torch.randn(3, 4))
        with pytest.raises(UsageError, match="jensen-shannon objective needs"):
            JensenShannon()(terms, 0.0)
        if prior != "standard":
            with pytest.raises(UsageError, match="needs the prior 'standard'"):
                MeanDiscrepancy()(terms, 0.0)
