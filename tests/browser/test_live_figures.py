"""The live figures of the book, in Chromium and without a network: sliders change what is said, and it is right."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

LIVE = Path(__file__).parents[2] / "docs" / "book" / "live"
FIGURES = sorted(path.stem for path in LIVE.glob("*.html") if path.stem != "flowers")
PHONE = {"viewport": {"width": 390, "height": 844}}


def said(page) -> str:
    return page.locator(".result").text_content()


def move(page, place: int, value: float) -> None:
    page.locator(".controls input").nth(place).evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", value
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", [{}, PHONE, {"color_scheme": "dark"}], ids=["wide", "phone", "dark"])
@pytest.mark.parametrize("name", FIGURES)
def test_a_slider_changes_what_is_said(opened, name, how):
    page = opened((LIVE / f"{name}.html").as_uri(), ready=".controls input", **how)
    before = said(page)
    box = page.locator(".controls input").first
    move(page, 0, float(box.get_attribute("max")))
    assert before
    assert said(page) != before
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.slow
def test_the_divergence_is_right(opened):
    page = opened((LIVE / "kl.html").as_uri(), ready=".controls input")
    for place, value in enumerate((0.7, 0.4, -1.2, 1.0)):
        move(page, place, value)
    expected = 0.5 * (0.4**2 + 1.9**2 - 1 - math.log(0.4**2))
    assert f"KL(q ‖ p) = {expected:.3f} nats" in said(page)


@pytest.mark.slow
def test_bound_and_gap_add_up_to_the_evidence_wherever_q_is(opened):
    page = opened((LIVE / "elbo.html").as_uri(), ready=".controls input")
    totals = []
    for mean in (-2.0, 0.0, 1.2):
        move(page, 0, mean)
        bound, gap, total = (float(each.replace("−", "-")) for each in re.findall(r"(-?[\d.]+) nats", said(page)))
        assert gap >= 0
        assert bound + gap == pytest.approx(total, abs=0.002)
        totals.append(total)
    assert max(totals) - min(totals) < 0.002


@pytest.mark.slow
def test_the_linear_model_is_that_of_chapter_7(opened):
    page = opened((LIVE / "beta.html").as_uri(), ready=".controls input")
    spectrum = page.evaluate("SPECTRUM")
    move(page, 0, 2)
    level = 100 * 0.0069
    kept = spectrum["variances"][:10]
    rate = sum(0.5 * math.log(max(v / level, 1)) for v in kept)
    error = sum(min(v, level) for v in kept) + sum(spectrum["variances"][10:]) + spectrum["rest"]
    assert f"the rate is {rate:.1f} nats, the squared error of a picture {error:.1f}." in said(page)
