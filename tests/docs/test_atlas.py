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


LINES = re.findall(r"^```sh\n(.*?)\n```", PAGE, re.DOTALL | re.MULTILINE)
SMALL = {r"drawn:\d+": "drawn:80", r"steps \d+": "steps 6", r"betas \S+": "betas 0,4", "seeds 3": "seeds 1"}


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_its_command_runs(tmp_path, monkeypatch, line):
    pytest.importorskip("sklearn")
    small = line
    for long, short in SMALL.items():
        small = re.sub(long, short, small)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BETABLOOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(atlas, "PICTURES", 120)
    monkeypatch.setattr(sys, "argv", [*shlex.split(small), "--set", "validations=1", "--device", "cpu"])
    with contextlib.suppress(SystemExit):
        main.main()
    made = tmp_path / shlex.split(line)[-1]
    assert (made / "atlas.html").is_file()
    assert (made / "measures.json").is_file()
