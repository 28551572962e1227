"""The documentation as a site, each page in Chromium on a phone and on a wide screen, without a network."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
WIDTHS = {"phone": 390, "wide": 1400}
LOOK = """() => ({
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    missing: [...document.images].filter(image => !image.naturalWidth).map(image => image.src),
    formulas: document.querySelectorAll("math").length,
    empty: [...document.querySelectorAll("math")].filter(math => !math.getBoundingClientRect().width).length,
    wrong: document.querySelectorAll("merror").length,
    raw: document.querySelector("article").innerText.match(/\\$[^$\\n]+\\$|\\\\[a-z]{2,}\\{|FORMULA\\d/g) || [],
    frames: document.querySelectorAll("figure.live iframe").length,
})"""
CUT = "Math.max(document.body.scrollHeight, document.documentElement.scrollHeight) - innerHeight"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("material")
    pytest.importorskip("pypandoc")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder)))
    return folder


def figures(page) -> list:
    """The live figures of a page, drawn to their end."""
    frames = []
    for frame in page.query_selector_all("figure.live iframe"):
        frame.scroll_into_view_if_needed()  # what nobody sees is not drawn to its end
        frames.append(frame.content_frame())
        frames[-1].wait_for_url("**/book/live/*.html")
        frames[-1].wait_for_function("document.documentElement.dataset.ready || !document.getElementById('wall')")
    return frames


def settled(page) -> None:
    """Wait until the menus have moved to where they belong at this width."""
    with contextlib.suppress(Exception):  # what stays too wide is what the test is about
        page.wait_for_function("document.documentElement.scrollWidth <= innerWidth", timeout=3_000)


@pytest.fixture(scope="module")
def seen(site, browser):
    """(page, width) → what a look at it found; "said" is what its console reported or what it asked of other hosts."""
    page = browser.new_page()
    page.set_default_timeout(120_000)  # the machine may be busy
    said: list[str] = []
    page.on("console", lambda message: message.type in ("error", "warning") and said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: request.url.startswith("http") and said.append(request.url))
    found = {}
    for width, pixels in WIDTHS.items():
        page.set_viewport_size({"width": pixels, "height": 900})  # before a page comes: figures are drawn for it
        for path in sorted(site.rglob("*.html")):
            name = path.relative_to(site).as_posix()
            if name.startswith(("source/src/", "book/live/")) or name == "lesson.html":
                continue
            said.clear()
            page.goto(path.as_uri())
            page.evaluate("document.querySelectorAll('[loading=lazy]').forEach(each => each.loading = 'eager')")
            settled(page)
            look = page.evaluate(LOOK)
            look["cut"] = [frame.evaluate(CUT) for frame in figures(page)]
            found[name, width] = look | {"said": list(said)}
    page.close()
    return found


def that(seen, wrong) -> dict:
    return {key: wrong(look) for key, look in seen.items() if wrong(look)}


def test_all_pages_were_looked_at(seen):
    assert len(seen) > 2 * 50
    assert sum(look["frames"] for (_, width), look in seen.items() if width == "phone") >= 6


def test_no_page_is_wider_than_its_screen(seen):
    assert not that(seen, lambda look: max(look["overflow"], 0))


def test_nothing_is_reported_on_the_console_or_asked_of_other_hosts(seen):
    assert not that(seen, lambda look: look["said"])


def test_every_picture_is_there(seen):
    assert not that(seen, lambda look: look["missing"])


def test_formulas_are_drawn_and_none_is_left_as_text(seen):
    assert not that(seen, lambda look: look["empty"] + look["wrong"])
    assert not that({key: look for key, look in seen.items() if key[0].startswith("book/")}, lambda look: look["raw"])
    assert seen["book/02-elbo.html", "phone"]["formulas"] > 50


def test_live_figures_fit_into_their_frames(seen):
    assert not that(seen, lambda look: [cut for cut in look["cut"] if cut > 0])
