"""`make test-slow`: killed at forty random instants, a run ends with the weights of the one that was let be."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system"),
]

ROUNDS, STEPS = 40, 72
SETTINGS = [
    "--size", "16", "--preset", "tiny", "--steps", str(STEPS), "--device", "cpu", "--precision", "fp32",
    *(f"--set={setting}" for setting in ("widths=8,16", "latents=6", "batch=16", "validations=3")),
]  # fmt: skip

# The command line that logs and writes checkpoints often.
PROGRAM = """
from betabloom.cli.main import main
from betabloom.training import loop
loop.CHECKPOINT_EVERY, loop.LOG_EVERY = 0.05, 5
main()
"""


class Commands:
    """Runs the command line many times; what it says goes into one file."""

    def __init__(self, processes, log: Path) -> None:
        self.processes, self.log = processes, log

    def start(self, folder: Path, *words: str) -> int:
        return self.processes.start(words, folder, self.log, self.log, PROGRAM)

    def end(self, pid: int) -> int:
        return self.processes.end(pid)

    def run(self, folder: Path, *words: str) -> int:
        return self.end(self.start(folder, *words))


@pytest.fixture
def commands(processes, tmp_path, monkeypatch):
    monkeypatch.setenv("BETABLOOM_CACHE", str(tmp_path / "cache"))
    return Commands(processes, tmp_path / "log.txt")


@pytest.fixture
def photos(tmp_path):
    """160 pictures, which take a while to be prepared."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(160):
        coarse = np.random.default_rng(i).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((400, 300), Image.Resampling.BICUBIC).save(folder / f"{i}.jpg")
    return folder


def begin_or_resume(folder: Path, photos: Path) -> list[str]:
    """What a person types: the same again, until there is a run to resume."""
    if (folder / "run" / "config.yaml").exists():
        return ["train", "--resume", "run"]
    return ["train", str(photos), *SETTINGS, "-o", "run"]


def result(folder: Path) -> tuple[object, ...]:
    run = folder / "run"
    weights = {path.name: path.read_bytes() for path in (run / "model").glob("*.safetensors")}
    assert {"model.safetensors", "sampler-parzen.safetensors"} <= weights.keys()
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    metrics = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
    pictures = {str(path.relative_to(run)): np.asarray(Image.open(path)).tobytes() for path in run.rglob("*.png")}
    return weights, metrics, pictures


def left_over(folder: Path) -> list[str]:
    return [path.name for path in (folder / "run").rglob(".*")]


@pytest.mark.parametrize(("name", "rounds"), [("SIGKILL", ROUNDS), ("SIGTERM", ROUNDS // 2)])
def test_killed_at_random_instants_it_ends_as_if_it_had_not(name, rounds, commands, photos, tmp_path):
    """While preparing, training, saving, sampling; half of the runs are stopped a second time after they resumed.

    Preparing takes most of the time: in every second pair of rounds only instants after it count.
    """
    whole = tmp_path / "whole"
    whole.mkdir()
    begun = time.monotonic()
    assert commands.run(whole, *begin_or_resume(whole, photos)) == 0, (tmp_path / "log.txt").read_text()
    seconds, expected = time.monotonic() - begun, result(whole)
    later = (whole / "run/model/samples.png").stat().st_mtime - (whole / "run/config.yaml").stat().st_mtime
    random.seed(name)
    stages: dict[str, int] = {}
    for number in range(rounds):
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)  # so that the pictures are prepared in each round
        for _ in range(1 + number % 2):
            pid = commands.start(folder, *begin_or_resume(folder, photos))
            if number // 2 % 2:
                wait_for(folder / "run" / "config.yaml", 10 * seconds)
            time.sleep(random.uniform(0, later if number // 2 % 2 else seconds))
            os.killpg(pid, getattr(signal, name))
            commands.end(pid)
            stages[stage(folder)] = stages.get(stage(folder), 0) + 1
        assert commands.run(folder, *begin_or_resume(folder, photos)) == 0, (tmp_path / "log.txt").read_text()[-3000:]
        assert result(folder) == expected, number
        assert left_over(folder) == [], number
        shutil.rmtree(folder)
    print(f"{name}: stopped {stages}")
    assert len(stages) > 2  # the instants are spread: there is something to see
    assert "Traceback" not in (tmp_path / "log.txt").read_text()


def wait_for(path: Path, most: float) -> None:
    end = time.monotonic() + most
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.001)


def stage(folder: Path) -> str:
    """How far a run has come, as its folder tells."""
    run = folder / "run"
    if not (run / "config.yaml").exists():
        return "before the run"
    if (run / "model" / "samples.png").exists():
        return "finished"
    saved = sorted((run / "checkpoints").glob("step-*")) if (run / "checkpoints").exists() else []
    if not saved:
        return "before the first checkpoint"
    return "making the model" if saved[-1].name.endswith(str(STEPS)) else "training"


@pytest.mark.parametrize("part", [0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95])
def test_with_a_full_disk_it_stops_with_the_reason_and_goes_on_when_there_is_room(
    part, commands, photos, small_disk, tmp_path
):
    """The disk has room for a part of what a whole run leaves, so that it is full at another instant each time."""
    whole = tmp_path / "whole"
    whole.mkdir()
    assert commands.run(whole, *begin_or_resume(whole, photos)) == 0
    pages = sum(-(-path.stat().st_size // 4096) for path in (whole / "run").rglob("*") if path.is_file())
    subprocess.run(["mount", "-o", f"remount,size={4 * round(part * pages)}k", small_disk], check=True)
    log = tmp_path / "log.txt"
    log.write_text("")
    code = commands.run(small_disk, *begin_or_resume(small_disk, photos))
    text = log.read_text()
    assert code == 1, text
    assert "is full" in text
    assert "Traceback" not in text
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    assert commands.run(small_disk, *begin_or_resume(small_disk, photos)) == 0, log.read_text()
    assert result(small_disk) == result(whole)
    assert left_over(small_disk) == []
