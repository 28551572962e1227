"""The studio in a real browser: every control does what it says, by mouse and by keyboard."""

from __future__ import annotations

import base64
import io
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="the extra 'studio' is not installed")


WIDE = {"viewport": {"width": 1280, "height": 900}}
AXE = Path(__file__).parent / "axe" / "axe.min.js"


def source(page, place="#big") -> str:
    return page.get_attribute(place, "src")


def changed(page, before, place="#big") -> str:
    page.wait_for_function("([place, before]) => document.querySelector(place).src !== before", arg=[place, before])
    return source(page, place)


def pixels(address: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
        return np.asarray(image)


def shows(page, expected):
    """Wait until a picture is shown; drawn alone it may be a level off one that was drawn with others."""
    for _ in range(100):
        if np.abs(pixels(source(page)).astype(int) - pixels(expected)).max() <= 2:
            return
        page.wait_for_timeout(100)
    raise AssertionError("another picture is shown")


def move(page, place, value):
    page.locator(place).evaluate("(it, value) => { it.value = value; it.dispatchEvent(new Event('input')); }", value)


def slide(page, place, value):
    move(page, place, value)
    page.locator(place).dispatch_event("change")


def test_pictures_are_drawn_chosen_moved_kept_and_undone(page, tmp_path):
    wall = source(page, "#wall .tile:first-child img")
    page.click("#wall .tile:first-child")
    assert source(page) == wall
    slide(page, "#sliders .slider:nth-of-type(1) input[type=range]", "3")
    moved = changed(page, wall)
    assert np.abs(pixels(moved).astype(int) - pixels(wall)).mean() > 0.5
    page.click("#keep")
    assert page.get_attribute("#keep", "aria-pressed") == "true"
    page.click("#undo")
    changed(page, moved)
    shows(page, wall)
    page.click("#keep")
    assert page.locator("#kept .tile").count() == 2
    page.locator("#sliders .slider .lock").first.click()
    assert page.locator("#sliders input[type=range]").first.is_disabled()
    page.click("#surprise")
    changed(page, wall)
    assert page.locator("#sliders input[type=range]").first.input_value() == "0"
    page.click("#reset")
    shows(page, wall)
    page.click("#past summary")
    assert page.locator("#history .tile").count() >= 4
    page.locator("#history .tile").nth(1).click()
    shows(page, moved)
    with page.expect_download() as saved:
        page.click("#save")
    saved.value.save_as(tmp_path / "saved.png")
    with Image.open(tmp_path / "saved.png") as image:
        assert "code" in json.loads(image.text["betabloom"])
    page.set_input_files("#photo-file", tmp_path / "saved.png")  # what was made here brings its state back
    page.wait_for_function("() => document.querySelector('#status').textContent.includes('made of')")
    assert np.abs(pixels(source(page)).astype(int) - pixels(moved)).max() <= 2


def test_pictures_that_come_late_are_shown_and_kept_where_they_belong(page):
    first, second = (source(page, f"#wall .tile:nth-child({place}) img") for place in (1, 2))
    held = []
    page.route("**/api/decode", lambda route: held.append(route))

    def let_go(count):
        followed = page.evaluate("studio.followed()")
        for _ in range(100):
            if len(held) == count:
                break
            page.wait_for_timeout(50)
        while held:
            held.pop().continue_()
        page.wait_for_function("(before) => studio.followed() > before", arg=followed)

    page.click("#wall .tile:nth-child(1)")
    slide(page, "#sliders .slider:nth-of-type(1) input[type=range]", "3")
    page.click("#wall .tile:nth-child(2)")  # before the first is drawn anew
    let_go(2)  # that, and what is remembered of it
    assert source(page) == second
    move(page, "#sliders .slider:nth-of-type(1) input[type=range]", "3")
    page.click("#keep")
    assert source(page) == second
    assert not source(page, "#kept .tile img")  # its picture is not there yet
    let_go(2)
    moved = changed(page, second)
    page.wait_for_function("(moved) => document.querySelector('#kept .tile img').src === moved", arg=moved)
    page.unroute("**/api/decode")
    page.click("#past summary")
    pictures = page.locator("#history .tile img").evaluate_all("(all) => all.map((each) => each.src)")
    assert pictures[0] == first
    assert pictures[2] == second
    page.locator("#history .tile").nth(1).click()
    shows(page, pictures[1])
    assert np.abs(pixels(pictures[1]).astype(int) - pixels(first)).mean() > 0.5


def test_a_kept_picture_is_its_own_though_it_is_chosen_before_it_has_come(page):
    second = source(page, "#wall .tile:nth-child(2) img")
    held, free = [], threading.Event()
    page.route("**/api/decode", lambda route: route.continue_() if free.is_set() else held.append(route))
    page.click("#wall .tile:nth-child(1)")
    first, told = source(page), page.inner_text("#usual")
    page.click("#keep")
    assert page.inner_text("#keep") == "♥ Kept"
    move(page, "#sliders .slider:nth-of-type(1) input[type=range]", "3")
    assert page.inner_text("#keep") == "♡ Keep"
    page.click("#keep")
    page.click("#wall .tile:nth-child(2)")
    assert source(page) == second
    assert page.inner_text("#usual") != told
    page.click("#kept .kept-picture:nth-child(2) .tile")
    assert not source(page)
    free.set()
    for route in held:
        route.continue_()
    for place in ("#big", ".kept-picture:nth-child(2) img"):
        page.wait_for_selector(f"{place}[src^='data:']")
    shows(page, source(page, ".kept-picture:nth-child(2) img"))
    assert np.abs(pixels(source(page)).astype(int) - pixels(first)).mean() > 0.5
    page.click("#kept .kept-picture:nth-child(1) .tile")
    assert source(page) == first
    page.wait_for_function("(told) => document.querySelector('#usual').textContent === told", arg=told)


def test_the_wall_has_what_was_asked_for_last(page):
    held = []
    page.route("**/api/vary", lambda route: held.append(route))
    page.click("#wall .tile:first-child")
    page.click("#vary")
    page.click("#fresh")
    page.wait_for_function("() => document.querySelector('#status').textContent.includes('48 new pictures')")
    wall = source(page, "#wall .tile:first-child img")
    with page.expect_response("**/api/vary") as answer:
        held.pop().continue_()
    answer.value.finished()
    page.wait_for_timeout(100)
    assert source(page, "#wall .tile:first-child img") == wall
    assert page.locator("#wall .tile").count() == 48


def test_of_colours_that_are_chosen_meanwhile_only_the_last_are_searched_for(page):
    page.wait_for_selector("#wall .tile:nth-child(48)")
    held, asked = [], []

    def hold(route):
        asked.append(route.request.post_data_json["palette"].split(","))
        held.append(route)

    def let_go():
        while not held:
            page.wait_for_timeout(20)
        quick = {**held[0].request.post_data_json, "palette": ""}
        held.pop().continue_(post_data=json.dumps(quick))

    page.route("**/api/draw", hold)
    for i in (1, 2, 3):
        page.click(f".swatch:nth-child({i})")
    page.wait_for_timeout(100)
    assert [len(each) for each in asked] == [1]
    let_go()
    let_go()
    page.wait_for_function("() => document.querySelector('#status').textContent.startsWith('4 of 24')")
    assert [len(each) for each in asked[:2]] == [1, 3]


def test_a_photo_that_comes_after_another_picture_was_chosen_is_not_shown(page, tmp_path):
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "a.png")
    late = []
    page.route("**/api/encode", lambda route: late.append(route))
    with page.expect_request("**/api/encode"):
        page.set_input_files("#photo-file", tmp_path / "a.png")
    page.click("#wall .tile:first-child")
    with page.expect_response("**/api/encode") as answer:
        late.pop().continue_()
    answer.value.finished()
    page.wait_for_timeout(100)
    assert source(page) == source(page, "#wall .tile:first-child img")
    assert page.locator("#photo-tools").is_hidden()


