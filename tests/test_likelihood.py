"""Likelihoods: each is a probability or density of pictures, and agrees with torch.distributions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributions as D

from betabloom.errors import UsageError
from betabloom.vae.likelihood import (
    LIKELIHOODS,
    Bernoulli,
    ContinuousBernoulli,
    DiscretisedLogistic,
    Gaussian,
    Laplace,
    OptimalGaussian,
)

ETAS = torch.tensor([-9.0, -2.5, -0.4, -0.05, -1e-4, 0.0, 1e-3, 0.099, 0.101, 1.7, 9.0])


def images(values: torch.Tensor) -> torch.Tensor:
    """A vector as pictures of one pixel: (N,) → (N, 1, 1, 1)."""
    return values.reshape(-1, 1, 1, 1)


def mass(likelihood, eta: float, xs: torch.Tensor) -> torch.Tensor:
    """p(x|η) for all xs and one η."""
    return likelihood.log_prob(torch.full_like(images(xs), eta), images(xs)).exp().flatten()


@pytest.mark.parametrize("eta", ETAS.tolist())
def test_continuous_bernoulli_integrates_to_one_over_the_unit_interval(eta):
    xs = torch.linspace(0, 1, 20001, dtype=torch.float64)
    assert torch.trapezoid(mass(ContinuousBernoulli(), eta, xs).double(), xs).item() == pytest.approx(1, abs=2e-5)


@pytest.mark.parametrize(
    "likelihood", [Gaussian(0.1), Gaussian(0.3, learned=True), OptimalGaussian().eval(), Laplace()]
)
@pytest.mark.parametrize("eta", [-3.0, 0.0, 2.0])
def test_real_densities_integrate_to_one(likelihood, eta):
    xs = torch.linspace(-8, 9, 170001, dtype=torch.float64)
    assert torch.trapezoid(mass(likelihood, eta, xs).detach().double(), xs).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("scale", [0.002, 0.05, 0.7])
@pytest.mark.parametrize("eta", [-12.0, -2.0, 0.3, 5.0])
def test_discretised_logistic_sums_to_one_over_the_grey_levels(scale, eta):
    levels = torch.arange(256) / 255
    assert mass(DiscretisedLogistic(scale), eta, levels).sum().item() == pytest.approx(1, abs=2e-4)


def test_bernoulli_sums_to_one_over_black_and_white():
    assert torch.allclose(
        sum(Bernoulli().log_prob(images(ETAS), images(torch.full_like(ETAS, x))).exp() for x in (0, 1)), torch.ones(1)
    )


def cases():
    sigmoid = torch.sigmoid(images(ETAS))
    yield Bernoulli(), D.Bernoulli(logits=images(ETAS), validate_args=False), torch.rand(len(ETAS))
    yield ContinuousBernoulli(), D.ContinuousBernoulli(logits=images(ETAS)), torch.rand(len(ETAS))
    yield Gaussian(0.2), D.Normal(sigmoid, 0.2), torch.rand(len(ETAS))
    yield Gaussian(0.2, link="identity"), D.Normal(images(ETAS), 0.2), torch.randn(len(ETAS))
    yield Laplace(0.15), D.Laplace(sigmoid, 0.15), torch.rand(len(ETAS))


@pytest.mark.parametrize(("ours", "theirs", "x"), list(cases()), ids=lambda v: type(v).__name__)
def test_log_prob_agrees_with_torch_distributions(ours, theirs, x):
    torch.testing.assert_close(ours.log_prob(images(ETAS), images(x)), theirs.log_prob(images(x)), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(
    "ours",
    [ContinuousBernoulli(), Gaussian(0.01), Laplace(0.01), DiscretisedLogistic(0.03), Bernoulli()],
    ids=lambda v: type(v).__name__,
)
def test_mean_is_the_average_of_samples(ours):
    torch.manual_seed(0)
    etas = torch.tensor([-4.0, -0.03, 0.0, 0.02, 0.8, 4.0]).reshape(-1, 1, 1, 1).expand(-1, 1, 100, 2000)
    uniform = torch.rand(etas.shape).clamp(1e-6, 1 - 1e-6)
    samples = ours.sample(etas, uniform).flatten(1)
    standard_error = samples.std(1) / math.sqrt(samples.shape[1])
    # the discretised logistic's mean is exact to half a grey level only
    slack = 1 / 510 if isinstance(ours, DiscretisedLogistic) else 1e-6
    assert ((samples.mean(1) - ours.mean(etas)[:, 0, 0, 0]).abs() < 4 * standard_error + slack).all()


@pytest.mark.parametrize("ours", [ContinuousBernoulli(), Gaussian(0.2), Laplace(0.2)], ids=lambda v: type(v).__name__)
def test_sample_inverts_the_distribution_function(ours):
    uniform = torch.linspace(0.01, 0.99, 99).reshape(1, 1, 1, -1)
    for eta in ETAS[ETAS != 0].double():
        x = ours.sample(torch.full_like(uniform, eta), uniform).double()
        cdf = {
            ContinuousBernoulli: lambda x, eta=eta: torch.expm1(eta * x) / torch.expm1(eta),
            Gaussian: D.Normal(torch.sigmoid(eta), 0.2).cdf,
            Laplace: D.Laplace(torch.sigmoid(eta), 0.2).cdf,
        }[type(ours)]
        torch.testing.assert_close(cdf(x).float(), uniform, atol=1e-4, rtol=0)


def test_bernoulli_distortion_is_summed_binary_cross_entropy_and_its_floor_is_the_pixel_entropy():
    x, eta = torch.rand(5, 3, 4, 4), torch.randn(5, 3, 4, 4)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(eta, x, reduction="none").flatten(1).sum(1)
    torch.testing.assert_close(Bernoulli().distortion(eta, x), expected)
    torch.testing.assert_close(Bernoulli().floor(x), Bernoulli().distortion(torch.logit(x), x))
    # ∫ H(x) dx = ½ nat: uniform pixels of a 136×136×3 picture cost 27.7 k nats that no decoder can avoid
    assert Bernoulli().floor(torch.linspace(0, 1, 100001).reshape(1, 1, 1, -1)).item() / 100001 == pytest.approx(
        0.5, abs=1e-4
    )
    assert Bernoulli().floor(torch.tensor([[[[0.0, 1.0]]]])).item() == 0


def test_optimal_sigma_is_the_best_sigma():
    torch.manual_seed(0)
    optimal = OptimalGaussian()
    x, eta = torch.rand(8, 3, 5, 5), torch.randn(8, 3, 5, 5)
    best = optimal.distortion(eta, x).mean()
    sigma = (x - torch.sigmoid(eta)).square().mean().sqrt().item()
    torch.testing.assert_close(best, Gaussian(sigma).distortion(eta, x).mean())
    for factor in (0.7, 0.95, 1.05, 1.5):
        assert Gaussian(factor * sigma).distortion(eta, x).mean() > best
    # ½ N (log 2πσ² + 1), Rybkin et al. 2021, equation 4
    assert best.item() == pytest.approx(75 / 2 * (math.log(2 * math.pi * sigma**2) + 1), rel=1e-5)


def test_optimal_sigma_is_remembered_for_evaluation():
    optimal = OptimalGaussian(momentum=0.5)
    x, eta = torch.rand(8, 3, 5, 5), torch.randn(8, 3, 5, 5)
    for _ in range(40):
        optimal.distortion(eta, x)
    sigma = (x - torch.sigmoid(eta)).square().mean().sqrt()
    torch.testing.assert_close(optimal.log_scale.exp(), sigma)
    torch.testing.assert_close(optimal.eval().distortion(eta, x), Gaussian(sigma.item()).distortion(eta, x))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_pictures_do_not_influence_one_another_in_evaluation(name):
    likelihood = LIKELIHOODS[name]().eval()
    x, eta = torch.rand(6, 3, 4, 4), 3 * torch.randn(6, 3, 4, 4)
    one_by_one = torch.cat([likelihood.distortion(eta[i : i + 1], x[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(likelihood.distortion(eta, x), one_by_one)
    assert likelihood.distortion(eta, x).shape == (6,)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_extreme_outputs_give_finite_values_and_gradients(name):
    likelihood = LIKELIHOODS[name]()
    x = torch.tensor([0.0, 1 / 255, 0.5, 1.0]).repeat(7).reshape(7, 1, 1, 4)
    eta = (
        torch.tensor([-60.0, -20, -1e-8, 0, 1e-8, 20, 60])
        .reshape(7, 1, 1, 1)
        .expand(7, 1, 1, 4)
        .clone()
        .requires_grad_()
    )
    likelihood.distortion(eta, x).sum().backward()
    assert torch.isfinite(likelihood.distortion(eta, x)).all()
    assert torch.isfinite(eta.grad).all()
    mean = likelihood.mean(eta)
    assert (mean >= 0).all()
    assert (mean <= 1).all()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_half_precision_outputs_are_scored_in_single_precision(name):
    likelihood = LIKELIHOODS[name]().eval()
    eta = torch.randn(2, 3, 4, 4).bfloat16()
    x = torch.rand(2, 3, 4, 4)
    assert likelihood.distortion(eta, x).dtype == torch.float32
    torch.testing.assert_close(likelihood.distortion(eta, x), likelihood.distortion(eta.float(), x))


def test_impossible_scales_and_links_are_refused():
    with pytest.raises(UsageError, match="'scale' must be positive, not -1"):
        Gaussian(-1)
    with pytest.raises(UsageError, match="'sigmoid' or 'identity', not 'tanh'"):
        Laplace(link="tanh")


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("training", [True, False])
def test_distortion_is_minus_the_sum_of_the_log_probabilities(name, training):
    generator = torch.Generator().manual_seed(5)
    eta = torch.randn(4, 3, 6, 5, generator=generator)
    x = torch.randint(0, 256, eta.shape, generator=generator) / 255
    one, other = (LIKELIHOODS[name]().train(training) for _ in range(2))
    torch.testing.assert_close(one.distortion(eta, x), -other.log_prob(eta, x).flatten(1).sum(1), atol=1e-2, rtol=1e-5)
