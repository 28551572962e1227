"""The page "Errata" is whole, its links lead somewhere, and its numbers are right."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch

from betabloom.config import Config
from betabloom.data.pictures.ops import blur
from betabloom.vae.likelihood import Bernoulli
from betabloom.vae.objective import normalised_beta
from betabloom.vae.posterior import DiagonalNormal
from betabloom.vae.prior import Normal, StandardNormal

HOME = Path(__file__).parents[2] / "docs"
PAGE = (HOME / "errata.md").read_text(encoding="utf-8")
ENTRIES = re.split(r"^\*\*(?=E\d)", PAGE, flags=re.MULTILINE)[1:]


def test_every_erratum_is_there_once_with_what_is_right_and_where():
    assert [int(re.match(r"E(\d+)", entry)[1]) for entry in ENTRIES] == list(range(1, 35))
    for entry in ENTRIES:
        assert {"*Written:*", "*Right:*", "→"} <= set(re.findall(r"\*Written:\*|\*Right:\*|→", entry)), entry


@pytest.mark.parametrize(("name", "target"), sorted(set(re.findall(r"\[`(\w+)`\]\(([^)]+)\)", PAGE))))
def test_links_point_at_what_they_name(name, target):
    text = (HOME / target).read_text(encoding="utf-8")
    assert re.search(rf"(def|class) {name}\b|^{name}\b|\b{name}:", text, re.MULTILINE)


def test_the_right_divergence_is_ours_and_the_wrong_one_has_no_lower_bound():
    posterior = DiagonalNormal(torch.tensor([[0.0]]), torch.tensor([[2 * math.log(0.1)]]))
    assert f"{StandardNormal(1).kl(posterior, posterior.mean).item():.2f}" == "1.81"
    wrong = [sigma**2 + math.log(sigma) - 1 for sigma in (0.1, 1e-3, 1e-30)]
    assert f"{wrong[0]:.2f}".replace("-", "−") == "−3.29"
    assert "−3.29" in PAGE
    assert wrong == sorted(wrong, reverse=True)
    posterior = DiagonalNormal(torch.tensor([[0.7]]), torch.tensor([[2 * math.log(0.4)]]))
    z = posterior.sample(torch.randn(200_000, 1, generator=torch.Generator().manual_seed(0)))
    ratio = posterior.log_prob(z) - Normal(1, -1.2).log_prob(z)
    assert Normal(1, -1.2).kl(posterior, posterior.mean).item() == pytest.approx(ratio.mean().item(), abs=0.01)


@pytest.mark.parametrize("preset", ["flowers64", "flowers128", "seed"])
def test_the_table_of_betas_is_that_of_the_presets(preset):
    c = Config.preset(preset)
    row = next(line for line in PAGE.splitlines() if line.startswith("|") and f"`{preset}`" in line)
    cells = [cell.strip().replace(",", "") for cell in row.strip("|").split("|")[1:]]
    shape, latents, beta = c.shape, c.model.latents, c.objective.beta
    normalised = f"{normalised_beta(beta, latents, shape):.4f}"
    assert cells == [f"{beta:g}", str(latents), str(math.prod(shape)), normalised]


def test_other_numbers_of_the_page():
    pixels = torch.linspace(0, 1, 100_001).view(1, 1, 1, -1)
    mean_entropy = Bernoulli().floor(pixels).item() / 100_001
    assert mean_entropy * 136 * 136 * 3 == pytest.approx(27_744, rel=1e-3)
    assert "27,744" in PAGE
    inside = math.erf(2.5 / math.sqrt(2))
    assert f"{100 * inside:.2f} %" in PAGE
    assert f"{100 * inside**64:.0f} %" in PAGE
    dot = torch.zeros(41, 41, 1).numpy()
    dot[20, 20] = 1
    assert (blur(dot, 2.0)[20, :, 0] > 1e-4).sum() >= 13
