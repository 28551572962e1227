"""The page about shared files: its command and its Python run, and its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from betabloom.cli import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "share.md").read_text(encoding="utf-8")


def test_its_command_and_its_python_run(tiny_model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (command,) = re.findall(r"^```sh\n(.*?)\n```", PAGE, re.DOTALL | re.MULTILINE)
    monkeypatch.setattr(
        sys, "argv", [*shlex.split(command)[:2], str(tiny_model), *shlex.split(command)[2:], "--codes", "16"]
    )
    main.main()
    assert "flowers.html. Open it in a browser." in capsys.readouterr().out
    assert (tmp_path / "flowers.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    (snippet,) = re.findall(r"^```python\n(.*?)\n```", PAGE, re.DOTALL | re.MULTILINE)
    small = snippet.replace("codes=64", "codes=16").replace("load()", f"load({str(tiny_model)!r})")
    exec(compile(small, "share.md", "exec"), {})


def test_its_links_lead_somewhere():
    for link in re.findall(r"\]\((\.\./[^)]+)\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link
