"""How many pictures a second follow a slider that is dragged: in the studio, and in a shared file from the disk.

    python benchmarks/sliders.py [--seconds 5]

Needs Playwright and a chromium. A slider is moved at every frame of the browser; what is counted are pictures that were
drawn meanwhile.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

import betabloom
from betabloom.reports.share import share

DRAG = """async ([count, seconds]) => {
    const input = document.querySelector('#sliders input[type=range]');
    const counted = () => eval(count);
    const begun = performance.now();
    const before = counted();
    await new Promise((over) => {
        (function frame() {
            const t = (performance.now() - begun) / 1000;
            input.value = 3 * Math.sin(2 * t);
            input.dispatchEvent(new Event('input'));
            if (t < seconds) requestAnimationFrame(frame);
            else over();
        })();
    });
    return (counted() - before) / ((performance.now() - begun) / 1000);
}"""


def rate(page: Page, address: str, ready: str, count: str, seconds: float) -> float:
    page.goto(address)
    page.wait_for_selector(ready, timeout=60_000)
    page.wait_for_timeout(1500)
    page.click("#wall .tile:first-child")
    page.wait_for_timeout(1000)
    return round(page.evaluate(DRAG, [count, seconds]), 1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5)
    seconds = parser.parse_args().seconds
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "shared.html"
        facts = share(betabloom.load(), file)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(bypass_csp=True)
        shared = rate(page, file.as_uri(), "html[data-ready]", "betabloomPage.frames()", seconds)
        first = int(page.evaluate("document.documentElement.dataset.first"))
        command = [sys.executable, "-m", "betabloom", "studio", "--port", "0", "--no-browser", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=folder) as server:
            try:
                address = json.loads(server.stdout.readline())["address"]
                time.sleep(5)
                studio = rate(page, address, "html[data-directions]", "studio.followed()", seconds)
            finally:
                server.terminate()
        browser.close()
    found = {"studio_per_second": studio, "shared_per_second": shared, "shared_first_picture_ms": first}
    print(json.dumps({**found, "shared_megabytes": round(facts["bytes"] / 1e6, 2)}, indent=2))


if __name__ == "__main__":
    main()
