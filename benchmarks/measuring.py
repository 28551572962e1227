"""What the benchmarks share: runs in turn, ratios within a round, processes of their own, tables, results.

Whatever is compared is run in turn, round after round, so that a busy moment of the machine hits all; the numbers are
medians of the rounds, and of the ratios within a round. Processor time (user and system, all threads) is disturbed less
than the clock by what neighbours do, though not undisturbed: caches and hyper-threads are shared.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("BETABLOOM_TEST_DATA", ROOT.parent / "shared" / "data"))
PHOTOS, FLOWERS = DATA / "flower-photos", DATA / "flowers-102"
PEERS = ROOT / ".venv-peers" / "bin" / "python"
PACKAGES = ("betabloom", "numpy", "pillow", "scipy", "torch")


def machine(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """What the numbers depend on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next((line.partition(":")[2].strip() for line in info.open() if line.startswith("model name")), cpu)
    return {
        "cpu": cpu, "cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version(),
        **{name: _version(name) for name in packages},
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "load before": round(os.getloadavg()[0], 2),
    }  # fmt: skip


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def in_turn(rounds: int, runs: dict[str, Callable[[], object]], clock: Callable[[], float]) -> dict[str, list[float]]:
    """Run everything in turn; seconds of each round by `clock`."""
    took: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = clock()
            run()
            took[name].append(clock() - start)
    return took


def ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """The median over the rounds of `one` by `other`."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def in_process(script: str, *arguments: object, python: Path | str = sys.executable, threads: int = 1) -> Any:
    """What a script of this folder prints as its last line, JSON, when it runs in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    if Path(python) == PEERS:
        environment.pop("PYTHONPATH", None)
    command = [str(python), str(ROOT / "benchmarks" / script), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def show(value: dict[str, Any], indent: int = 0) -> None:
    """Print nested results as a table."""
    for key, inner in value.items():
        if isinstance(inner, list):
            continue  # single runs are for the file
        if isinstance(inner, dict):
            print(" " * indent + key)
            show(inner, indent + 2)
        else:
            print(f"{' ' * indent + key:<52} {f'{inner:,.4g}' if isinstance(inner, float) else inner}")


def keep(name: str, result: dict[str, Any], quick: bool) -> None:
    """Print a result, and keep it in benchmarks/results/NAME.json unless it was only a trial."""
    result["load after"] = round(os.getloadavg()[0], 2)
    show(result)
    if not quick:
        path = ROOT / "benchmarks" / "results" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
