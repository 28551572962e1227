"""How fast are pictures prepared, opened again and handed to training?

    python benchmarks/data.py [--rounds 5] [--quick]

Needs the photos of 227 px (`flower-photos`) and Flowers102 (`flowers-102`) in $BETABLOOM_TEST_DATA or ../shared/data.
Everything that is compared runs in turn in one process, round after round; medians of the rounds, and of the ratios
within a round. "per core" is processor time, user and system, which neighbours on the machine disturb less than the
clock. Writes benchmarks/results/data.json and prints the same as a table.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from measuring import FLOWERS, PHOTOS, in_turn, keep, machine, ratio
from PIL import Image

from betabloom.data import Folder, Pipeline, prepare
from betabloom.data.store.pieces import piece_size, prepare_piece

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = (32, 64)


def main() -> None:
    options = argparse.ArgumentParser(description="Measure how fast pictures are prepared and read.")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--quick", action="store_true", help="every tenth picture, two rounds: to see that it works")
    given = options.parse_args()
    rounds, step = (2, 10) if given.quick else (given.rounds, 1)
    if not PHOTOS.is_dir():
        sys.exit(f"no photos in {PHOTOS}: set BETABLOOM_TEST_DATA to the folder that holds flower-photos")
    result: dict[str, Any] = {"machine": machine(), "rounds": rounds}
    result["one picture"] = {f"{size} px": one_picture(size, rounds, 4 * step) for size in SIZES}
    result["whole folder"] = {"square": whole_folder("square", rounds, step)}
    result["whole folder"]["enhance"] = whole_folder("enhance", max(2, rounds // 2), 4 * step)
    result["second start"] = second_start(rounds) if FLOWERS.is_dir() else None
    result["batches"] = batches(4 * rounds)
    keep("data", result, given.quick)


def plainly(path: Path, size: int) -> np.ndarray:
    """What anyone would write with Pillow: decode, cut out the square in the middle, resize bicubically."""
    image = Image.open(path).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))


class Some(Folder):
    """Every so many pictures of a folder."""

    def __init__(self, path: Path, step: int) -> None:
        super().__init__(path)
        self.names, self._stats = self.names[::step], self._stats[::step]
        self.labels = None if self.labels is None else self.labels[::step]


def one_picture(size: int, rounds: int, step: int) -> dict[str, Any]:
    """Processor time per picture, plainly and as `prepare` does it (in pieces, with its hash); how far they differ."""
    source, square, enhance = (
        Some(PHOTOS, step),
        *(Pipeline.named(name, (size, size)) for name in ("square", "enhance")),
    )
    paths = [source.path / name for name in source.names]

    def pieces(pipeline: Pipeline) -> list[np.ndarray]:
        several = piece_size(pipeline)
        starts = range(0, len(paths), several)
        return [prepare_piece(source, pipeline, range(i, min(i + several, len(paths))))[1] for i in starts]

    took = in_turn(
        rounds,
        {
            "plain Pillow": lambda: [plainly(path, size) for path in paths],
            "square": lambda: pieces(square),
            "enhance": lambda: pieces(enhance),
        },
        time.process_time,
    )
    pairs = zip(paths, np.concatenate(pieces(square)), strict=True)
    different = [np.abs(plainly(path, size).astype(int) - prepared).mean() for path, prepared in pairs]
    return {
        "pictures": len(paths),
        "milliseconds per core": {name: 1e3 * statistics.median(of) / len(paths) for name, of in took.items()},
        "square, times as fast": ratio(took["plain Pillow"], took["square"]),
        "mean difference in grey levels": float(np.mean(different)),
    }


def whole_folder(name: str, rounds: int, step: int) -> dict[str, Any]:
    """Seconds for `prepare` with more and more workers: everything, from an empty cache to a store on the disk."""
    source, pipeline = Some(PHOTOS, step), Pipeline.named(name, (64, 64))
    workers = [n for n in (1, 2, 4, 8, 16) if n <= (os.cpu_count() or 1)]

    def run(count: int) -> Callable[[], object]:
        def prepared() -> None:
            with tempfile.TemporaryDirectory() as cache:
                prepare(source, pipeline, cache=Path(cache), workers=count)

        return prepared

    runs: dict[str, Callable[[], object]] = {str(n): run(n) for n in workers}
    if name == "square":
        runs["plain Pillow"] = lambda: [plainly(source.path / each, 64) for each in source.names]
    took = in_turn(rounds, runs, time.perf_counter)
    return {
        "pictures": len(source),
        "seconds by workers": {count: statistics.median(of) for count, of in took.items()},
        "times as fast as one": {str(n): ratio(took["1"], took[str(n)]) for n in workers[1:]},
    }


SECOND = """
import sys, time
start = time.perf_counter()
from betabloom import data
imported = time.perf_counter()
store = data.prepare(data.open_source(sys.argv[1]), data.Pipeline.named("square", (64, 64)))
opened = time.perf_counter()
store.split()
print(len(store), imported - start, opened - imported, time.perf_counter() - start)
"""


def second_start(rounds: int) -> dict[str, Any]:
    """Seconds in a fresh process until a ready store is open and split: imports, then listing and opening."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "BETABLOOM_CACHE": cache}
        command = [sys.executable, "-c", SECOND, str(FLOWERS)]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        lines = [
            subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.split()
            for _ in range(rounds)
        ]
    imports, opening, whole = (statistics.median(float(line[i]) for line in lines) for i in (1, 2, 3))
    return {"pictures": int(lines[0][0]), "imports": imports, "listing and opening": opening, "together": whole}


def batches(rounds: int) -> dict[str, Any]:
    """A batch in random order from the memory-mapped store to floats, and a training step of the default model."""
    import torch

    from betabloom.config import Config
    from betabloom.training.setup import BATCH
    from betabloom.vae.build import make_vae

    config = Config.preset("flowers64")
    size, shape = BATCH, (config.data.height, config.data.width)
    model = make_vae(config).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(model.parameters())
    with tempfile.TemporaryDirectory() as cache:
        pictures = prepare(Folder(PHOTOS), Pipeline.named("square", shape), cache=Path(cache)).pictures
        rng = np.random.default_rng(0)

        def batch() -> torch.Tensor:
            x = torch.from_numpy(pictures[rng.integers(0, len(pictures), size)]).permute(0, 3, 1, 2)
            return x.float().div_(255).contiguous(memory_format=torch.channels_last)

        x = batch()

        def step() -> None:
            terms = model(x, torch.randn(size, model.latents))
            (terms.distortion.mean() + terms.rate.mean()).backward()
            optimiser.step()
            optimiser.zero_grad()

        step()
        took = in_turn(rounds, {"batch": batch, "step": step}, time.perf_counter)
    return {
        "size": size,
        "model": f"{config.model.family}, {sum(p.numel() for p in model.parameters()):,} parameters",
        "milliseconds": {name: 1e3 * statistics.median(of) for name, of in took.items()},
        "share of a step": ratio(took["batch"], took["step"]),
    }


if __name__ == "__main__":
    main()
