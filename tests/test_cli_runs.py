"""`betabloom runs` and `betabloom report` from outside."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from betabloom.cli import main
from betabloom.config import Config
from betabloom.data import Store
from betabloom.training import loop

SETTINGS = {
    "height": 16, "width": 16, "widths": "8,16", "latents": 6, "steps": 20, "validations": 2, "device": "cpu",
    "precision": "fp32",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with two runs in runs/, the second stopped early."""
    folder = tmp_path_factory.mktemp("runs")
    pictures = Store.from_array(np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8))
    (folder / "runs").mkdir()
    loop.train(pictures, Config.preset("tiny", **SETTINGS), folder / "runs" / "whole")
    (folder / "runs" / "begun").mkdir()
    (folder / "runs" / "begun" / "config.yaml").write_text("train: {steps: 5}\n")
    (folder / "runs" / "no run").mkdir()
    return folder


def run(capsys, monkeypatch, *words):
    """(exit code, stdout, stderr) of a command."""
    monkeypatch.setattr(sys, "argv", ["betabloom", *words])
    code = 0
    try:
        main.main()
    except SystemExit as end:
        code = end.code or 0
    return code, *capsys.readouterr()


def test_runs_are_listed_with_their_figures(place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    code, out, _ = run(capsys, monkeypatch, "runs")
    assert code == 0
    header, *rows = out.splitlines()
    assert header.split() == ["run", "state", "steps", "time", "β", "distortion", "rate", "active", "advice"]
    assert [row.split()[:3] for row in rows] == [["runs/whole", "finished", "20"], ["runs/begun", "open", "0"]]
    _, out, _ = run(capsys, monkeypatch, "runs", "--json")
    last = [json.loads(line) for line in (place / "runs" / "whole" / "metrics.jsonl").read_text().splitlines()][-1]
    facts = json.loads(out)["runs"][0]
    assert (facts["distortion"], facts["rate"]) == (last["distortion"], last["rate"])
    assert facts["advice"] == [entry["illness"] for entry in json.loads((place / "runs/whole/advice.json").read_text())]


def test_columns_stand_under_one_another_whatever_the_names_are_made_of(tmp_path, capsys, monkeypatch):
    for name in ("plain", "two\nlines", "tab\there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("train: {steps: 5}\n")
    code, out, _ = run(capsys, monkeypatch, "runs", str(tmp_path))
    lines = out.splitlines()
    assert (code, len(lines)) == (0, 4)
    assert len({line.index(word) for line, word in zip(lines, ["  state", *3 * ["  open"]], strict=True)}) == 1


def test_a_report_is_written_and_never_over_something(place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    code, out, _ = run(capsys, monkeypatch, "report", "runs/whole")
    assert (code, out) == (0, "Report on runs/whole: runs/whole/report.html\n")
    page = (place / "runs" / "whole" / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    code, _, err = run(capsys, monkeypatch, "report", "runs/whole")
    assert (code, "--force" in err) == (2, True)
    assert run(capsys, monkeypatch, "report", "runs/whole", "--force")[0] == 0
    code, out, _ = run(capsys, monkeypatch, "report", "runs/begun", "-o", "begun.html", "--json")
    assert json.loads(out)["made"] == "begun.html"


@pytest.mark.parametrize(("words", "message"), [
    (["runs", "nowhere"], "betabloom runs FOLDER"),
    (["report", "nowhere"], "no config.yaml"),
    (["report", "runs/no run"], "no config.yaml"),
    (["report", "runs/whole", "-o", "a.pdf"], "-o a.html, not a.pdf"),
    (["train", "drawn", "--log", "paper"], "csv, tensorboard, mlflow, wandb"),
], ids=str)  # fmt: skip
def test_wrong_use_says_what_to_type(words, message, place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    code, out, err = run(capsys, monkeypatch, *words)
    assert (code, out) == (2, "")
    assert message in err
