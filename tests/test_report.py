"""The page about a run: all of it in one file, nothing from elsewhere, nothing of what files say taken as HTML."""

from __future__ import annotations

import json
import re
import shutil
import time
from html.parser import HTMLParser

import numpy as np
import pytest

from betabloom.config import Config
from betabloom.data import Store
from betabloom.errors import UsageError
from betabloom.imaging import curves
from betabloom.latent.traversal import traverse
from betabloom.model.model import load
from betabloom.reports.run_page import report_html
from betabloom.training import loop
from betabloom.training.run_folder import read_records


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run on noise, with an odd name."""
    folder = tmp_path_factory.mktemp("report") / "<b>run & co"
    pictures = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    settings = {"height": 16, "width": 16, "widths": "8,16", "latents": 6, "steps": 20, "validations": 2, "beta": 4.0}
    config = Config.preset("tiny", **settings, source='x"<script>', device="cpu", precision="fp32")
    loop.train(Store.from_array(pictures), config, folder)
    return folder


class Page(HTMLParser):
    """The tags of a page, and whether they are closed in order."""

    empty = ("meta", "img", "line", "circle", "rect", "polyline", "!doctype")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.empty:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_has_everything_and_needs_nothing(run):
    text = report_html(run)
    page = Page(text)
    assert page.open == []
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert headings[-7:] == [
        "New pictures", "Curves", "Samples over time", "Reconstructions", "Traversals", "Measures", "Settings",
    ]  # fmt: skip
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    addresses = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert addresses
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert not re.search(r"url\((?!#)", text)  # a chart refers to parts of the page only
    assert "http:" not in text
    assert "https:" not in text


def test_what_files_say_is_text(run, tmp_path):
    shutil.copytree(run, tmp_path / "<i>")
    evil = {"illness": "<script>a", "sentence": "<script>alert(1)</script>", "command": '"><img src=x>'}
    (tmp_path / "<i>" / "advice.json").write_text(json.dumps([evil]))
    text = report_html(tmp_path / "<i>")
    page = Page(text)
    assert "script" not in {tag for tag, _ in page.tags}
    words = "".join(page.words)
    assert "<script>alert(1)</script>" in words
    assert '"><img src=x>' in words
    assert "<i>" in words


def test_settings_that_differ_from_the_defaults_stand_out(run):
    changed = re.findall(r"<tr class=changed[^>]*><th>(\w+)</th>", report_html(run))
    assert {"beta", "steps", "widths", "latents", "height"} <= set(changed)
    assert not {"learning_rate", "seed", "clip", "likelihood"} & set(changed)


def test_an_unfinished_and_a_damaged_run_have_a_page_too(run, tmp_path):
    shutil.copytree(run, tmp_path / "open")
    shutil.rmtree(tmp_path / "open" / "model")
    (tmp_path / "open" / "metrics.jsonl").write_text("garbage\n[]\n" + (run / "metrics.jsonl").read_text()[:-40])
    (tmp_path / "open" / "advice.json").write_text("{")
    (tmp_path / "open" / "samples" / "step-000000099.png").write_text("no picture")
    text = report_html(tmp_path / "open")
    assert "not finished" in text
    assert "Curves" in text
    assert "Samples over time" in text
    shutil.rmtree(tmp_path / "open" / "samples")
    (tmp_path / "open" / "metrics.jsonl").unlink()
    assert "Settings" in report_html(tmp_path / "open")
    with pytest.raises(UsageError, match="not a run directory"):
        report_html(tmp_path)


def test_a_traversal_changes_one_latent_at_a_time(run):
    model = load(run)
    code = np.random.default_rng(0).standard_normal(6).astype(np.float32)
    sheet = traverse(model, code, [4, 1], [-2.0, 0.0, 3.0])
    assert sheet.shape == (2, 3, 16, 16, 3)
    assert np.array_equal(sheet[0, 1], sheet[1, 1])  # no change
    for row, dimension in enumerate((4, 1)):
        for column, offset in enumerate((-2.0, 0.0, 3.0)):
            moved = code.copy()
            moved[dimension] += offset
            one = model.decode(moved[None])[0].astype(int)
            assert np.abs(one - sheet[row, column]).max() <= 1  # other company in the batch may round a level away


def path(svg, name):
    """The points of the line with that name."""
    (drawn,) = re.findall(rf'<g class="{name}">\s*<path d="([^"]*)"', svg)
    numbers = [float(each) for each in re.findall(r"[-\d.]+", drawn)]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def test_a_line_goes_through_its_points_and_an_outlying_first_value_is_cut_off():
    svg = curves.line_chart({"train": [(0, 0.0), (50, 5.0), (100, 10.0)]}, "a < b")
    assert 'aria-label="a &lt; b"' in svg
    points = path(svg, "train")
    assert points[0][0] < points[-1][0]
    assert points[0][1] > points[-1][1]  # larger is higher
    rise = (points[-1][1] - points[0][1]) / (points[-1][0] - points[0][0])
    assert all(y == pytest.approx(points[0][1] + rise * (x - points[0][0]), abs=0.01) for x, y in points)
    outlier = curves.line_chart({"train": [(0, 1e9), (1, 3.0), (2, 1.0)]}, "")
    assert ">3<" in outlier
    assert "e9" not in outlier
    for flat in ([(0, 5.0), (9, 5.0)], [(0, 0.0), (9, 0.0)], [(3, -2.0)]):
        assert "nan" not in curves.line_chart({"train": flat}, "")
    assert curves.line_chart({}, "") == curves.bar_chart([], "") == ""


def test_charts_have_the_colours_of_the_page_and_the_same_bytes_every_time():
    series = {"train": [(0, 1.0), (9, 2.0)], "validation": [(4, 1.0), (9, 3.0)]}
    svg = curves.line_chart(series, "")
    assert svg == curves.line_chart(series, "")
    assert {"var(--train)", "var(--held)", "var(--faint)", "var(--rule)"} <= set(re.findall(r"var\(--\w+\)", svg))
    assert not re.search(r"#00010[1-4]|<metadata|<style|http", svg)


def test_bars_are_as_high_as_their_values():
    svg = curves.bar_chart([4.0, 2.0, 0.0], "")
    bars = [[float(y) for y in re.findall(r"[\d.]+ ([\d.]+)", d)] for d in re.findall(r'<path d="([^"]*) z', svg)]
    heights = [max(bar) - min(bar) for bar in bars][-3:]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.1)
    assert heights[2] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("value", "text"), [
    (0, "0"), (0.25, "0.25"), (7.5e-4, "7.5e−4"), (1e-3, "1e−3"), (-3500, "−3,500"), (12_000, "12k"), (1.0, "1"),
])  # fmt: skip
def test_numbers_on_axes_are_short(value, text):
    assert curves._short(value) == text


def test_settings_that_refer_to_one_another_are_refused_at_once(run, tmp_path):
    """Each level of references is nine times as many values: a small file would take all time and memory."""
    shutil.copytree(run, tmp_path / "run")
    levels = [f"l{i}: &l{i} [{', '.join(9 * [f'*l{i - 1}'])}]" for i in range(1, 12)]
    (tmp_path / "run" / "config.yaml").write_text("\n".join(["l0: &l0 [x, x]", *levels, "train: *l11"]))
    started = time.process_time()
    with pytest.raises(UsageError, match=r"config.yaml is damaged: settings cannot refer to one another"):
        report_html(tmp_path / "run")
    assert time.process_time() - started < 2


def test_records_that_cannot_be_read_are_left_out(run, tmp_path):
    assert len(read_records(run)) == len((run / "metrics.jsonl").read_text().splitlines())
    assert read_records(tmp_path) == []
