"""A real browser, where there is one: Debian's chromium, driven by Playwright."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.request

import pytest

WIDE = {"viewport": {"width": 1280, "height": 900}}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("there is no chromium on this machine: make browser")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Opens pages; at the end, nothing may have gone wrong in them, nor left this machine."""
    contexts, wrong, asked = [], [], []

    def open_page(address, ready="html[data-ready]", **how):
        context = browser.new_context(accept_downloads=True, **how)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.wait_for_selector(ready, timeout=60_000)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong
    allowed = ("file:", "data:", "blob:", "http://127.0.0.1:")
    assert all(address.startswith(allowed) for address in asked), asked


@pytest.fixture(scope="session")
def studio_folder(model_folder):
    """Where the studio of the tests works; its model draws coloured noise."""
    pytest.importorskip("starlette", reason="the extra 'studio' is not installed")
    return model_folder.parent


@pytest.fixture(scope="session")
def address(studio_folder):
    """A studio with a small model, in a process of its own."""
    command = [sys.executable, "-m", "betabloom", "studio", "model", "--port", "0", "--no-browser", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=studio_folder) as process:
        found = json.loads(process.stdout.readline())["address"]
        urllib.request.urlopen(f"{found}health", timeout=60).close()
        yield found
        process.terminate()


@pytest.fixture
def page(address, opened):
    page = opened(address, "html[data-directions]", **WIDE)
    page.wait_for_selector("#wall .tile")
    return page