def test_undo_brings_back_a_photo_with_its_draws_and_its_nats(page, tmp_path):
    shown = []
    for i in (0, 1):
        noise = np.random.default_rng(i).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.png")
        page.set_input_files("#photo-file", tmp_path / f"{i}.png")
        page.wait_for_function("() => document.querySelector('#status').textContent.includes('Move the sliders')")
        shown.append([source(page, place) for place in ("#original", "#ghosts .tile:first-child img")])
        page.evaluate("document.querySelector('#status').textContent = ''")
    assert shown[0][0] != shown[1][0]
    slide(page, "#nats", "0")
    assert page.inner_text("#nats-kept").startswith("0 of")
    page.click("#undo")
    assert [source(page, place) for place in ("#original", "#ghosts .tile:first-child img")] == shown[0]
    assert page.input_value("#nats") == "100"


USUAL = "Far from what the model draws: log-density −1,234 nats, rarer than 100 % of what this model draws."
NEAR = "Nearest training picture: flowers/image_01234.jpg, mirrored. This is no near copy of it."
PLACES = """([usual, near]) => {
    const at = (id) => document.getElementById(id);
    at("usual").textContent = usual;
    at("near-text").textContent = near;
    at("near-picture").hidden = at("known").hidden = !near;
    return ["keep", "vary", "amount"].map((id) => at(id).getBoundingClientRect().top);
}"""


