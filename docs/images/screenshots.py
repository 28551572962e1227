"""Make the two screenshots again, of the studio and of a shared page, as the bundled model fills them.

    python docs/images/screenshots.py

It needs Chromium, and Playwright, which is installed with the extra `dev`.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HERE = Path(__file__).parent
SEEN, SHOWN = {"width": 1440, "height": 1040}, (1080, 780)
SEED = "Math.random = () => 0.613"  # of the first pictures


def studio(browser: Browser, folder: str) -> bytes:
    """The studio in the dark, with one picture moved and three kept."""
    command = [sys.executable, "-m", "betabloom", "studio", "--port", "0", "--no-browser", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)
    try:
        assert process.stdout is not None
        page = browser.new_page(viewport=SEEN, color_scheme="dark")
        page.add_init_script(SEED)
        page.goto(json.loads(process.stdout.readline())["address"])
        page.wait_for_selector("html[data-directions]", timeout=120_000)
        page.wait_for_selector("#wall .tile:nth-child(48)")
        for number in (2, 9, 16):
            page.click(f"#wall .tile:nth-child({number})")
            page.click("#keep")
        page.click("#wall .tile:nth-child(26)")
        page.locator("#sliders input[type=range]").nth(1).fill("1")
        page.wait_for_timeout(2_000)
        return page.screenshot()
    finally:
        process.terminate()
        process.wait()


def shared(browser: Browser, folder: str) -> bytes:
    """A shared page, with the sliders of one picture."""
    subprocess.run([sys.executable, "-m", "betabloom", "share", "-o", "page.html"], cwd=folder, check=True)
    page = browser.new_page(viewport=SEEN)
    page.goto(Path(folder, "page.html").as_uri())
    page.wait_for_selector("html[data-ready]")
    page.click("#wall .tile:nth-child(25)")
    page.click("#keep")
    page.wait_for_timeout(1_000)
    return page.screenshot()


def main() -> None:
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, take in (("studio", studio), ("shared", shared)):
            picture = Image.open(io.BytesIO(take(browser, folder))).convert("RGB")
            picture.resize(SHOWN, Image.Resampling.LANCZOS).save(HERE / f"{name}.jpg", quality=86)
            print(HERE / f"{name}.jpg")
        browser.close()


if __name__ == "__main__":
    main()
