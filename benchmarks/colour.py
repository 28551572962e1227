"""How often does a picture have the colour that was asked for?

    python benchmarks/colour.py MODEL [-n 100] [--seed 0] [--out benchmarks/results/colour.json]

For each of ten named colours, `generate --palette COLOUR` is compared with drawing freely: the share of n pictures
whose centre has that colour by its mean hue (and chroma and lightness; bounds: `betabloom.imaging.colour.NAMED`), with
Wilson's 95 % interval, and how far codes were moved, in standard deviations. Prints a table, also for other targets.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import betabloom
from betabloom.generate import colours
from betabloom.generate.code_search import search

if TYPE_CHECKING:
    from betabloom.generate.colours import ColourTarget
    from betabloom.model.model import Model

ROOT = Path(__file__).parents[1]
TEN = ("red", "orange", "gold", "green", "cyan", "blue", "violet", "magenta", "pink", "white")


def main() -> None:
    options = argparse.ArgumentParser(description="Measure how often pictures have the colours that were asked for.")
    options.add_argument("model")
    options.add_argument("-n", type=int, default=100, help="pictures for each target")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "colour.json")
    given = options.parse_args()
    model = betabloom.load(given.model)
    free = model.generate(given.n, given.seed)
    picture = colours.hex_colours(model.generate(1, given.seed + 1)[0])
    targets = {f"palette {name}": colours.palette(name)[0] for name in TEN}
    targets |= {f"palette {both}": colours.palette(both)[0] for both in ("violet+gold", "white+green", "red+orange")}
    targets |= {f"hue {turns}": [colours.of_hue(turns)] for turns in (0.1, 0.4, 0.6, 0.8)}
    targets |= {f"like {picture}": [colours.like(picture)], "colourful": [colours.colourful()]}
    targets |= {f"avoid {name}": colours.avoid(name) for name in ("green", "brown", "red")}
    print(f"{'target':<28}{'free':>7}{'asked':>8}   95 % interval   moved   seconds a picture")
    rows = {name: row(model, name, each, free, given.seed) for name, each in targets.items()}
    ten = [rows[f"palette {name}"]["asked"] for name in TEN]
    print(f"\nten named colours: {np.mean(ten):.1%} of {given.n * len(TEN)}, the worst {min(ten):.1%}")
    result = {
        "machine": machine(), "model": model.fingerprint, "trained": model.training.get("seconds"), "n": given.n,
        "seed": given.seed, "ten colours": {"mean": float(np.mean(ten)), "worst": min(ten)}, "targets": rows,
    }  # fmt: skip
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def row(model: Model, name: str, targets: list[ColourTarget], free: np.ndarray, seed: int) -> dict[str, Any]:
    """Measure one target and print its line."""
    begun = time.perf_counter()
    found = search(model.vae, [targets], len(free), seed, density=model.density())
    seconds = (time.perf_counter() - begun) / len(free)
    drawn = float(np.all([each.satisfied(free) for each in targets], 0).mean())
    asked, moved = float(found.satisfied.mean()), float(found.moved.mean())
    low, high = wilson(int(found.satisfied.sum()), len(free))
    print(f"{name:<28}{drawn:>7.0%}{asked:>8.0%}   {low:>5.1%} … {high:>6.1%}{moved:>8.2f}{seconds:>8.2f}", flush=True)
    return {"free": drawn, "asked": asked, "interval": [low, high], "moved": moved, "seconds": seconds}


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval (1927) for a share of hits in n."""
    share, scale = hits / n, 1 + z * z / n
    middle, half = share + z * z / (2 * n), z * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def machine() -> dict[str, Any]:
    """What the seconds depend on."""
    packages = {name: version(name) for name in ("betabloom", "numpy", "torch")}
    return {
        "processor": platform.processor() or platform.machine(), "cores": os.cpu_count(),
        "threads": torch.get_num_threads(), "python": platform.python_version(), **packages,
        "command": "python " + " ".join(["benchmarks/colour.py", *sys.argv[1:]]),
    }  # fmt: skip


if __name__ == "__main__":
    main()
