"""The page "Beyond one machine": what it says to type can be typed, its files are shell, its table is the program's."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from betabloom.cli import main
from betabloom.errors import UsageError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.M) for line in block.splitlines()]
SCRIPTS = sorted((ROOT / "docs" / "cluster").glob("*.sbatch"))


def commands(text: str) -> list[list[str]]:
    """The words after each "betabloom" that is typed."""
    found = re.findall(r"\bbetabloom ((?:train|shard|prepare|encode|generate|evaluate)\b[^#\n]*)", text)
    return [shlex.split(words) for words in found]


@pytest.mark.parametrize("words", [each for line in LINES for each in commands(line)], ids=" ".join)
def test_what_the_page_says_can_be_typed(words):
    assert main.command(words[0]).parse(words[1:])


def test_every_line_is_one_that_is_checked():
    assert [line for line in LINES if not commands(line)] == ["sbatch docs/cluster/train.sbatch"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_batch_scripts_are_shell_and_their_commands_can_be_typed(script):
    subprocess.run(["bash", "-n", script], check=True)
    text = script.read_text(encoding="utf-8")
    found = commands("\n".join(line for line in text.splitlines() if not line.startswith("#")))
    assert found
    for words in found:
        main.command(words[0]).parse(words[1:])
    assert script.name in PAGE


def test_the_table_is_what_the_program_prints():
    spec = importlib.util.spec_from_file_location("cost", ROOT / "benchmarks" / "cost.py")
    cost = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["cost"] = cost
    spec.loader.exec_module(cost)
    assert cost.table(10**9, [1, 8, 64]) in PAGE


@pytest.mark.parametrize("words", [["--processes", "0"], ["--format", "zip"]])
def test_what_cannot_be_meant_is_refused(words, tmp_path):
    with pytest.raises(UsageError):
        main.run(["shard", "drawn:4", "-o", str(tmp_path / "shards"), *words])
