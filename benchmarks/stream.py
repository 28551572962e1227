"""Training on a stream of shards: does it start soon, stay small, keep up, and go on quickly?

    python benchmarks/stream.py [--pictures 2000000] [--side 16] [--seconds 15] [--rounds 2] [--folder /tmp/stream]

Writes drawn shards once (coarse pictures that tell their number), then measures each in a process of its own, in turn,
round after round: seconds until the first step, pictures a second from a stream and from memory, resident memory over
the run, and seconds until a run that is resumed in the middle takes its first step; then the processor time of steps of
both in turn in one process, which says what a stream costs also on a busy machine. Two networks: the default one,
`flowers64`, on pictures enlarged to 64×64; and `tiny` on 16×16, which takes so little time that reading counts most.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from measuring import keep, machine

PER_SHARD = 4096


def write_shards(folder: Path, pictures: int, side: int) -> None:
    """Synthetic pictures, no two of which are equal: a number, written in blocks of colour."""
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, pictures, PER_SHARD):
        path = folder / f"part-{first // PER_SHARD:05d}.tar"
        if path.exists():
            continue
        numbers = range(first, min(first + PER_SHARD, pictures))
        with path.with_suffix(".part").open("wb") as tar:
            for number, pixels in zip(numbers, drawn(np.array(numbers), side), strict=True):
                data = png(pixels)
                info = tarfile.TarInfo(f"{number:09d}.png")
                info.size = len(data)
                tar.write(info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512))
            tar.write(bytes(1024))
        path.with_suffix(".part").rename(path)


def drawn(numbers: np.ndarray, side: int) -> np.ndarray:
    """Coarse pictures (N, side, side, 3) that tell their numbers."""
    digits = (numbers[:, None] >> np.arange(0, 48, 2)) & 3
    cells = (digits.reshape(-1, 2, 4, 3) * 80 + 8).astype(np.uint8)
    return cells.repeat(side // 2, 1).repeat(side // 4, 2)


def png(pixels: np.ndarray) -> bytes:
    """A PNG without filters: several times quicker than a library that looks for the best ones."""
    side, rows = len(pixels), pixels.reshape(len(pixels), -1)
    data = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes(), 1)
    parts = (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def settings(network: str, side: int) -> dict[str, Any]:
    common = {"steps": 10**6, "device": "cpu", "validations": 1}  # processor time ends it, below
    if network == "tiny":
        return {
            **common,
            "family": "conv",
            "widths": "16,32",
            "latents": 16,
            "batch": 128,
            "height": side,
            "width": side,
        }
    return {**common, "batch": 32, "height": 64, "width": 64}


def child(kind: str, network: str, given: argparse.Namespace, out: Path) -> None:
    """Train, and print what was seen."""
    begun = time.monotonic()
    from betabloom import data
    from betabloom.config import Config
    from betabloom.data.store.store import Store
    from betabloom.errors import BetabloomError
    from betabloom.training import loop
    from betabloom.training.resume import changed_config

    config = Config.preset(network, **settings(network, given.side))
    if kind == "resumed":
        config = changed_config(out, {})
    size, batch = (config.data.height, config.data.width), config.train.batch
    pipeline = data.Pipeline.named("square", size)
    if kind == "memory":
        pixels = drawn(np.arange(50_000 if network == "tiny" else 8_000), size[0])
        pictures: Any = Store.from_array(pixels, pipeline=pipeline)
    else:
        pictures = data.Streamed(data.open_stream(f"{given.folder}/part-*.tar"), pipeline)
    opened, seen = time.monotonic(), []

    def note(step: int, *_: object) -> None:
        seen.append((time.monotonic(), time.process_time(), step, resident()))

    stopped = time.process_time() + given.seconds
    try:
        loop.train(pictures, config, out, kind == "resumed", note, stop=lambda: time.process_time() > stopped)
    except BetabloomError as error:
        print(error, file=sys.stderr)
    first, last = seen[len(seen) // 5], seen[-1]
    count = batch * (last[2] - first[2])
    memory = [each[3] for each in seen]
    print(json.dumps({
        "opened after": opened - begun, "first step after": seen[0][0] - begun,
        "first step after, processor time": seen[0][1], "steps": last[2],
        "pictures/s": count / (last[0] - first[0]), "pictures/s of processor time": count / (last[1] - first[1]),
        "MB at a tenth, halves, the end": [memory[len(memory) // 10], memory[len(memory) // 2], memory[-1]],
    }))  # fmt: skip


def paired(network: str, given: argparse.Namespace) -> None:
    """Print the processor time of a picture from a stream and from memory: some steps of each in turn."""
    from betabloom import data
    from betabloom.config import Config
    from betabloom.data.store.store import Store
    from betabloom.training import setup, step

    config = Config.preset(network, **settings(network, given.side))
    size, batch = (config.data.height, config.data.width), config.train.batch
    pipeline = data.Pipeline.named("square", size)
    streamed = data.Streamed(data.open_stream(f"{given.folder}/part-*.tar"), pipeline)
    kept: Any = Store.from_array(drawn(np.arange(8_000), size[0]), pipeline=pipeline)
    runs = {
        kind: setup.set_up(setup.make_task(of, config, None)) for kind, of in (("stream", streamed), ("memory", kept))
    }
    took: dict[str, list[float]] = {kind: [] for kind in runs}
    steps = 1024 // batch if network == "tiny" else 4
    for number in range(given.pairs + 1):
        for kind, run in runs.items():
            begun = time.process_time()
            for _ in range(steps):
                step.train_step(run)
                run.state.step += 1
                run.state.plan.advance(run.state.step, 0)
            time.sleep(1)  # what is read ahead is done, and counted here
            if number:
                took[kind].append(1e3 * (time.process_time() - begun) / steps / batch)
    ratios = [memory / stream for stream, memory in zip(took["stream"], took["memory"], strict=True)]
    print(json.dumps({
        **{f"milliseconds of a picture, {kind}": statistics.median(of) for kind, of in took.items()},
        "pairs": given.pairs, "stream of memory, processor time": statistics.median(ratios), "ratios": ratios,
    }))  # fmt: skip


def resident() -> int:
    """Megabytes that this process has in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() >> 20


