"""Make the golden model of the current format version, once, before it is released: `python tests/golden/make.py`.

A golden folder is never made again: it stands for all models of its version that people have. It holds a tiny model
directory and, in pictures.npz, what it generated and reconstructed.

`run-version-1` is a run that an earlier version interrupted at step 10 of 20, made by `interrupted_run` with its names:
its checkpoint and settings, and in expected.npz what the uninterrupted run draws.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import torch

from betabloom import data
from betabloom.config import Config
from betabloom.model.directory import FORMAT_VERSION
from betabloom.training import loop

SETTINGS = {
    "height": 16, "width": 16, "family": "residual", "widths": "4,6", "latents": 4, "batch": 16, "steps": 150,
    "warmup_steps": 4, "validations": 1, "ema": 0.9, "device": "cpu", "precision": "fp32", "learning_rate": 3e-3,
}  # fmt: skip


RUN_SETTINGS = {**SETTINGS, "family": "conv", "widths": "4,8", "steps": 20, "validations": 4, "seed": 5}


def interrupted_run(folder: Path) -> None:
    """Train half of a run, and keep what the whole of it draws."""
    store = data.prepare(data.open_source("drawn:60"), data.Pipeline.named("square", (16, 16)))
    config = Config.preset("tiny", **RUN_SETTINGS, source="drawn:60")
    whole, steps = loop.train(store, config), iter(range(10))
    with contextlib.suppress(loop.Interrupted):
        loop.train(store, config, folder, stop=lambda: next(steps, None) is None)
    generated, reconstructed = whole.generate(8, seed=7), whole.reconstruct(store.pictures[:4])
    np.savez_compressed(folder / "expected.npz", generated=generated, reconstructed=reconstructed)


def main() -> None:
    """Train on drawn flowers, save, and keep what the model draws."""
    torch.set_num_threads(1)
    folder = Path(__file__).parent / f"version-{FORMAT_VERSION}"
    if folder.exists():
        raise SystemExit(f"{folder} exists: models of that version have to load for ever.")
    source = data.Drawn(80, seed=3, size=32)
    pipeline = data.Pipeline.named("square", (16, 16))
    originals = np.stack([pipeline(source.read(index)) for index in range(len(source))])
    model = loop.train(data.Store.from_array(originals, pipeline=pipeline), Config.preset("tiny", **SETTINGS))
    model.save(folder)
    mean, log_var = model.encode(originals[:4])
    np.savez_compressed(
        folder / "pictures.npz",
        originals=originals[:4],
        generated=model.generate(8, seed=7),
        from_prior=model.generate(4, seed=7, sampler="prior"),
        reconstructed=model.reconstruct(originals[:4]),
        mean=mean,
        log_var=log_var,
    )


if __name__ == "__main__":
    main()
