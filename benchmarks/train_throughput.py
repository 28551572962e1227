"""How many pictures a second of one core does training learn from, beside the trainers of other projects?

    python benchmarks/train_throughput.py [disent pytorch-vae pythae seed] [--rounds 3] [--set NAME=VALUE …] [--quick]

Needs `make bench-peers`. The same network, batch, number of epochs and pictures of Oxford flowers at 64 px, in memory,
for our loop and for theirs: each side in a process of its own with one thread, in turn. Ours is `betabloom.fit` as it
comes (averaged weights, mirroring, log, a validation with sheets of pictures every epoch, checkpoints), with Adam as
peers have it, in the precision that the machine has arithmetic for; `--set optimiser=muon` or `--set precision=fp32`
changes that. `trainers.py` says exactly what is counted. The pictures are few, so validations and checkpoints weigh
more than in earnest: the second ratio charges ours one of each for an epoch of Oxford flowers, 7,169 pictures (the
seed's: 1,020), instead. The seed's photos, 227 px, are prepared to 136 px in every epoch by the seed, as its notebook
does, and once by us: the cost of a picture in ten epochs is put together from preparation and an epoch, measured apart.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring import FLOWERS, PACKAGES, PEERS, PHOTOS, in_process, keep, machine

WANTED = {"pythae": 1.9, "disent": 2.2, "pytorch-vae": 2.6, "seed": 4.0}
# Pictures, epochs, held out: few where a network is slow.
SIZES = {"pythae": (256, 1, 32), "disent": (2048, 4, 128), "pytorch-vae": (2048, 2, 128), "seed": (512, 1, 16)}
QUICK = {"pythae": (64, 1, 16), "disent": (256, 1, 32), "pytorch-vae": (256, 1, 32), "seed": (64, 1, 16)}
SEED_EPOCHS = 10
EPOCH = {"seed": 1020}  # pictures in an epoch of an earnest training
FLOWERS_EPOCH = 7169


def main() -> None:
    options = argparse.ArgumentParser(description="Compare the speed of training with other projects' trainers.")
    options.add_argument("peers", nargs="*", help=f"of {', '.join(SIZES)}; all if left out")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of ours")
    options.add_argument("--quick", action="store_true", help="few pictures, one round: to see that it works")
    given = options.parse_args()
    peers = given.peers or list(SIZES)
    if unknown := set(peers) - set(SIZES):
        options.error(f"unknown peers {', '.join(sorted(unknown))}: choose from {', '.join(SIZES)}")
    if {"pythae", "disent"} & set(peers) and not PEERS.exists():
        sys.exit(f"{PEERS} is missing: type `make bench-peers`")
    if not (FLOWERS if set(peers) - {"seed"} else PHOTOS).is_dir():
        sys.exit(f"no pictures in {FLOWERS.parent}: set BETABLOOM_TEST_DATA to the folder that holds them")
    rounds = 1 if given.quick else given.rounds
    result: dict[str, Any] = {"machine": machine(PACKAGES), "rounds": rounds, "threads": 1}
    with tempfile.TemporaryDirectory() as folder:
        for peer in peers:
            print(f"{peer} …", file=sys.stderr, flush=True)
            sizes = (QUICK if given.quick else SIZES)[peer]
            compare = against_seed if peer == "seed" else against
            result[peer] = compare(peer, sizes, rounds, given.set, Path(folder))
    keep("train_throughput" if len(peers) == len(SIZES) else f"train_throughput-{'-'.join(peers)}", result, given.quick)


def against(peer: str, sizes: tuple[int, int, int], rounds: int, settings: list[str], folder: Path) -> dict[str, Any]:
    """Pictures per second of processor time, theirs and ours."""
    count, epochs, held_out = sizes
    path = folder / f"{peer}.npy"
    np.save(path, flowers(count + held_out))
    python = PEERS if peer in ("pythae", "disent") else sys.executable
    theirs, ours = [], []
    for _ in range(rounds):
        theirs.append(in_process("trainers.py", peer, path, epochs, held_out, python=python))
        ours.append(in_process("trainers.py", "ours", path, epochs, held_out, peer, *settings))
    return {**facts(count, epochs, held_out), **table(peer, rates(theirs), rates(ours), ours), "runs": [theirs, ours]}


def against_seed(
    peer: str, sizes: tuple[int, int, int], rounds: int, settings: list[str], folder: Path
) -> dict[str, Any]:
    """The same, preparation included, over ten epochs of which the seed prepares the photos in each."""
    count, epochs, held_out = sizes
    path, preparing = folder / "seed.npy", ([], [])
    theirs, ours = [], []
    for _ in range(rounds):
        for cost, prepare in zip(preparing, (plainly, prepared), strict=True):
            begun = time.process_time()
            pictures = prepare(count + held_out, folder)
            cost.append((time.process_time() - begun) / len(pictures))
        np.save(path, pictures)
        theirs.append(in_process("trainers.py", peer, path, epochs, held_out))
        ours.append(in_process("trainers.py", "ours", path, epochs, held_out, peer, *settings))
    step = [np.array([run["seconds"] / run["pictures"] for run in runs]) for runs in (theirs, ours)]
    whole = [np.array(preparing[0]) + step[0], np.array(preparing[1]) / SEED_EPOCHS + step[1]]
    return {
        **facts(count, epochs, held_out),
        "milliseconds of a picture, preparation, theirs": 1e3 * statistics.median(preparing[0]),
        "milliseconds of a picture, preparation, ours": 1e3 * statistics.median(preparing[1]),
        "milliseconds of a picture, one epoch, theirs": 1e3 * float(np.median(step[0])),
        "milliseconds of a picture, one epoch, ours": 1e3 * float(np.median(step[1])),
        **table(peer, (1 / whole[0]).tolist(), (1 / whole[1]).tolist(), ours),
        "runs": [theirs, ours, *preparing],
    }


def facts(count: int, epochs: int, held_out: int) -> dict[str, Any]:
    return {"pictures to learn from": count, "epochs measured": epochs, "pictures held out": held_out}


def rates(runs: list[dict[str, Any]]) -> list[float]:
    """Pictures per second of processor time."""
    return [run["pictures"] / run["seconds"] for run in runs]


def earnest(run: dict[str, Any], epoch: int) -> float:
    """Seconds of a picture of ours with one validation and one checkpoint in an epoch of so many pictures."""
    steps = run["seconds"] - run["validation"] - run["checkpoints"]
    apart = run["validation"] / run["validations"] + run["checkpoints"] / run["saves"]
    return steps / run["pictures"] + apart / epoch


def table(peer: str, theirs: list[float], ours: list[float], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians, ratios of the rounds, and what our loop's time went into."""

    def share(part: str) -> float:
        return statistics.median(run[part] / run["seconds"] for run in runs)

    ratios = [b / a for a, b in zip(theirs, ours, strict=True)]
    epoch = EPOCH.get(peer, FLOWERS_EPOCH)
    apart = [run["seconds"] / run["pictures"] - earnest(run, epoch) for run in runs]
    usual = [1 / (1 / rate - less) / other for rate, less, other in zip(ours, apart, theirs, strict=True)]
    return {
        "our precision and optimiser": f"{runs[0]['precision']}, {runs[0]['optimiser']}",
        "pictures per second and core, theirs": statistics.median(theirs),
        "pictures per second and core, ours": statistics.median(ours),
        "ours, times as fast": statistics.median(ratios),
        "from … to": f"{min(ratios):.3g} … {max(ratios):.3g}",
        "with a validation and a checkpoint an epoch": statistics.median(usual),
        "those from … to": f"{min(usual):.3g} … {max(usual):.3g}",
        "wanted": WANTED[peer],
        "share of ours in validations": share("validation"),
        "share of ours in checkpoints": share("checkpoints"),
        "seconds of ours after the last step (not counted)": statistics.median(run["finish"] for run in runs),
    }


