"""The README says what is so: its Python runs, its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from betabloom.cli.main import COMMANDS, command

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_five_line_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BETABLOOM_CACHE", str(tmp_path / "cache"))
    (code,) = blocks("python")
    assert len([line for line in code.splitlines() if line]) == 5
    exec(compile(code, "README.md", "exec"), {})
    with Image.open(tmp_path / "flowers.png") as image:
        assert image.size == (4 * 34 + 2, 4 * 34 + 2)
        assert len(image.getcolors(maxcolors=1 << 20)) > 500  # not one grey


def test_every_command_and_option_in_the_readme_exists():
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("betabloom ")]
    assert len(lines) > 8
    for line in lines:
        words = line.split("#")[0].split()
        assert words[1] in COMMANDS, line
        assert {word for word in words[2:] if word.startswith("-")} <= command(words[1]).options, line


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("demo", "test", "test-slow", "check", "clean"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("name", re.findall(r"\]\(((?:src|docs|LICENSE)[^)#]*)\)", README))
def test_links_into_the_project_lead_somewhere(name):
    assert (ROOT / name).exists()
