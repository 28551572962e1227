"""How long from typing a command to 64 pictures on the disk, with nothing in memory before?

    python benchmarks/cold_start.py [--rounds 15] [--peers .venv-peers/bin/python] [--quick]

Ours is `betabloom generate -n 64` with the bundled model, and `betabloom --help`. The peer is pythae: a
program of a few lines, as its README has them, that loads a VAE of about as many weights (strided and transposed
convolutions, 32 to 256 channels, 256 latents; saved by pythae itself), samples 64 pictures and writes one sheet. Each
run is a process of its own, by the clock; whatever is compared runs in turn. Files that are read are in the system's
memory after the first, uncounted round, and all modules are compiled then, as pip does when it installs a package.
Keeps benchmarks/results/cold_start.json.
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

from measuring import PEERS, ROOT, in_process, in_turn, keep, machine, ratio

if TYPE_CHECKING:
    from collections.abc import Callable

START = "from betabloom.cli.main import main; main()"


def main() -> None:
    options = argparse.ArgumentParser(description="Measure the time from a command to pictures.")
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--peers", type=Path, default=PEERS, help="a Python that has pythae: make bench-peers")
    options.add_argument("--quick", action="store_true", help="two rounds, to see that it works")
    given = options.parse_args()
    result: dict[str, Any] = {"machine": machine(), "rounds": 2 if given.quick else given.rounds}
    with tempfile.TemporaryDirectory() as place:
        runs = ours(Path(place))
        if given.peers.exists():
            result["peer"] = in_process("generators.py", "save", place, python=given.peers)
            runs["pythae, 64 pictures"] = pythae(Path(place), given.peers)
        else:
            print(f"no {given.peers}: without pythae. Type: make bench-peers", file=sys.stderr)
        in_turn(1, runs, time.perf_counter)
        took = in_turn(result["rounds"], runs, time.perf_counter)
    result["seconds"] = {name: statistics.median(of) for name, of in took.items()}
    result["seconds, quickest"] = {name: min(of) for name, of in took.items()}
    if "pythae, 64 pictures" in took:
        result["pythae / ours"] = ratio(took["pythae, 64 pictures"], took["generate -n 64"])
    result["single runs"] = [took]
    keep("cold_start", result, given.quick)


def ours(place: Path) -> dict[str, Callable[[], object]]:
    """Our commands, as a person types them where the package is installed."""
    script = Path(sys.executable).with_name("betabloom")
    start = [str(script)] if script.exists() else [sys.executable, "-c", START]
    return {
        "generate -n 64": lambda: run([*start, "generate", "-n", "64", "--force", "-o", "ours.png"], place),
        "--help": lambda: run([*start, "--help"], place),
    }


def pythae(place: Path, python: Path) -> Callable[[], object]:
    command = [str(python), str(ROOT / "benchmarks" / "generators.py"), "draw", str(place), str(place / "peer.png")]
    return lambda: run(command, place)


def run(command: list[str], place: Path) -> None:
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(place / "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")


if __name__ == "__main__":
    main()