def measured(kind: str, network: str, given: argparse.Namespace, out: Path) -> dict[str, Any]:
    words = [sys.executable, __file__, "--child", kind, "--network", network, "--folder", str(given.folder),
             "--side", str(given.side), "--pairs", str(given.pairs), "--seconds", str(given.seconds),
             "--out", str(out)]  # fmt: skip
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compared(network: str, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A stream and memory in turn, then the last run of a stream resumed."""
    found: dict[str, Any] = {"stream": [], "memory": []}
    for number in range(given.rounds):
        for kind, of in found.items():
            of.append(measured(kind, network, given, folder / f"{network}-{kind}-{number}"))
            print(network, kind, of[-1], flush=True)
    ratios = [a["pictures/s"] / b["pictures/s"] for a, b in zip(found["stream"], found["memory"], strict=True)]
    found["stream of memory, by the clock"] = statistics.median(ratios)
    found["paired"] = measured("paired", network, given, folder)
    print(network, found["paired"], flush=True)
    found["resumed"] = measured("resumed", network, given, folder / f"{network}-stream-{given.rounds - 1}")
    print(network, "resumed", found["resumed"], flush=True)
    return found


def main() -> None:
    options = argparse.ArgumentParser(description="Train on a stream of synthetic pictures.")
    options.add_argument("--pictures", type=int, default=2_000_000)
    options.add_argument("--side", type=int, default=16)
    options.add_argument("--seconds", type=float, default=15, help="processor time that each run trains")
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--pairs", type=int, default=8, help="how often steps of both take turns")
    options.add_argument("--folder", type=Path, default=Path("/tmp/betabloom-stream"))
    options.add_argument("--child", default="", help=argparse.SUPPRESS)
    options.add_argument("--network", default="tiny", help=argparse.SUPPRESS)
    options.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--quick", action="store_true", help="to see that it works")
    given = options.parse_args()
    if given.child:
        if given.child == "paired":
            paired(given.network, given)
        else:
            child(given.child, given.network, given, given.out)
        return
    begun = time.monotonic()
    write_shards(given.folder, given.pictures, given.side)
    result: dict[str, Any] = {"machine": machine(), "pictures": given.pictures, "side": given.side}
    result["seconds of writing"] = time.monotonic() - begun
    with tempfile.TemporaryDirectory() as folder:
        for network in ("flowers64", "tiny"):
            result[network] = compared(network, given, Path(folder))
    keep("stream", result, given.quick)


if __name__ == "__main__":
    main()
