"""A model as one HTML file, in a real browser, from the disk."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

import betabloom
from betabloom.config import Config
from betabloom.data import Pipeline
from betabloom.errors import UsageError
from betabloom.model.model import Model
from betabloom.reports import share as module
from betabloom.reports.share import packed, share
from betabloom.vae.build import make_vae

DECODED = """() => {
    const { decode, stored } = globalThis.betabloomPage;
    return stored.slice(0, 16).map((code) => [Array.from(code), Array.from(decode(code))]);
}"""


def untrained(**settings) -> Model:
    config = Config.preset("tiny", height=32, width=32, **settings)
    torch.manual_seed(3)
    vae = make_vae(config).requires_grad_(False).eval()
    for weight in vae.decoder.parameters():
        if weight.ndim > 1:
            weight.mul_(2.0)  # pictures with some contrast
    pipeline = Pipeline.named("square", (32, 32), config.data.channels)
    return Model(vae, config, pipeline, {"source": "noise <of> & kinds"})


MODELS = {
    "residual": {"family": "residual", "widths": (8, 16, 24)},
    "conv": {"family": "conv", "widths": (12, 16)},
    "burgess": {"family": "burgess", "widths": (8, 8), "likelihood": "bernoulli"},
    "grey": {"family": "residual", "channels": 1, "likelihood": "continuous-bernoulli"},
    "levels": {"family": "residual", "likelihood": "discretised-logistic"},
    "enlarged": {"family": "residual", "enlargers": (8,)},
    "head": {"family": "residual", "head": 8},
}


@pytest.mark.parametrize("kind", MODELS)
def test_the_page_draws_what_the_model_draws(kind, tmp_path, opened):
    model = untrained(**MODELS[kind])
    facts = share(model, tmp_path / "a.html", codes=16)
    assert facts["levels"] < module.LEVELS
    page = opened((tmp_path / "a.html").as_uri())
    assert page.inner_text("h1") == "noise <of> & kinds"
    for code, drawn in page.evaluate(DECODED):
        expected = model.decode(np.array([code], np.float32))[0]
        rgba = np.array(drawn, np.uint8).reshape(32, 32, 4)
        off = np.abs(rgba[:, :, : expected.shape[2]].astype(int) - expected)
        assert off.max() <= module.LEVELS
        assert (rgba[:, :, 3] == 255).all()
        assert expected.std() > 3


@pytest.fixture(scope="module")
def flowers(tmp_path_factory):
    path = tmp_path_factory.mktemp("share") / "flowers.html"
    facts = share(betabloom.load(), path, codes=48, title="Flowers")
    return path, facts


def test_the_bundled_model_is_shared_in_six_megabytes_and_drawn_as_it_is(flowers, opened):
    path, facts = flowers
    assert path.stat().st_size == facts["bytes"] < 6e6
    page, model = opened(path.as_uri()), betabloom.load()
    assert (
        int(page.evaluate("document.documentElement.dataset.first")) < 5000
    )  # ms; 1000 where nothing else is going on
    codes, drawn = zip(*page.evaluate(DECODED), strict=True)
    expected = model.decode(np.array(codes, np.float32))
    off = np.abs(np.array(drawn, np.uint8).reshape(16, 64, 64, 4)[..., :3].astype(int) - expected)
    assert off.max() <= module.LEVELS


def test_every_control_does_what_it_says(flowers, opened, tmp_path):
    page = opened(flowers[0].as_uri(), viewport={"width": 1200, "height": 900})
    pixels = "(id) => Array.from(document.querySelector(id).getContext('2d').getImageData(0, 0, 64, 64).data)"
    tile = "#wall .tile:first-child canvas"
    first = page.evaluate(pixels, tile)
    page.click("#wall .tile:first-child")
    page.wait_for_function("() => betabloomPage.frames() > 0")
    assert page.evaluate(pixels, "#big") == first
    page.locator("#sliders input[type=range]").first.fill("2")
    page.wait_for_function("() => betabloomPage.frames() > 1")
    moved = page.evaluate(pixels, "#big")
    assert np.abs(np.subtract(moved, first)).mean() > 1
    page.click("#keep")
    assert page.get_attribute("#keep", "aria-pressed") == "true"
    page.click("#reset")
    page.wait_for_function("() => betabloomPage.frames() > 2")
    assert page.evaluate(pixels, "#big") == first
    page.click("#undo")
    page.wait_for_function("() => betabloomPage.frames() > 3")
    assert page.evaluate(pixels, "#big") == moved
    page.locator("#sliders .lock").first.click()
    assert page.locator("#sliders input[type=range]").first.is_disabled()
    page.click("#surprise")
    assert page.locator("#sliders input[type=range]").first.input_value() == "2"
    page.click("#keep")
    assert page.locator("#kept .tile").count() == 2
    with page.expect_download() as saved:
        page.click("#save")
    saved.value.save_as(tmp_path / "saved.png")
    with Image.open(tmp_path / "saved.png") as image:
        assert image.size == (512, 512)
    page.click("#loop")
    assert page.locator("#film").is_visible()
    page.click("#stop")
    page.click("#vary")
    page.wait_for_timeout(100)
    assert page.evaluate(pixels, tile) != first
    page.click("#link")
    shown = page.evaluate(pixels, "#big")
    again = opened(page.url)
    again.wait_for_function("() => betabloomPage.frames() > 0")
    assert np.abs(np.subtract(again.evaluate(pixels, "#big"), shown)).max() <= 6
    page.click("#close")
    assert page.locator("#panel").is_hidden()
    page.click("#fresh")


def test_the_keyboard_suffices(flowers, opened):
    page = opened(flowers[0].as_uri(), viewport={"width": 1200, "height": 900})
    page.locator("#wall .tile").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.locator("#wall .tile").nth(1).get_attribute("aria-selected") == "true"
    page.keyboard.press("k")
    assert page.locator("#kept .tile").count() == 1
    page.locator("#sliders input[type=range]").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#sliders input[type=range]").first.input_value() != "0"
    page.keyboard.press("k")
    page.keyboard.press("l")
    assert page.locator("#film").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#film").is_visible()


def test_two_kept_pictures_make_a_loop_on_a_phone_and_nothing_is_cut_off(flowers, opened):
    page = opened(flowers[0].as_uri(), viewport={"width": 390, "height": 844})
    for i in (0, 1):
        page.locator("#wall .tile").nth(i).click()
        page.click("#keep")
        page.click("#close")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.click("#loop")
    assert page.locator("#film").is_visible()
    with page.expect_download() as film:
        page.click("#record")
    assert film.value.path().stat().st_size > 1000
    assert film.value.suggested_filename in ("betabloom.mp4", "betabloom.webm")


def test_fewer_bits_are_further_off():
    """Rounding to b bits moves a weight by half a step of its row at most."""
    rng = np.random.default_rng(0)
    weights = {"a.weight": rng.normal(size=(5, 7)).astype(np.float32), "a.bias": np.zeros(5, np.float32)}
    layers = [("a", dataclasses.replace(_layers()[0][1], inputs=7, outputs=5))]
    for bits in (4, 8, 12):
        off = np.abs(packed(layers, weights, bits).weights["a.weight"] - weights["a.weight"]).max(1)
        step = np.abs(weights["a.weight"]).max(1) / (2 ** (bits - 1) - 1)
        assert (off <= step / 2 * 1.001).all()


def _layers():
    from betabloom.networks.spec import make_network

    return make_network("burgess", (3, 32, 32), 7, (8, 8)).decoder_layers()


def test_too_few_codes_are_refused(tmp_path):
    with pytest.raises(UsageError, match="at least 16"):
        share(untrained(), tmp_path / "a.html", codes=3)
    assert not list(tmp_path.iterdir())
