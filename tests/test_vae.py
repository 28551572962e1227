"""The model as a whole: gradients reach everything, pictures keep to themselves, a linear VAE is PPCA."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from betabloom.errors import UsageError
from betabloom.networks.build import Decoder, Encoder
from betabloom.networks.spec import FAMILIES
from betabloom.vae.build import build_vae
from betabloom.vae.likelihood import LIKELIHOODS, Gaussian
from betabloom.vae.objective import Objective
from betabloom.vae.posterior import Point
from betabloom.vae.prior import PRIORS, StandardNormal
from betabloom.vae.schedule import Constant
from betabloom.vae.vae import VAE, bits_per_dimension

SHAPE = (3, 16, 16)


def small(family: str = "conv", likelihood: str = "gaussian-optimal", prior: str = "standard", **options) -> VAE:
    torch.manual_seed(0)
    return build_vae(SHAPE, 4, family, (4, 8), likelihood=likelihood, prior=prior, prior_components=3, **options)


@pytest.mark.parametrize(("family", "likelihood", "prior"), list(itertools.product(FAMILIES, LIKELIHOODS, PRIORS)))
def test_every_parameter_gets_a_finite_gradient(family, likelihood, prior):
    vae = small(family, likelihood, prior)
    for module in vae.modules():  # a residual block that starts as the identity hides the layers before its last
        if isinstance(module, nn.Conv2d) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.1)
    terms = vae(torch.randint(0, 256, (3, *SHAPE)) / 255, torch.randn(3, 4))
    Objective(Constant(1.0))(terms).backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("family", "prior"), [("residual", "standard"), ("conv", "vamp"), ("burgess", "mixture")])
def test_batch_size_and_order_change_nothing_per_picture(family, prior):
    vae = small(family, prior=prior).eval()
    x, noise = torch.rand(8, *SHAPE), torch.randn(8, 4)
    whole = vae(x, noise)
    order = torch.randperm(8)
    shuffled = vae(x[order], noise[order])
    for name in ("distortion", "rate", "rate_per_dimension", "z"):
        value = getattr(whole, name)
        parts = torch.cat([getattr(vae(x[i : i + 3], noise[i : i + 3]), name) for i in (0, 3, 6)])
        torch.testing.assert_close(parts, value, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(getattr(shuffled, name), value[order], rtol=1e-4, atol=1e-4)


def test_terms_are_those_of_torch_distributions():
    """−ELBO, written with torch.distributions alone."""
    vae = small("conv", "gaussian").eval()
    x, noise = torch.rand(5, *SHAPE), torch.randn(5, 4)
    mean, log_var = vae.encoder(x)
    q = torch.distributions.Normal(mean, torch.exp(0.5 * log_var))
    z = q.loc + q.scale * noise
    p = torch.distributions.Normal(torch.sigmoid(vae.decoder(z)), 0.1)
    rate = torch.distributions.kl_divergence(q, torch.distributions.Normal(0, 1)).sum(1)
    elbo = p.log_prob(x).flatten(1).sum(1) - rate
    terms = vae(x, noise)
    torch.testing.assert_close(terms.elbo, elbo)
    torch.testing.assert_close(Objective(Constant(1.0))(terms), -elbo.mean())


def test_a_linear_vae_reaches_the_ppca_optimum():
    """Linear encoder and decoder, learned σ: the best ELBO is the log-likelihood of probabilistic PCA.

    Tipping & Bishop 1999: with eigenvalues λ of the covariance, σ² is the mean of the left-out ones and the
    log-likelihood −½ Σ_kept log λ − ½ (d − l) log σ² − ½ d (log 2π + 1). Lucas et al. 2019: the ELBO reaches it.
    """
    generator = torch.Generator().manual_seed(3)
    d, latents = 6, 2
    mixing = torch.randn(d, latents, generator=generator)
    data = torch.randn(1000, latents, generator=generator) @ mixing.T + 0.3 * torch.randn(1000, d, generator=generator)
    data = data - data.mean(0)
    eigenvalues = torch.linalg.eigvalsh(data.T @ data / len(data)).flip(0)
    sigma2 = eigenvalues[latents:].mean()
    kept = eigenvalues[:latents].log().sum()
    optimum = -0.5 * (kept + (d - latents) * sigma2.log() + d * (math.log(2 * math.pi) + 1))

    torch.manual_seed(0)
    vae = VAE(
        Encoder(nn.Identity(), d, latents),
        Decoder(nn.Sequential(nn.Linear(latents, d), nn.Unflatten(1, (1, 1, d)))),
        Gaussian(0.5, learned=True, link="identity"),
        StandardNormal(latents),
    )
    nn.init.zeros_(vae.encoder.log_var.weight)
    x = data[:, None, None, :]
    optimiser = torch.optim.Adam(vae.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 3000)
    for _step in range(3000):
        noise = torch.randn(len(x), latents, generator=generator)
        loss = -vae(x, noise).elbo.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        draws = [vae(x, torch.randn(len(x), latents, generator=generator)).elbo.mean() for _ in range(200)]
        elbo = torch.stack(draws).mean()
    assert elbo.item() == pytest.approx(optimum.item(), abs=0.02)
    assert elbo.item() < optimum.item() + 0.005  # a bound: never above
    assert vae.likelihood.log_scale.exp().item() == pytest.approx(sigma2.sqrt().item(), rel=0.03)
    learned = torch.linalg.qr(vae.decoder.body[0].weight.detach()).Q
    true = torch.linalg.eigh(data.T @ data).eigenvectors[:, -latents:]
    assert torch.linalg.svdvals(learned.T @ true).min() > 0.999  # the principal subspace


def test_a_point_posterior_is_a_plain_auto_encoder():
    vae = small(posterior="point").eval()
    x = torch.rand(3, *SHAPE)
    terms = vae(x, torch.randn(3, 4))
    assert isinstance(terms.posterior, Point)
    assert not terms.rate.any()
    torch.testing.assert_close(terms.z, terms.posterior.mean)
    torch.testing.assert_close(vae(x, torch.randn(3, 4)).distortion, terms.distortion)  # no noise
    assert Objective(Constant(7.0))(terms) == terms.distortion.mean()


def test_reconstruction_is_deterministic_and_in_range():
    vae = small().eval()
    x = torch.rand(3, *SHAPE)
    assert torch.equal(vae.reconstruct(x), vae.reconstruct(x))
    assert vae.reconstruct(x).min() >= 0
    assert vae.reconstruct(x).max() <= 1


def test_the_decoder_works_alone_and_so_does_the_encoder():
    vae = small().eval()
    z = torch.randn(2, 4)
    torch.testing.assert_close(vae.decode(z), vae.likelihood.mean(vae.decoder(z)))
    x = torch.rand(2, *SHAPE)
    torch.testing.assert_close(vae.encode(x).mean, vae.encoder(x)[0])


def test_extreme_log_variances_stay_finite():
    vae = small().eval()
    with torch.no_grad():
        vae.encoder.log_var.bias.copy_(torch.tensor([1e4, -1e4, 0.0, 50.0]))
    terms = vae(torch.rand(2, *SHAPE), torch.randn(2, 4))
    assert torch.isfinite(terms.rate).all()
    assert torch.isfinite(terms.z).all()


def test_a_uniform_guess_costs_eight_bits_a_pixel():
    """The discretised logistic of huge scale gives every grey level nearly the same probability."""
    nats = SHAPE[0] * SHAPE[1] * SHAPE[2] * math.log(256)
    assert bits_per_dimension(nats, SHAPE) == pytest.approx(8)


@pytest.mark.parametrize("option", ["likelihood", "prior", "posterior"])
def test_unknown_names_list_the_known_ones(option):
    with pytest.raises(UsageError, match=f"Unknown {option} 'nope'. Choose one of: "):
        build_vae(SHAPE, 4, "conv", (4, 8), **{option: "nope"})
