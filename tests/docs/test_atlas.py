"""The page "What does β do?": its command is one that can be typed, and runs when made small."""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
from pathlib import Path

import pytest

from betabloom.cli import main
from betabloom.reports import atlas

PAGE = (Path(__file__).parents[2] / "docs" / "atlas.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_its_command_runs(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    (line,) = re.findall(r"^```sh\n(.*?)\n```", PAGE, re.DOTALL | re.MULTILINE)
    small = (
        line.replace("drawn:2000", "drawn:80")
        .replace("600", "6")
        .replace("0,1,4,8", "0,4")
        .replace("seeds 3", "seeds 1")
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BETABLOOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(atlas, "PICTURES", 120)
    monkeypatch.setattr(sys, "argv", [*shlex.split(small), "--set", "validations=1", "--device", "cpu"])
    with contextlib.suppress(SystemExit):
        main.main()
    assert (tmp_path / "atlas" / "atlas.html").is_file()
    assert (tmp_path / "atlas" / "measures.json").is_file()
