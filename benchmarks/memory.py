"""How much memory does training take at most?

    python benchmarks/memory.py [--steps 40] [--rounds 3] [--quick]

Peak of resident memory (VmHWM of Linux) of a process of its own that imports, opens its pictures, trains some steps,
validates, saves a checkpoint and makes a model: of the preset `flowers64` on all Oxford flowers, and of the preset
`seed` beside the seed's network in a plain loop (fp32, Adam, pictures as floats in memory) on the same 1,020 pictures
of 136 px in batches of 32. What imports take is measured too. All pictures are prepared before.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from measuring import FLOWERS, in_process, keep, machine

WANTED = {"flowers64, GB": 1.5, "seed, share of the plain loop": 0.6}
KINDS = ("imports", "flowers64", "seed", "plain")
SEED_PICTURES, HELD_OUT = 1020, 64
SPLIT = {"split": "auto", "holdout": HELD_OUT / (SEED_PICTURES + HELD_OUT)}


def main() -> None:
    options = argparse.ArgumentParser(description="Measure the peak of memory that training takes.")
    options.add_argument("--steps", type=int, default=40)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--quick", action="store_true", help="three steps, one round: to see that it works")
    options.add_argument("--inner", choices=KINDS, help=argparse.SUPPRESS)
    options.add_argument("--few", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    steps, rounds = (3, 1) if given.quick else (given.steps, given.rounds)
    if given.inner:
        trained(given.inner, given.steps, given.few)
        print(json.dumps(peak()))
        return
    if not FLOWERS.is_dir() or not Path("/proc/self/status").exists():
        sys.exit(f"this needs Linux, and {FLOWERS}: set BETABLOOM_TEST_DATA to the folder that holds flowers-102")
    pictures(64), pictures(136)  # prepared here, so that no round has to
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        chosen = few(Path(folder))
        for _ in range(rounds):
            for kind in KINDS:
                count = min(steps, 12 if kind in ("seed", "plain") else steps)
                found[kind].append(in_process("memory.py", "--inner", kind, "--steps", count, "--few", chosen))
    shares = [ours / plain for ours, plain in zip(found["seed"], found["plain"], strict=True)]
    result: dict[str, Any] = {
        "machine": machine(), "rounds": rounds, "steps": steps,
        "peak of memory, GB": {kind: statistics.median(of) for kind, of in found.items()},
        "seed, share of the plain loop": statistics.median(shares), "wanted, at most": WANTED, "runs": [found],
    }  # fmt: skip
    keep("memory", result, given.quick)


def peak() -> float:
    """Peak of resident memory of this process, in GB (10⁹ bytes)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e9


def pictures(side: int) -> Any:
    """All Oxford flowers at a size; cropped only, as preparation is not the question here."""
    import betabloom

    return betabloom.prepare(FLOWERS, size=side)


def few(cache: Path) -> Path:
    """Prepare as many pictures as the plain loop keeps, and some to hold out; return their store."""
    import betabloom

    chosen = betabloom.data.Arrays(pictures(136).pictures[: SEED_PICTURES + HELD_OUT])
    betabloom.data.prepare(chosen, betabloom.data.Pipeline.named("square", (136, 136)), cache=cache, workers=1)
    return next((cache / "stores").iterdir())


def trained(kind: str, steps: int, few: Path) -> None:
    """Train one of them for so many steps."""
    import torch

    import betabloom

    if kind == "plain":
        import plain

        x = torch.from_numpy(pictures(136).pictures[:SEED_PICTURES]).permute(0, 3, 1, 2).float().div_(255)
        plain.fit(plain.Seed(), x, 1, 32, 3e-4, steps)
    elif kind != "imports":
        from betabloom.data.store.store import open_store

        store, settings = (open_store(few), SPLIT) if kind == "seed" else (pictures(64), {})
        with tempfile.TemporaryDirectory() as folder:
            betabloom.fit(store, kind, Path(folder) / "run", lambda *_: None, steps=steps, validations=1, **settings)


if __name__ == "__main__":
    main()
