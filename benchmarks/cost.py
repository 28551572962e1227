"""What a training costs beyond one machine: a model made of measured terms. It measures nothing itself.

    python benchmarks/cost.py [--pictures 1000000000] [--gpus 64]

Every term is named with where it was measured, or that it is assumed; docs/scaling.md has the table.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

WEIGHTS = 2_580_000  # of flowers64 with the whole widths
LATENTS = 256
STEP = 38.9e-3  # seconds of a step of 512 pictures on an H100 without a recorded graph (benchmarks/README.md)
BATCH = 512  # pictures a GPU in it
PNG = 8_806  # bytes of a photo at 64×64 (203 of the flower photos)
DECODE = 0.42e-3  # seconds of a core to read one of these from a shard
INTERPRETER = 0.09e-3  # of these, seconds of Python, in which threads of a process wait for one another (a 16×16 PNG)
PREPARE = 0.81e-3  # seconds of a core to prepare a photo of 320 px from a JPEG
LINK = 25e9  # bytes a second of a GPU to others: ASSUMED, 200 Gbit/s
OVERHEAD = 0.5e-3  # seconds until a message has reached all: ASSUMED


@dataclass(frozen=True)
class Cost:
    """Seconds of a step, and what it moves."""

    compute: float
    gradients: float
    codes: float
    reading: float = BATCH * INTERPRETER

    @property
    def step(self) -> float:
        return max(self.reading, self.compute + self.gradients + self.codes)


def cost(gpus: int) -> Cost:
    """A step of `BATCH` pictures of a stream on each GPU; messages do not overlap with computing, reading does."""
    if gpus == 1:
        return Cost(STEP, 0.0, 0.0)
    ring = (gpus - 1) / gpus
    row = 4 * (3 * LATENTS + 1)  # mean, log-variance, noise and misfit of a picture, as float32
    return Cost(STEP, OVERHEAD + 2 * ring * 4 * WEIGHTS / LINK, OVERHEAD + ring * gpus * BATCH * row / LINK)


def row(gpus: int, pictures: int) -> list[str]:
    """One line of the table."""
    c = cost(gpus)
    rate = gpus * BATCH / c.step
    return [
        str(gpus), f"{1e3 * c.compute:.1f}", f"{1e3 * c.gradients:.1f}", f"{1e3 * c.codes:.1f}",
        f"{1e3 * c.reading:.1f}",
        f"{100 * c.compute / c.step:.0f} %", f"{rate:,.0f}", f"{pictures / rate / 3600:.2f}",
        f"{rate * PNG / 1e9:.1f}", f"{rate * DECODE:,.0f}",
    ]  # fmt: skip


HEADING = ["GPUs", "computing, ms", "gradients, ms", "codes, ms", "reading, ms", "share of computing", "pictures/s",
           "hours a pass", "GB/s read", "cores that decode"]  # fmt: skip


def table(pictures: int, gpus: list[int]) -> str:
    """The table, as Markdown."""
    lines = [HEADING, ["---"] * len(HEADING), *(row(each, pictures) for each in gpus)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    options = argparse.ArgumentParser(description="What a training on many GPUs costs, by calculation.")
    options.add_argument("--pictures", type=int, default=10**9)
    options.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64])
    given = options.parse_args()
    print(table(given.pictures, given.gpus))
    print(f"\npreparing {given.pictures:,} photos: {given.pictures * PREPARE / 3600:,.0f} core-hours")
    print(f"their shards: {given.pictures * PNG / 1e12:.1f} TB")


if __name__ == "__main__":
    main()
