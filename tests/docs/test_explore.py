"""The page "Exploring what a model learned": its commands run with a small model, and so does its Python."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from betabloom import data
from betabloom.cli import main
from betabloom.imaging.output import read_record

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "explore.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.M)
    for line in block.splitlines()
]


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_model):
    """A folder with what the page names, and a small run."""
    folder = tmp_path_factory.mktemp("explore")
    shutil.copytree(tiny_model, folder / "run")
    drawn = data.Drawn(12, seed=5, size=32)
    for i in range(12):
        (folder / "photos" / str(i % 2)).mkdir(parents=True, exist_ok=True)
        drawn.read(i).save(folder / "photos" / str(i % 2) / f"{i}.png")
    for name, i in (("a.jpg", 0), ("b.jpg", 1)):
        drawn.read(i).save(folder / name)
    return folder


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[1:4]))
def test_every_command_runs_and_records_how(place, monkeypatch, capsys, words):
    monkeypatch.chdir(place)
    if "tsne" in words:
        pytest.importorskip("sklearn")
    words = [words[1], "run", *words[2:]]
    main.run([*words, "--force", "--json"])
    made = json.loads(capsys.readouterr().out)["made"]
    path = Path(words[words.index("-o") + 1])
    assert made in (str(path), [str(path)])
    if path.suffix in (".png", ".webp", ".gif"):
        record = read_record(path)
        assert record["verb"] == words[0]
        main.run(["info", str(path), "--json"])
        assert json.loads(capsys.readouterr().out)["verb"] == words[0]
        first = path.read_bytes()
        seed = ["--seed", str(record["seed"])] if "seed" in record and "--seed" not in words else []
        main.run([*words, *seed, "--force"])
        assert path.read_bytes() == first


def test_the_python_runs(tmp_path, monkeypatch, capsys, place):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.M)
    exec(compile(code.replace("load()", f"load({str(place / 'run')!r})"), "explore.md", "exec"), {})
    assert capsys.readouterr().out.startswith("(12, 16, 16, 3)")
    with Image.open("loop.webp") as image:
        assert image.n_frames > 1  # equal neighbours become one


def test_the_pictures_of_the_page_are_there_and_small():
    named = re.findall(r"\(images/([\w.-]+)\)", PAGE)
    assert len(named) > 3
    assert sum((DOCS / "images" / name).stat().st_size for name in named) < 1_000_000
