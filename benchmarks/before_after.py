"""Is this version as fast as another one, from before a change?

    python benchmarks/before_after.py OTHER [--rounds 7] [--quick]

OTHER is the folder of another checkout (`git worktree add ../other REVISION`). Five things that people wait for are
measured in processes of their own, both versions in turn: `betabloom --help` and `betabloom generate -n 64` (from
typing to done), a training step of the default network (pictures that are in memory; the median of the last steps), 64
pictures of the bundled model with torch, and preparing 2,000 Oxford flowers. What is measured is processor time (user
and system), so that other programs matter little, with modules that are compiled already, as those of an installed
package are. Prints the medians, and the median and extremes of the ratios within a round. Keeps
benchmarks/results/before_after.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from measuring import FLOWERS, ROOT, keep, machine

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND = "from betabloom.cli{module} import main; main()"
STEP = """
import betabloom, json, os, statistics, time
try:
    from betabloom.training import loop
    name = "train_step"
except ImportError:
    from betabloom import train as loop
    name = "_train_step"
step, took = getattr(loop, name), []
def timed(run):
    begun = time.process_time()
    step(run)
    took.append(time.process_time() - begun)
    if len(took) == STEPS:
        print(json.dumps(statistics.median(took[2:])), flush=True)
        os._exit(0)  # what comes after the last step is not asked for
setattr(loop, name, timed)
store = betabloom.prepare("drawn:128", size=64)
betabloom.fit(store, "flowers64", steps=1000, batch=16)
"""
GENERATE = """
import betabloom, json, time
model = betabloom.load("flowers64")
model.generate(n=16)
begun = time.process_time()
model.generate(n=64, seed=1)
print(json.dumps(time.process_time() - begun))
"""
PREPARE = """
import json, os, tempfile, time
from betabloom import data
source, square = data.Folder(FOLDER), data.Pipeline.named("square", (64, 64))
with tempfile.TemporaryDirectory() as place:
    begun = sum(os.times()[:4])  # with processes that prepare
    store = data.prepare(source, square, cache=place)
    print(json.dumps(sum(os.times()[:4]) - begun))
"""


def main() -> None:
    options = argparse.ArgumentParser(description="Compare the speed of two versions, in turn.")
    options.add_argument("other", type=Path, help="a checkout of the version to compare with")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--quick", action="store_true", help="one round, to see that it works")
    given = options.parse_args()
    rounds = 0 if given.quick else given.rounds
    versions = {"before": given.other.resolve(), "after": ROOT}
    with tempfile.TemporaryDirectory() as place:
        tasks = what_people_wait_for(Path(place), given.quick)
        took = {name: {version: [] for version in versions} for name in tasks}
        for turn in range(rounds + 1):  # the first is not counted: files are read and modules compiled then
            for name, task in tasks.items():
                for version in versions if turn % 2 else reversed(versions):
                    seconds = task(versions[version])
                    if turn or given.quick:
                        took[name][version].append(seconds)
    result = {"machine": machine(), "rounds": rounds} | {name: figures(of) for name, of in took.items()}
    print(f"{'':<28}{'before':>10}{'after':>10}{'ratio':>8}   of the rounds")
    for name in tasks:
        each = result[name]
        low, high = each["ratio, extremes"]
        print(f"{name:<28}{each['before']:>9.3f}s{each['after']:>9.3f}s{each['ratio']:>8.2f}   {low:.2f} … {high:.2f}")
    keep("before_after", result, given.quick)


def figures(took: dict[str, list[float]]) -> dict[str, object]:
    """Medians, and ratios within a round."""
    ratios = [after / before for before, after in zip(took["before"], took["after"], strict=True)]
    return {
        **{version: statistics.median(seconds) for version, seconds in took.items()},
        "ratio": statistics.median(ratios),
        "ratio, extremes": [min(ratios), max(ratios)],
        "single runs": [took],
    }


def what_people_wait_for(place: Path, quick: bool) -> dict[str, Callable[[Path], float]]:
    """What is measured: each from a checkout to seconds."""
    flowers = place / "flowers"
    flowers.mkdir()
    for picture in sorted((FLOWERS / "jpg").iterdir())[: 200 if quick else 2000]:
        (flowers / picture.name).symlink_to(picture)
    out = place / "sheet.png"
    return {
        "betabloom --help": lambda tree: command(tree, "--help"),
        "betabloom generate -n 64": lambda tree: command(tree, "generate", "-n", "64", "-o", str(out), "--force"),
        "a training step": lambda tree: inside(tree, STEP.replace("STEPS", "4" if quick else "22")),
        "64 pictures with torch": lambda tree: inside(tree, GENERATE),
        "preparing 2,000 pictures": lambda tree: inside(tree, PREPARE.replace("FOLDER", repr(str(flowers)))),
    }


def command(tree: Path, *words: str) -> float:
    """Seconds of processor time that a command takes, from a process that does not exist yet."""
    program = COMMAND.format(module=".main" if (tree / "src" / "betabloom" / "cli").is_dir() else "")
    begun = of_children()
    run(tree, program, *words)
    return of_children() - begun


def of_children() -> float:
    """Seconds of processor time of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def inside(tree: Path, program: str) -> float:
    """What a program measured and printed."""
    return float(json.loads(run(tree, program).splitlines()[-1]))


def run(tree: Path, program: str, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "OMP_WAIT_POLICY": "PASSIVE"}
    environment |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir(), "compiled"))}
    done = subprocess.run([sys.executable, "-c", program, *words], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{program}\nfailed in {tree}:\n{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
