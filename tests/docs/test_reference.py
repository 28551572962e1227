"""The reference pages are what the code says."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import pytest

from betabloom.cli.main import COMMANDS, command
from betabloom.config import SECTIONS

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("reference", ROOT / "tools" / "reference.py")
assert _spec is not None
assert _spec.loader is not None
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)


@pytest.mark.parametrize("name", ["cli", "settings"])
def test_the_page_is_what_the_code_says(name: str) -> None:
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    assert page == getattr(reference, f"{name}_page")(), "it is stale: type `make docs-reference`"


def test_every_setting_and_every_option_is_documented() -> None:
    settings = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    for section in SECTIONS.values():
        for setting in dataclasses.fields(section):
            assert f"\n| `{setting.name}` | " in settings
            assert setting.metadata["help"]
    commands = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        page = commands.split(f"\n### `betabloom {name}`\n")[1].split("\n### ")[0]
        assert all(option in page for option in command(name).options), name


def test_every_example_can_be_typed() -> None:
    """The options of the examples exist, and each value is one that its option takes."""
    for name in COMMANDS:
        for line in command(name).examples().splitlines():
            words = line.split("#")[0].split() if "'#" not in line else line.split()
            assert words[1:][: len(name.split())] == name.split(), line
            command(name).parse(words[1 + len(name.split()) :])
