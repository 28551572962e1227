"""The gallery: its commands exist, and table, pictures and page agree."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from betabloom.cli.main import command as command_named
from betabloom.generate.writing import command_to_repeat
from betabloom.imaging.output import read_record

if TYPE_CHECKING:
    import subprocess

GALLERY = Path(__file__).parents[2] / "docs" / "gallery"
_spec = importlib.util.spec_from_file_location("gallery", GALLERY / "make.py")
assert _spec is not None
assert _spec.loader is not None
gallery = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(gallery)


def parsed(command: str) -> dict[str, object]:
    """What the command line makes of a command; it refuses what it does not know."""
    words = shlex.split(command)
    return command_named(words[1]).parse(words[2:])


def check(folder: Path) -> None:
    """The page lists the table's pictures, the commands on it are the table's, and each picture carries its own."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    shown, commands = re.findall(r"!\[.*?\]\((.*?)\)", text), re.findall(r"```sh\n(.*?)\n```", text)
    assert sorted(shown) == sorted(path.name for path in folder.glob("*.png"))
    for name, command in zip(shown, commands, strict=True):
        model = shlex.split(command)[2]
        assert command == gallery.command(Path(name).stem, model)
        one, other = parsed(command), parsed(command_to_repeat(read_record(folder / name)))
        assert {**one, "out": None} == {**other, "out": None}


@pytest.mark.parametrize("name", gallery.PICTURES)
def test_every_command_is_understood(name: str) -> None:
    parameters = parsed(gallery.command(name, "model"))
    assert str(parameters["out"]) == f"{name}.png"
    assert parameters["drawing"].seed is not None


def test_there_are_at_least_as_many_as_in_the_students_project() -> None:
    assert len(gallery.PICTURES) >= 21
    assert {"nebula", "fire", "lavender"} <= set(gallery.PICTURES)
    seeds = [parsed(gallery.command(name, "model"))["drawing"].seed for name in gallery.PICTURES]
    assert seeds == list(range(1, len(seeds) + 1))  # counted up, not picked


def test_it_can_be_made(tmp_path: Path, tiny_model: Path, processes, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        done = processes.run(command[3:], tmp_path, command[2])
        assert done.returncode == 0, done.stderr
        return done

    monkeypatch.setattr(gallery.subprocess, "run", run)
    chosen = ["nebula", "texture"]
    words = ["make.py", str(tiny_model), "--out", str(tmp_path / "gallery"), "--only", *chosen]
    monkeypatch.setattr(sys, "argv", words)
    gallery.main()
    check(tmp_path / "gallery")
    assert [path.stem for path in sorted((tmp_path / "gallery").glob("*.png"))] == chosen


@pytest.mark.skipif(not (GALLERY / "README.md").exists(), reason="no gallery was made yet: docs/gallery/make.py MODEL")
def test_the_gallery_that_is_there_agrees() -> None:
    check(GALLERY)
    assert {path.stem for path in GALLERY.glob("*.png")} == set(gallery.PICTURES)