def test_buttons_stay_where_they_are_when_more_is_known_of_a_picture(page):
    """What moves away between the press and the release of a pointer is not clicked."""
    page.click("#wall .tile:first-child")
    page.wait_for_function(
        "() => document.querySelector('#big').naturalWidth && document.querySelector('#near-text').textContent"
    )
    without, with_facts = (page.evaluate(PLACES, texts) for texts in (["", ""], [USUAL, NEAR]))
    assert with_facts == pytest.approx(without, abs=0.5)
    page.evaluate("document.querySelector('#big').removeAttribute('src')")  # as before it is there
    assert page.evaluate(PLACES, [USUAL, NEAR]) == pytest.approx(without, abs=0.5)


def test_vary_breed_more_like_and_the_loop(page):
    first = source(page, "#wall .tile:first-child img")
    page.click("#wall .tile:first-child")
    page.click("#keep")
    page.click("#vary")
    varied = changed(page, first, "#wall .tile:first-child img")
    page.click("#breed")
    page.click("#wall .tile:nth-child(7)")
    bred = changed(page, varied, "#wall .tile:first-child img")
    page.click("#wall .tile:nth-child(3)")
    page.click("#keep")
    page.locator("#kept .marks button").first.click()
    page.click("#more")
    changed(page, bred, "#wall .tile:first-child img")
    page.click("#loop")
    page.wait_for_selector("#film[open]")
    page.wait_for_function("() => document.querySelector('#screen').naturalWidth === 256")
    with page.expect_download() as film:
        page.click("#film-gif")
    with Image.open(film.value.path()) as image:
        assert (image.n_frames, image.size) == (60, (256, 256))
    page.click("#film-close")


def test_a_photo_is_shown_beside_what_the_model_sees_and_its_nats_can_be_taken_away(page, tmp_path):
    # a PNG that betabloom did not make: it is not asked for its record, which would be an error on the console
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    page.set_input_files("#photo-file", tmp_path / "a.png")
    page.wait_for_selector("#original:not([hidden])")
    page.wait_for_function("() => document.querySelector('#usual').textContent.includes('nats of your photo')")
    whole = source(page)
    assert pixels(source(page, "#original")).shape == pixels(whole).shape == (32, 32, 3)
    slide(page, "#nats", "0")
    changed(page, whole)
    assert "0 of" in page.inner_text("#nats-kept")


def test_the_map_draws_what_lies_under_the_pointer(page):
    page.click("nav [data-view=plane]")
    page.wait_for_selector("#map[data-drawn]")
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    page.wait_for_selector("#under:not([hidden])")
    here = source(page, "#under")
    page.mouse.move(box["x"] + 600, box["y"] + 300)
    there = changed(page, here, "#under")
    page.mouse.down()
    page.mouse.up()
    page.wait_for_selector("#panel:not([hidden])")
    assert source(page) == there


def test_a_link_opens_the_same_picture(page, opened):
    page.click("#wall .tile:nth-child(2)")
    shown = source(page)
    page.click("#link")
    again = opened(page.url, "html[data-ready]", **WIDE)
    again.wait_for_selector("#panel:not([hidden])")
    assert np.abs(pixels(source(again)).astype(int) - pixels(shown)).max() <= 1


