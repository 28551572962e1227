"""The page "Pictures in the colours you want" says what is so: its commands and its Python run."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from betabloom.cli import main
from betabloom.imaging import colour

PAGE = (Path(__file__).parents[2] / "docs" / "colours.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


COMMANDS = [
    words for block in blocks("sh") for line in block.splitlines() if (words := shlex.split(line, comments=True))
]


@pytest.fixture
def _place(tmp_path, tiny_model, monkeypatch):
    """A folder with what the page names."""
    shutil.copytree(tiny_model, tmp_path / "runs" / "flowers")
    Image.new("RGB", (40, 30), (150, 60, 160)).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_place")
def test_every_command_runs(capsys):
    assert len(COMMANDS) > 10
    for words in COMMANDS:
        if "--size" in words:  # the page makes larger ones
            words[words.index("--size") + 1] = "160x90"
        if "-n" in words and words[words.index("-n") + 1] != "1":
            words[words.index("-n") + 1] = "4"
        main.run(words[1:])
        out = capsys.readouterr().out
        assert out.count("\n") == 1 or words[1] == "info"
        assert words[1] == "info" or Path(words[words.index("-o") + 1]).exists()


@pytest.mark.usefixtures("_place")
def test_the_python_runs(capsys):
    (code,) = blocks("python")
    exec(compile(code, "colours.md", "exec"), {})
    assert re.match(r"\d of 8 \['\w+", capsys.readouterr().out)
    with Image.open("meadow.png") as image:
        assert image.size == (640, 360)


def test_the_page_lists_the_colours():
    listed = PAGE.split("The colours are ", 1)[1].split(":", 1)[0]
    for name in (*colour.names(), "yellow", "turquoise", "purple"):
        assert name in listed
