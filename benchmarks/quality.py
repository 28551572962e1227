"""Whose pictures are best after the same time of training?

    python benchmarks/quality.py train NAME [--minutes 20] [--cores 2]    # burgess, disent, pytorch-vae, pythae or ours
    python benchmarks/quality.py table [NAME …] [-n 5000] [--model DIR …]

Everybody trains from nothing on the training and test pictures of Oxford 102 Flowers at 64 px with our own loop, on
one core for cores × minutes of processor time: what neighbours on the machine are doing then matters little. The time
contains the samplers. `table` draws n pictures of each with its published sampler (ours: the default) and compares them
with the training pictures by their detail (band, combs, checkerboard, speckles) and by three feature networks, which no
recipe was trained with (reconstructions and pictures from the prior by the first only). What was measured of other
models, and by other features, stays in the table. Needs the extra `metrics`, and the official layout of the data set in
$BETABLOOM_TEST_DATA/flowers-102 or ../shared/data/flowers-102. Models lie in runs/quality/NAME; the table goes to
benchmarks/results/quality.json too.

Other pictures: `--data flower-photos --size 128 --preset flowers128`, a folder beside flowers-102, or `--data drawn`.
Their models lie in runs/quality-DATA/NAME, their table in benchmarks/results/quality-DATA.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from peers import RECIPES

import betabloom
from betabloom import metrics
from betabloom.data.store.cache import cache_folder
from betabloom.metrics.extractors import cached_features
from betabloom.samplers.mixture import fit_mixture
from betabloom.vae import inference

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("BETABLOOM_TEST_DATA", ROOT.parent / "shared" / "data"))
OXFORD = "flowers-102"
FIRST = "lite0"  # the features by which reconstructions and pictures from the prior are measured too


def opened(data: str, size: int) -> Any:
    """The prepared pictures."""
    return betabloom.prepare(DATA / data if (DATA / data).is_dir() else data, size)


def place(data: str) -> str:
    """What the runs and the table of these pictures are called."""
    return "quality" if data == OXFORD else f"quality-{data.split(':')[0]}"


def train(name: str, seconds: float, given: argparse.Namespace) -> None:
    """Train a recipe for so many seconds of processor time."""
    if name != "ours" and name not in RECIPES:
        sys.exit(f"unknown recipe {name!r}: ours, {', '.join(RECIPES)}")
    last = [0.0]

    def report(step: int, steps: int, text: str) -> None:
        if time.perf_counter() - last[0] > 30:
            last[0] = time.perf_counter()
            print(f"{step}/{steps} {text}", file=sys.stderr, flush=True)

    pictures, out = opened(given.data, given.size), ROOT / "runs" / place(given.data) / name
    settings = {"preset": given.preset} if name == "ours" else RECIPES[name]
    with mock.patch("time.monotonic", time.process_time):
        betabloom.fit(pictures, out=out, progress=report, budget=seconds, **settings)


def drawn(name: str, model: betabloom.Model, store: Any, n: int) -> np.ndarray:
    """Pictures of a model, with its published sampler."""
    if name in ("burgess", "disent", "pytorch-vae"):
        return model.generate(n, seed=1, sampler="prior")
    if name == "pythae":  # a mixture of ten Gaussians fitted to the codes
        mean, log_var = (torch.from_numpy(part) for part in model.encode(np.asarray(store.pictures[store.split()[0]])))
        codes = mean + torch.exp(0.5 * log_var) * torch.randn(mean.shape, generator=torch.Generator().manual_seed(1))
        return inference.generate(model.vae, n, 1, density=fit_mixture(codes, 10, 1))
    return model.generate(n, seed=1)


def row(name: str, path: Path, given: argparse.Namespace) -> dict[str, Any]:
    """What is measured of one model."""
    model, store, n = betabloom.load(path), opened(given.data, given.size), given.n
    rows = store.split()[0]
    known = np.asarray(store.pictures[rows])
    pictures = {"generated": drawn(name, model, store, n)}
    if FIRST in given.features and not given.generated:
        pictures["from the prior"] = model.generate(n, seed=1, sampler="prior")
        pictures["reconstructed"] = model.reconstruct(known[np.random.default_rng(1).permutation(len(known))[:n]])
    result: dict[str, Any] = {
        "sampler": model.sampler if name not in RECIPES else "published", "n": n, "seed": 1,
        "pictures seen": model.training["images_seen"], "seconds": model.training["seconds"],
    }  # fmt: skip
    spectra = [metrics.power_spectra(each) for each in (known, pictures["generated"])]
    detail = *metrics.bands(*spectra), *metrics.combs(*spectra), metrics.checkerboard(*spectra)
    for each in (*detail, metrics.speckled(pictures["generated"])):
        result[f"generated, {each.name}"] = [round(x, 5) for x in (each.value, each.low, each.high)]
    for kind in given.features:
        extractor = metrics.open_extractor(kind)
        real = cached_features(store.pictures, rows, extractor, store.fingerprint, cache_folder())
        for what, drawings in pictures.items() if kind == FIRST else [("generated", pictures["generated"])]:
            found = metrics.features(drawings, extractor)
            measures = [metrics.frechet_distance(real, found), metrics.kernel_distance(real, found)]
            if what == "generated":
                measures += metrics.precision_recall(real, found)
            for each in measures:
                result[f"{extractor.name}, {what}, {each.name}"] = [
                    round(x, 5) for x in (each.value, each.low, each.high)
                ]
    return result


def table(given: argparse.Namespace) -> None:
    """Measure, print and keep, beside what was measured of other models before."""
    models = {name: ROOT / "runs" / place(given.data) / name for name in given.names}
    models |= {Path(model).name: Path(model) for model in given.model}
    rows = {name: row(name, model, given) for name, model in models.items()}
    path = ROOT / "benchmarks" / "results" / f"{place(given.data)}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["models"] if path.exists() else {}
    found |= {name: {**found.get(name, {}), **values} for name, values in rows.items()}
    keys = dict.fromkeys(key for values in found.values() for key in values)
    for key in keys:
        cells = [values.get(key, "") for values in found.values()]
        texts = [
            f"{cell[0]:.4g} [{cell[1]:.4g}, {cell[2]:.4g}]" if isinstance(cell, list) else str(cell) for cell in cells
        ]
        print(f"{key:48s}", *(f"{text:>28s}" for text in texts))
    machine = {"system": platform.system(), "machine": platform.machine(), "torch": torch.__version__}
    kept = {
        "machine": machine,
        "command": " ".join(["python", "benchmarks/quality.py", *sys.argv[1:]]),
        "models": found,
    }
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    options = argparse.ArgumentParser(description="Compare recipes after the same time of training.")
    options.add_argument("what", choices=["train", "table"])
    options.add_argument("names", nargs="*")
    options.add_argument("--minutes", type=float, default=20)
    options.add_argument("--cores", type=int, default=2)
    options.add_argument("--model", action="append", default=[], help="another model directory to measure")
    options.add_argument("-n", type=int, default=5000)
    options.add_argument("--data", default=OXFORD, help="a folder beside flowers-102, or drawn:COUNT")
    options.add_argument("--size", type=int, default=64)
    options.add_argument("--preset", default="flowers64", help="of the recipe ours")
    options.add_argument("--generated", action="store_true", help="leave out reconstructions and the prior")
    options.add_argument("--features", nargs="+", default=["lite0", "lite1", "lite2"])
    given = options.parse_args()
    if given.what == "table":
        table(given)
    for name in given.names if given.what == "train" else []:
        train(name, 60 * given.minutes * given.cores, given)


if __name__ == "__main__":
    main()