def test_the_keyboard_suffices(page):
    page.locator("#wall .tile").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    before = source(page)
    assert page.locator("#wall .tile").nth(1).get_attribute("aria-selected") == "true"
    page.keyboard.press("k")
    page.locator("#sliders input[type=range]").first.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    changed(page, before)
    page.keyboard.press("k")
    assert page.locator("#kept .tile").count() == 2
    page.keyboard.press("l")
    page.wait_for_selector("#film[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("#film:not([open])", state="attached")


def test_a_folder_is_put_here_looked_at_and_trained_on(page, tmp_path):
    (tmp_path / "garden").mkdir()
    for i in range(12):
        picture = np.random.default_rng(i).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / "garden" / f"{i}.png")
    page.click("nav [data-view=train]")
    page.set_input_files("#folder-files", tmp_path / "garden")
    page.wait_for_function("() => document.querySelector('#source').value.endsWith('garden')")
    page.wait_for_function("() => document.querySelector('#report').textContent.includes('12')")
    assert page.input_value("#from") == "model"  # twelve pictures are few
    page.fill("#run-name", "garden one")
    page.select_option("#budget", "2m")
    page.click("#start")
    page.wait_for_function("() => document.querySelector('#run-state').textContent === 'running'")
    page.wait_for_function("() => !document.querySelector('#run-stop').disabled")
    page.wait_for_function("() => document.querySelector('#run-said').textContent.length > 40", timeout=90_000)
    page.click("#run-stop")
    page.wait_for_function(
        "() => ['stopped', 'failed'].includes(document.querySelector('#run-state').textContent)", timeout=90_000
    )


def test_the_training_that_was_chosen_last_is_watched_and_none_is_started_twice(page):
    facts = {"path": "", "records": [], "said": "", "share": 0.0, "has_model": False, "has_sample": True}
    held = {}

    def answer(route):
        asked = route.request.url.partition("/api/runs")[2].strip("/")
        if asked in held or (not asked and route.request.method == "POST"):
            held[asked] = route
        elif asked.endswith("sample"):
            route.fulfill(body=b"a picture", content_type="image/png")
        elif asked:
            route.fulfill(json={"name": asked, "state": "stopped", **facts})
        else:
            route.fulfill(json={"runs": [{"name": name, "state": "stopped", "path": ""} for name in ("one", "two")]})

    def let_go(asked, **found):
        while not held.get(asked):
            page.wait_for_timeout(20)
        held.pop(asked).fulfill(**found)

    page.route("**/api/runs**", answer)
    page.route("**/api/runs/**", answer)
    page.click("nav [data-view=train]")
    page.wait_for_selector("#run-sample:not([hidden])")
    held["two"] = None
    page.click("#runs button:nth-child(2)")
    page.click("#runs button:nth-child(1)")
    let_go("two", json={"name": "two", "state": "stopped", **facts})
    page.wait_for_timeout(100)
    assert page.inner_text("#run-title") == "one"
    held["two/sample"] = None
    page.click("#runs button:nth-child(2)")
    page.wait_for_function("() => document.querySelector('#run-title').textContent === 'two'")
    assert page.locator("#run-sample").is_hidden()  # that of the other is not shown here
    let_go("two/sample", body=b"a picture", content_type="image/png")
    page.wait_for_selector("#run-sample:not([hidden])")
    page.click("#start")
    assert page.is_disabled("#start")
    let_go("", json={"name": "three"})
    page.wait_for_selector("#start:not([disabled])")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_keeps_anybody_out(address, opened, scheme):
    page = opened(address, "html[data-directions]", color_scheme=scheme, bypass_csp=True, **WIDE)
    page.click("#wall .tile:first-child")
    page.click("#keep")
    page.add_script_tag(path=AXE)
    for view in ("explore", "plane", "train"):
        page.click(f"nav [data-view={view}]")
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        serious = [
            (each["id"], [node["target"] for node in each["nodes"]][:3])
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
        ]
        assert not serious


def test_nothing_is_cut_off_on_a_phone(address, opened):
    page = opened(address, "html[data-directions]", viewport={"width": 390, "height": 844})
    page.wait_for_selector("#wall .tile:nth-child(20)")
    page.locator("#wall .tile").first.click()
    for view in ("explore", "plane", "train"):
        page.evaluate(f"document.querySelector('[data-view={view}]').click()")
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, view
        cut = page.evaluate(
            """() => [...document.querySelectorAll('button, label, h1, h2, legend, summary')]
                .filter((it) => it.offsetParent && it.clientWidth && it.scrollWidth > it.clientWidth + 1)
                .map((it) => it.textContent.trim())"""
        )
        assert not cut, (view, cut)
