"""How does the cost of a training step grow with pictures, network, batch and data?

    python benchmarks/scaling.py [--rounds 3] [--steps 8] [--processes] [--quick]

Each setting differs from the preset `flowers64` in one thing; processor time of a step per picture, one thread, in
turn, round after round. Noise for pictures: arithmetic does not look at what they show. The last table measures what
the size of the data costs (a step from a store in memory and one from a file that is mapped). With --processes it is
what a second process brings, by the clock, which needs an idle machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from measuring import keep, machine

if TYPE_CHECKING:
    from betabloom.training.state import Run

TRIALS: dict[str, dict[str, dict[str, Any]]] = {
    "side of the pictures": {str(side): {"side": side} for side in (32, 64, 96, 128, 256)},
    "widths": {text: {"widths": text} for text in ("8,16,32,64", "16,32,64,128", "16,32,64,128,256", "32,64,128,256")},
    "latents": {str(latents): {"latents": latents} for latents in (32, 256, 1024)},
    "pictures in a step": {str(batch): {"batch": batch} for batch in (8, 16, 32, 64, 128)},
    "optimiser": {name: {"optimiser": name} for name in ("adam", "muon")},
    "precision": {name: {"precision": name} for name in ("fp32", "bf16")},
    "pictures to learn from": {f"{count:,}": {"count": count} for count in (512, 8192, 65536)},
    "pictures read from": {"memory": {}, "a mapped file": {"mapped": True}},
}


def main() -> None:
    options = argparse.ArgumentParser(description="Measure how the cost of a picture grows.")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--steps", type=int, default=8, help="steps of each setting in a round")
    options.add_argument("--quick", action="store_true", help="one round of one step: to see that it works")
    options.add_argument("--processes", action="store_true", help="what a second process brings, and nothing else")
    given = options.parse_args()
    rounds, steps = (1, 1) if given.quick else (given.rounds, given.steps)
    result: dict[str, Any] = {"machine": machine(), "rounds": rounds, "steps": steps, "threads": 1}
    with tempfile.TemporaryDirectory() as folder:
        if given.processes:
            result["processes"] = by_processes(rounds, 10 * steps if given.quick else max(steps, 40), Path(folder))
        else:
            for name, trials in TRIALS.items():
                result[name] = compared(trials, rounds, steps, Path(folder))
                print(name, result[name], flush=True)
    keep("scaling-processes" if given.processes else "scaling", result, given.quick)


def by_processes(rounds: int, steps: int, folder: Path) -> dict[str, float]:
    """Pictures a second by the clock that one and two processes learn together, of 64 in a step, one thread each."""
    rates: dict[str, list[float]] = {"1": [], "2": []}
    for number in range(rounds):
        for processes in rates:
            out = folder / f"run-{processes}-{number}"
            words = [sys.executable, "-m", "betabloom", "train", "drawn:512", "--steps", str(steps), "--device", "cpu"]
            words += ["--set", "batch=64", "--set", "validations=1", "--devices", processes, "-o", str(out)]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
            times = {line["step"]: line["seconds"] for line in lines if line["split"] == "train"}
            rates[processes].append(64 * (max(times) - 1) / (times[max(times)] - times[1]))
    return {f"pictures/s of {name}": statistics.median(of) for name, of in rates.items()}


def compared(trials: dict[str, dict[str, Any]], rounds: int, steps: int, folder: Path) -> dict[str, Any]:
    """Milliseconds of processor time per picture, and the ratio to the trial before."""
    runs = {name: made(folder, **trial) for name, trial in trials.items()}
    took: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        several(run, 1 if steps == 1 else 2)
    for _ in range(rounds):
        for name, run in runs.items():
            begun = time.process_time()
            several(run, steps)
            took[name].append(1e3 * (time.process_time() - begun) / steps / run.task.batch)
    ratios = {
        f"{name} against {before}": statistics.median(a / b for a, b in zip(took[name], took[before], strict=True))
        for before, name in zip(took, list(took)[1:], strict=False)
    }
    return {"milliseconds of a picture": {name: statistics.median(of) for name, of in took.items()}, "times": ratios}


def made(folder: Path, side: int = 64, count: int = 2048, mapped: bool = False, **settings: Any) -> Run:
    """A run on noise."""
    from betabloom.config import Config
    from betabloom.data import Arrays, Pipeline, prepare
    from betabloom.training import setup

    noise = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
    store = prepare(Arrays(noise), Pipeline.named("square", (side, side)), cache=folder, workers=1)
    made = setup.set_up(setup.make_task(store, Config.preset("flowers64", **{"steps": 10**6, **settings}), None))
    if mapped:
        made = dataclasses.replace(made, task=dataclasses.replace(made.task, pictures=store.pictures))
    return made


def several(run: Run, steps: int) -> None:
    """Take some steps."""
    from betabloom.training import step

    for _ in range(steps):
        step.train_step(run)
        run.state.step += 1
        run.state.plan.advance(run.state.step, 0)


if __name__ == "__main__":
    main()
