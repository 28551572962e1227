"""How fast are pictures generated, and what do very many of them take?

    python benchmarks/generate.py [--rounds 9] [--many 100000] [--peers .venv-peers/bin/python] [--quick]

First, pictures per CPU-second at batch 64: from noise to pictures with the same networks in our paths, torch
(`Model.generate`, plainly and with `precision="bf16"`), NumPy (`NumpyModel.generate`, what the command line takes) and
pythae's sampler. Each run is a process of its own, in turn with the others. Then the command line: MANY pictures of the
model that is bundled to a folder, and a tenth and a hundredth as many, with the most memory that each process held;
and a tenth with `--precision bf16`. Needs 1 GB of disk for 100,000.
Keeps benchmarks/results/generate.json.
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
from typing import Any

from measuring import PEERS, in_process, keep, machine, ratio

NETWORKS = {"burgess": ("bf16", "torch", "numpy", "pythae"), "celeba": ("bf16", "torch", "pythae")}
BATCHES = {"burgess": 40, "celeba": 4}


def main() -> None:
    options = argparse.ArgumentParser(description="Measure how fast pictures are generated.")
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--many", type=int, default=100_000, help="pictures that are written")
    options.add_argument("--peers", type=Path, default=PEERS, help="a Python that has pythae: make bench-peers")
    options.add_argument("--quick", action="store_true", help="two rounds, few pictures, to see that it works")
    given = options.parse_args()
    rounds, many = (2, 2000) if given.quick else (given.rounds, given.many)
    if not given.peers.exists():
        print(f"no {given.peers}: without pythae. Type: make bench-peers", file=sys.stderr)
    result: dict[str, Any] = {"machine": machine(), "rounds": rounds, "batch": 64, "threads": 1}
    result["pictures per CPU-second"] = {
        network: speeds(network, rounds, given.peers, given.quick) for network in NETWORKS
    }
    result["written to a folder"] = {
        f"{n:,} pictures{' in ' * bool(how) + how}": written(n, how)
        for n, how in ((many // 100, ""), (many // 10, ""), (many // 10, "bf16"), (many, ""))
    }
    keep("generate", result, given.quick)


def speeds(network: str, rounds: int, peers: Path, quick: bool) -> dict[str, Any]:
    """Medians of the rounds, and of the ratios within a round."""
    sides = [side for side in NETWORKS[network] if side != "pythae" or peers.exists()]
    batches = max(1, BATCHES[network] // (4 if quick else 1))
    found: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            python = peers if side == "pythae" else Path(sys.executable)
            os.environ["OPENBLAS_NUM_THREADS"] = "1"
            run = in_process("generators.py", "speed", side, network, batches, python=python)
            found[side].append(run["per CPU-second"])
    result: dict[str, Any] = {side: statistics.median(of) for side, of in found.items()}
    for side in sides:
        if side != "pythae" and "pythae" in found:
            result[f"{side} / pythae"] = ratio(found[side], found["pythae"])
    return {**result, "single runs": [found]}


def written(n: int, precision: str) -> dict[str, float]:
    """One run of the command line that writes n files."""
    with tempfile.TemporaryDirectory() as place:
        start = time.perf_counter()
        command = [sys.executable, "-c", "from betabloom.cli.main import main; main()", "generate", "-n", str(n)]
        command += ["--precision", precision] if precision else []
        process = subprocess.Popen([*command, "-o", "each"], cwd=place, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        files = sum(1 for _ in os.scandir(Path(place) / "each"))
        if process.returncode or files != n:
            sys.exit(f"{files} files of {n} were written")
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": seconds,
        "CPU-seconds": used.ru_utime + used.ru_stime,
        "pictures per second": n / seconds,
        "peak memory, MB": used.ru_maxrss * unit / 1e6,
    }


if __name__ == "__main__":
    main()
