"""Training on a stream of shards: does it start soon, stay small, keep up, and go on quickly?

    python benchmarks/stream.py [--pictures 2000000] [--side 16] [--seconds 40] [--folder /tmp/stream]

Writes drawn shards once (noise that is easily compressed; about 250 bytes each at 16 px), then measures, each in a
process of its own: seconds until the first step, pictures a second from a stream and from memory, peak memory after a
tenth of the time and at the end, and seconds until a run that is resumed in the middle takes its first step.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring import keep, machine
from PIL import Image

PER_SHARD = 4096


def write_shards(folder: Path, pictures: int, side: int) -> None:
    """Synthetic pictures, no two of which are equal: a number, written in blocks of colour."""
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, pictures, PER_SHARD):
        path = folder / f"part-{first // PER_SHARD:05d}.tar"
        if path.exists():
            continue
        with tarfile.open(path.with_suffix(".part"), "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(first, min(first + PER_SHARD, pictures)):
                file = io.BytesIO()
                Image.fromarray(picture(number, side)).save(file, "PNG")
                info = tarfile.TarInfo(f"{number:09d}.png")
                info.size = file.tell()
                tar.addfile(info, io.BytesIO(file.getvalue()))
        path.with_suffix(".part").rename(path)


def picture(number: int, side: int) -> np.ndarray:
    """A coarse picture that tells its number."""
    digits = (number >> np.arange(0, 48, 2)) & 3
    cells = (digits.reshape(2, 4, 3) * 80 + 8).astype(np.uint8)
    return cells.repeat(side // 2, 0).repeat(side // 4, 1)


def settings(seconds: float) -> dict[str, Any]:
    return {"family": "conv", "widths": "16,32", "latents": 16, "batch": 128, "budget": seconds, "device": "cpu",
            "validations": 1}  # fmt: skip


def child(kind: str, folder: Path, side: int, seconds: float, out: Path) -> None:
    """Train, and print what was seen."""
    begun = time.monotonic()
    from betabloom import data
    from betabloom.config import Config
    from betabloom.data.store.store import Store
    from betabloom.training import loop

    config = Config.preset("tiny", height=side, width=side, **settings(seconds))
    pipeline = data.Pipeline.named("square", (side, side))
    if kind == "memory":
        pictures: Any = Store.from_array(np.stack([picture(i, side) for i in range(50_000)]), pipeline=pipeline)
    else:
        pictures = data.Streamed(data.open_stream(f"{folder}/part-*.tar"), pipeline)
    opened, seen = time.monotonic(), []

    def note(step: int, *_: object) -> None:
        seen.append((time.monotonic(), step, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10))

    if kind == "resumed":
        from betabloom.training.resume import changed_config

        config = changed_config(out, {"budget": 1e6})
    stopped = time.monotonic() + seconds
    from betabloom.errors import BetabloomError

    try:
        config = config.replace({"budget": 1e6})  # the clock below ends it
        loop.train(pictures, config, out, kind == "resumed", note, stop=lambda: time.monotonic() > stopped)
    except BetabloomError as error:
        print(error, file=sys.stderr)
    steady = [each for each in seen if each[0] > seen[0][0] + 0.2 * (seen[-1][0] - seen[0][0])]
    rate = 128 * (steady[-1][1] - steady[0][1]) / (steady[-1][0] - steady[0][0])
    print(json.dumps({
        "opened after": opened - begun, "first step after": seen[0][0] - begun, "pictures/s": rate,
        "steps": seen[-1][1], "MB at a tenth": seen[len(seen) // 10][2], "MB at the end": seen[-1][2],
    }))  # fmt: skip


def measured(kind: str, given: argparse.Namespace, out: Path) -> dict[str, Any]:
    words = [sys.executable, __file__, "--child", kind, "--folder", str(given.folder), "--side", str(given.side),
             "--seconds", str(given.seconds), "--out", str(out)]  # fmt: skip
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    options = argparse.ArgumentParser(description="Train on a stream of synthetic pictures.")
    options.add_argument("--pictures", type=int, default=2_000_000)
    options.add_argument("--side", type=int, default=16)
    options.add_argument("--seconds", type=float, default=40)
    options.add_argument("--folder", type=Path, default=Path("/tmp/betabloom-stream"))
    options.add_argument("--child", default="")
    options.add_argument("--out", type=Path)
    options.add_argument("--quick", action="store_true", help="to see that it works")
    given = options.parse_args()
    if given.child:
        child(given.child, given.folder, given.side, given.seconds, given.out)
        return
    begun = time.monotonic()
    write_shards(given.folder, given.pictures, given.side)
    result: dict[str, Any] = {"machine": machine(), "pictures": given.pictures, "side": given.side}
    result["seconds of writing"] = time.monotonic() - begun
    run = given.folder / f"run-{os.getpid()}"
    for kind, out in (("stream", run), ("memory", run.with_name(f"{run.name}-memory")), ("resumed", run)):
        result[kind] = measured(kind, given, out)
        print(kind, result[kind])
    result["stream of memory"] = result["stream"]["pictures/s"] / result["memory"]["pictures/s"]
    keep("stream", result, given.quick)


if __name__ == "__main__":
    main()
