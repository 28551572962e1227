"""The data commands: what they print, write and refuse."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from betabloom.cli import main
from betabloom.imaging.output import read_record

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BETABLOOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my photos").mkdir()
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((60, 40)).save(tmp_path / "my photos" / f"{i}.jpg")
    (tmp_path / "my photos" / "bad\n.jpg").touch()
    return tmp_path / "my photos"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["betabloom", *arguments])
        try:
            main.main()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1 if error.code else 0
    out, err = capsys.readouterr()
    return code, out, err


def test_inspect_prints_a_screen(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "inspect", str(folder))
    assert code == 0
    assert out.startswith("my photos: 13 pictures, 12 usable\n")
    assert "bad\\n.jpg (empty file (0 bytes))" in out


def test_inspect_has_a_json_twin_and_a_contact_sheet(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "inspect", str(folder), "--json", "--sheet", "sheet.png")
    facts = json.loads(out)
    assert (code, facts["usable"], facts["sheet"]) == (0, 12, "sheet.png")
    assert facts["unreadable"] == [{"name": "bad\n.jpg", "reason": "empty file (0 bytes)"}]
    assert len(read_record("sheet.png")["pictures"]) == 12
    code, _, err = run(capsys, "inspect", str(folder), "--sheet", "sheet.png")
    assert code == 2
    assert "--force" in err


def test_inspect_says_what_to_type_where_nothing_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "inspect", "nowhere")
    assert code == 2
    assert "there is no folder or file 'nowhere'" in err
    assert run(capsys, "inspect", str(folder), "--min-size", "64", "--quick")[1].count("\n") < 30


def test_preview_shows_before_and_after(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "preview", str(folder), "--pipeline", "enhance", "--size", "32x24", "-n", "5")
    assert code == 0
    assert out == "5 pictures before and after 'enhance': preview.png\n"
    record = read_record("preview.png")
    assert record["pipeline"]["name"] == "enhance"
    with Image.open("preview.png") as sheet:
        assert sheet.size == (5 * 34 + 2, 2 * 26 + 2)
    assert "bad" not in " ".join(record["pictures"])


def test_preview_is_even_or_shuffled(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = {}
    for name, words in {"even": (), "again": (), "one": ("--seed", "1"), "two": ("--shuffle", "--seed", "1")}.items():
        run(capsys, "preview", str(folder), *words, "-n", "5", "-o", f"{name}.png")
        chosen[name] = read_record(f"{name}.png")["pictures"]
    assert chosen["even"] == chosen["again"]
    assert chosen["one"] == chosen["two"]
    assert chosen["one"] != chosen["even"]
    code, out, _ = run(capsys, "preview", str(folder), "--shuffle", "-n", "5", "--json")
    assert code == 0
    assert read_record("preview.png")["shuffle"] == json.loads(out)["seed"]


def test_preview_takes_steps_and_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder.parent / "soft.yaml").write_text("- crop: 50%\n- blur: 1\n")
    names = []
    for chain in ("crop:50%,blur:1", "soft.yaml"):
        code, out, _ = run(capsys, "preview", str(folder), "--pipeline", chain, "--size", "16", "--json", "--force")
        assert code == 0
        names.append(read_record(json.loads(out)["made"])["pipeline"]["name"])
    assert names == ["crop:8,blur:1,resize:16"] * 2
    code, _, err = run(capsys, "preview", str(folder), "--pipeline", "no-such", "--force")
    assert code == 2
    assert "there is no step 'no-such'" in err