def flowers(count: int) -> np.ndarray:
    """So many pictures of Oxford flowers at 64 px, evenly spread over the classes."""
    import betabloom
    from betabloom.data.store.split import evenly_spaced

    pictures = betabloom.prepare(FLOWERS).pictures
    return np.asarray(pictures[evenly_spaced(np.arange(len(pictures)), count)])


def photos(count: int) -> list[Path]:
    """So many photos, evenly spread over the classes."""
    found = sorted(PHOTOS.glob("*/*.jpg"))
    return found[:: max(1, len(found) // count)][:count]


def plainly(count: int, _: Path) -> np.ndarray:
    """The seed's preparation."""
    import plain

    return np.stack([np.asarray(plain.enhance(path)) for path in photos(count)])


def prepared(count: int, folder: Path) -> np.ndarray:
    """Ours, from the photos to the store on the disk, in this process."""
    from betabloom.data import Folder, Pipeline, prepare

    chosen = folder / "photos"
    if not chosen.exists():
        chosen.mkdir()
        for number, path in enumerate(photos(count)):
            (chosen / f"{number}.jpg").symlink_to(path)
    with tempfile.TemporaryDirectory() as cache:
        store = prepare(Folder(chosen), Pipeline.named("enhance", (136, 136)), cache=Path(cache), workers=1)
        return np.array(store.pictures)


if __name__ == "__main__":
    main()
