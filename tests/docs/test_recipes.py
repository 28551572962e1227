"""The cook book, the tutorial and the guides: every command and every line of Python in them runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from betabloom import data
from betabloom.cli import main
from betabloom.training import loop

DOCS = Path(__file__).parents[2] / "docs"
RECIPES = re.split(r"^### ", (DOCS / "recipes.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SLOW = (
    "betabloom train",
    "betabloom.fit",
    "sklearn",
    "betabloom inpaint",
    "betabloom denoise",
    "--novel",
    "pandas",
    "nn.Module",
)
PAGES = ["tutorial.md", "guides/students.md", "guides/artists.md", "guides/engineers.md"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_config, small_store) -> Path:  # type: ignore[no-untyped-def]
    """A folder with what the recipes name: photos in two classes, a.jpg, b.jpg, and a small run."""
    folder = tmp_path_factory.mktemp("recipes")
    loop.train(small_store, tiny_config).save(folder / "runs" / "mine" / "model")
    drawn = data.Drawn(24, seed=5, size=32)
    for i in range(24):
        (folder / "photos" / str(i % 2)).mkdir(parents=True, exist_ok=True)
        drawn.read(i).save(folder / "photos" / str(i % 2) / f"{i}.png")
    for name, i in (("a.jpg", 0), ("b.jpg", 1)):
        drawn.read(i).save(folder / name)
    return folder


def run(language: str, code: str, name: str, capsys: pytest.CaptureFixture[str], more: tuple[str, ...] = ()) -> None:
    if language == "python":
        exec(compile(code, name, "exec"), {})
        return
    for line in code.splitlines():
        words = shlex.split(line, comments=True)
        if words:
            assert words[0] == "betabloom"
            short = more if words[1] == "train" else ()
            main.run([*words[1:], *short])
            assert capsys.readouterr().out
            made = [Path(words[i + 1]) for i, word in enumerate(words) if word == "-o"]
            assert all(path.exists() for path in made)


def test_there_are_more_than_twenty() -> None:
    assert len(RECIPES) > 30
    assert all(BLOCK.search(recipe) for recipe in RECIPES)


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(each, id=each.splitlines()[0], marks=[pytest.mark.slow] if any(w in each for w in SLOW) else [])
        for each in RECIPES
        if "--resume" not in each
    ],
)
def test_every_recipe_runs(
    place: Path, recipe: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for extra in ("sklearn", "pandas"):
        if extra in recipe:
            pytest.importorskip(extra)
    monkeypatch.chdir(place)
    monkeypatch.setenv("BETABLOOM_CACHE", str(place / "cache"))
    for language, code in BLOCK.findall(recipe):
        run(language, code, "recipes.md", capsys)
    if "--from" in recipe:
        (longer,) = (each for each in RECIPES if "--resume" in each)
        run("sh", BLOCK.findall(longer)[0][1], "recipes.md", capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_every_command_of_the_tutorial_and_the_guides_runs(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BETABLOOM_CACHE", str(tmp_path / "cache"))
    found = BLOCK.findall((DOCS / name).read_text(encoding="utf-8"))
    assert found
    for language, code in found:
        run(language, re.sub(r"--steps \d+", "--steps 20", code), name, capsys, ("--device", "cpu"))
