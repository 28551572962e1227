"""Colours, downloads, near copies, sliders, sharing and other models: every control of the studio in a real browser."""

from __future__ import annotations

import base64
import contextlib
import io

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

WIDE = {"viewport": {"width": 1280, "height": 900}}
FIRST = "#wall .tile:first-child img"


def source(page, place="#big") -> str:
    return page.get_attribute(place, "src")


def changed(page, before, place="#big") -> str:
    page.wait_for_function("([place, before]) => document.querySelector(place)?.src !== before", arg=[place, before])
    return source(page, place)


def pixels(address: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
        return np.asarray(image)


def says(page, words):
    page.wait_for_function("(words) => document.querySelector('#status').textContent.includes(words)", arg=words)


def saved(page, control):
    with page.expect_download() as download:
        page.click(control)
    return download.value


@pytest.fixture(scope="module")
def page(address, browser):
    """One page for all, since each of these leaves it in order."""
    context = browser.new_context(accept_downloads=True, permissions=["clipboard-read", "clipboard-write"], **WIDE)
    page = context.new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(address)
    page.wait_for_selector("html[data-directions]")
    page.wait_for_selector("#wall .tile:nth-child(48)")
    page.click("#wall .tile:first-child")
    yield page
    context.close()
    assert not wrong


def test_colours_are_searched_for_some_at_a_time(page):
    before = source(page, FIRST)
    page.click(".swatch[aria-label=violet]")
    assert page.get_attribute(".swatch[aria-label=violet]", "aria-pressed") == "true"
    changed(page, before, FIRST)
    page.wait_for_selector("#wall .tile:nth-child(24)")
    assert page.locator("#wall .tile").count() == 24
    page.locator("#wall .tile").first.click()
    page.click("#command")
    says(page, "copied")
    assert "--palette violet" in page.evaluate("navigator.clipboard.readText()")
    first = source(page, FIRST)
    page.check("#colourful")
    changed(page, first, FIRST)
    page.click(".swatch[aria-label=violet]")
    page.uncheck("#colourful")
    says(page, "new pictures")
    page.wait_for_selector("#wall .tile:nth-child(48)")


def test_temperature_and_sampler_draw_anew(page):
    before = source(page, FIRST)
    page.locator("#temperature").focus()
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#temperature-value") == "0.95"
    cooler = changed(page, before, FIRST)
    page.select_option("#sampler", "prior")
    changed(page, cooler, FIRST)
    says(page, "48 new pictures")


def test_sliders_are_renamed_locked_and_reset_alone(page):
    page.locator("#wall .tile").nth(1).click()
    row = page.locator("#sliders .slider").nth(1)
    row.locator("input[type=text]").fill("warmth")
    assert row.locator("input[type=range]").get_attribute("aria-label") == "warmth"
    row.locator("input[type=range]").focus()
    before = source(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    changed(page, before)
    assert row.locator("input[type=range]").input_value() == "0.1"
    row.locator(".back").click()
    assert row.locator("input[type=range]").input_value() == "0"
    row.locator(".lock").click()
    assert row.locator("input[type=range]").is_disabled()
    row.locator(".lock").click()


def test_density_and_what_is_known_of_training_pictures_are_shown(page, tmp_path):
    page.locator("#wall .tile").nth(2).click()
    page.wait_for_function("() => document.querySelector('#near-text').textContent.includes('cannot be told')")
    assert "log-density" in page.inner_text("#usual")
    for i in range(12):
        picture = np.random.default_rng(i).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    page.click("#known summary")
    page.fill("#known-source", str(tmp_path / "nowhere"))
    page.click("#known-look")
    page.wait_for_function("() => document.querySelector('#near-text').textContent.includes('nowhere')")
    page.fill("#known-source", str(tmp_path))
    page.click("#known-look")
    page.wait_for_function("() => document.querySelector('#near-text').textContent.includes('.png')")
    assert pixels(source(page, "#near-picture")).shape == (32, 32, 3)
    assert page.locator("#known").is_hidden()
    page.click("#fresh")
    says(page, "new pictures")
    assert "rarer than" in page.get_attribute("#wall .tile:first-child", "title")


def test_a_near_copy_wears_a_badge(page):
    def as_copies(route):
        answer = route.fetch()
        found = answer.json()
        found["near_copies"] = [i == 1 for i in range(len(found["codes"]))]
        route.fulfill(response=answer, json=found)

    page.route("**/api/draw", as_copies)
    page.click("#fresh")
    page.wait_for_selector("#wall .tile:nth-child(2) .badge")
    assert "near copy" in page.get_attribute("#wall .tile:nth-child(2)", "aria-label")
    assert page.locator("#wall .tile:nth-child(1) .badge").count() == 0
    page.unroute_all(behavior="wait")  # a second request may be on its way


def test_pngs_and_wallpapers_of_every_kind_are_saved(page):
    page.locator("#wall .tile").nth(3).click()
    page.select_option("#scale", "4")
    with Image.open(saved(page, "#save").path()) as image:
        assert image.size == (128, 128)
    page.select_option("#paper-size", "1170x2532")
    for of in ("one", "wall"):
        page.select_option("#paper-of", of)
        download = saved(page, "#paper")
        assert download.suggested_filename == "betabloom-1170x2532.png"
        with Image.open(download.path()) as image:
            assert image.size == (1170, 2532)
            assert "betabloom" in image.text
    page.select_option("#paper-of", "kept")
    page.click("#paper")
    says(page, "Keep some pictures first")


def test_every_kind_of_film_is_saved_and_dropping_one_brings_its_pictures_back(page, tmp_path):
    for i in (4, 5):
        page.locator("#wall .tile").nth(i).click()
        page.click("#keep")
    page.click("#loop")
    page.wait_for_selector("#film[open]")
    webp = saved(page, "#film-webp")
    webp.save_as(tmp_path / "film.webp")
    with Image.open(tmp_path / "film.webp") as image:
        assert (image.format, image.n_frames) == ("WEBP", 60)
    video = saved(page, "#film-mp4")
    content = video.path().read_bytes()
    assert content[4:8] == b"ftyp" or content[:4] == b"\x1aE\xdf\xa3"
    page.click("#film-close")
    page.set_input_files("#photo-file", tmp_path / "film.webp")
    says(page, "made of")
    assert page.locator("#wall .tile").count() == 2


def test_where_the_server_writes_no_mp4_the_page_records_it(page):
    page.evaluate("import('./state.js').then(({ s }) => (s.model.films = ['WEBP', 'GIF']))")
    page.click("#loop")
    page.wait_for_selector("#film[open]")
    video = saved(page, "#film-mp4")
    assert video.path().stat().st_size > 1000
    assert video.suggested_filename in ("betabloom.mp4", "betabloom.webm")
    page.keyboard.press("Escape")


def test_the_posterior_shows_what_it_takes_for_the_same_photo(page, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(tmp_path / "a.jpg")
    page.set_input_files("#photo-file", tmp_path / "a.jpg")
    says(page, "Move the sliders")
    assert page.locator("#ghosts .tile").count() == 6
    before = source(page)
    page.locator("#ghosts .tile").first.click()
    changed(page, before)
    assert page.locator("#photo-tools").is_hidden()


def test_history_is_a_tree_with_branches(page):
    page.locator("#wall .tile").first.click()
    page.click("#undo")
    page.locator("#wall .tile").nth(1).click()
    page.click("#past summary")
    assert page.locator("#history .tile.branch").count() >= 1
    assert page.locator("#history .tile[aria-current=true]").count() == 1
    page.click("#past summary")


def test_a_steered_picture_is_copied_as_a_command_that_draws_it(page, studio_folder, tmp_path, monkeypatch):
    from betabloom.cli.main import main

    page.locator("#sliders input[type=range]").first.focus()
    before = source(page)
    page.keyboard.press("ArrowRight")
    shown = pixels(changed(page, before))
    page.click("#command")
    says(page, "copied")
    command = page.evaluate("navigator.clipboard.readText()")
    echo, _, decode = command.partition(" && ")
    numbers, _, file = echo.removeprefix("echo ").partition(" > ")
    (tmp_path / file).write_text(numbers + "\n")
    monkeypatch.chdir(tmp_path)
    path = page.evaluate("fetch('api/models').then((a) => a.json()).then((a) => a.in_use)")
    words = decode.split()[1:]
    assert words[1] == path
    words[1] = str(studio_folder / "model")  # it was named relative to the folder that the studio was started in
    monkeypatch.setattr("sys.argv", ["betabloom", *words])
    with contextlib.suppress(SystemExit):
        main()
    with Image.open(tmp_path / "picture.png") as image:
        assert np.abs(np.asarray(image)[-34:-2, -34:-2].astype(int) - shown).mean() < 3


def test_the_model_is_packed_with_what_was_kept_and_opens_from_the_disk(page, opened, tmp_path):
    page.click("#share")
    page.fill("#share-title", "For you")
    assert "pictures you kept" in page.inner_text("#share-text")
    page.click("#share-pack")
    page.wait_for_selector("#share-save:not([hidden])")
    saved(page, "#share-save").save_as(tmp_path / "shared.html")
    page.keyboard.press("Escape")
    shared = opened((tmp_path / "shared.html").as_uri())
    assert shared.inner_text("h1") == "For you"
    assert shared.locator("#kept .tile").count() == page.locator("#kept .tile").count() == 2


def test_other_models_can_be_chosen_from_the_list_or_by_their_place(page, studio_folder):
    before = page.evaluate("fetch('api/model').then((a) => a.json()).then((a) => a.width)")
    page.click("nav [data-view=plane]")
    page.wait_for_selector("#map[data-drawn]")
    page.click("nav [data-view=explore]")
    page.locator("#wall .tile").first.click()
    page.click("#link")
    page.click("#breed")
    page.select_option("#model", "flowers64")
    page.wait_for_function("() => document.querySelector('#wall img')?.naturalWidth === 64")
    page.wait_for_selector("#model:not([disabled])")
    assert "code=" not in page.url
    assert page.get_attribute("#breed", "aria-pressed") == "false"
    assert page.locator("#map[data-drawn]").count() == 0
    fingerprint = page.evaluate("fetch('api/model').then((a) => a.json()).then((a) => a.fingerprint)")
    with page.expect_request("**/api/nearest") as asked:
        page.locator("#wall .tile").first.click()
    assert asked.value.headers["betabloom-model"] == fingerprint
    page.click("#share")
    assert page.input_value("#share-title") != "For you"
    page.keyboard.press("Escape")
    page.on("dialog", lambda dialog: dialog.accept(str(studio_folder / "model")))
    page.select_option("#model", label="another …")
    page.wait_for_function("() => document.querySelector('#wall img')?.naturalWidth === 32")
    assert before == 32
    page.on("dialog", lambda dialog: None)


def test_motion_is_left_out_where_it_is_not_wanted(address, opened):
    page = opened(address, reduced_motion="reduce", **WIDE)
    page.wait_for_selector("#wall .tile:nth-child(2)")
    assert page.evaluate("getComputedStyle(document.querySelector('#wall .tile img')).transitionDuration") in ("0s", "")


def test_everything_is_reached_by_the_tab_key(address, opened):
    page = opened(address, "html[data-directions]", **WIDE)
    page.wait_for_selector("#wall .tile:nth-child(48)")
    page.locator("#wall .tile").first.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("k")
    reached = set()
    page.locator("nav button").first.focus()
    for _ in range(110):
        page.keyboard.press("Tab")
        name = page.evaluate("document.activeElement.id || document.activeElement.className")
        reached.add(name)
    wanted = {
        "model",
        "fresh",
        "photo",
        "swatch",
        "colourful",
        "temperature",
        "sampler",
        "tile",
        "close",
        "keep",
        "vary",
    }
    wanted |= {
        "breed",
        "amount",
        "lock",
        "surprise",
        "reset",
        "save",
        "scale",
        "paper",
        "paper-size",
        "paper-of",
        "link",
    }
    wanted |= {"command", "share"}
    assert wanted <= reached, wanted - reached
