"""Whose pictures are best after the same time of training?

    python benchmarks/quality.py train NAME [--minutes 20] [--cores 2]    # burgess, pytorch-vae, pythae or ours

Everybody trains from nothing on the training and test pictures of Oxford 102 Flowers at 64 px with our own loop, on
one core for cores × minutes of processor time: what neighbours on the machine are doing then matters little.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("BETABLOOM_TEST_DATA", ROOT.parent / "shared" / "data")) / "flowers-102"
RUNS = ROOT / "runs" / "quality"


def train(name: str, seconds: float) -> None:
    """Train a recipe for so many seconds of processor time; the model goes to runs/quality/NAME."""
    from peers import RECIPES

    import betabloom

    last = [0.0]

    def report(step: int, steps: int, text: str) -> None:
        if time.monotonic() - last[0] > 30:
            last[0] = time.monotonic()
            print(f"{step}/{steps} {text}", file=sys.stderr, flush=True)

    settings = RECIPES.get(name, {})
    with mock.patch("betabloom.train.time.monotonic", time.process_time):
        betabloom.fit(betabloom.prepare(DATA), out=RUNS / name, progress=report, budget=seconds, **settings)


def main() -> None:
    options = argparse.ArgumentParser(description="Compare recipes after the same time of training.")
    options.add_argument("what", choices=["train"])
    options.add_argument("name")
    options.add_argument("--minutes", type=float, default=20)
    options.add_argument("--cores", type=int, default=2)
    given = options.parse_args()
    train(given.name, 60 * given.minutes * given.cores)


if __name__ == "__main__":
    main()
