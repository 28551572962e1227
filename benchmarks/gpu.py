"""What does a GPU make of the default preset: pictures per second, share of its peak, models after so many seconds?

    python benchmarks/gpu.py [--batches 32 128 512] [--train 60:32 60:128] [--out runs/gpu] [--quick]

First the peaks, as `roofline.py` has them: bf16 matrix products and convolutions (NHWC, forward with backward), the
best of some shapes, and copying memory. Then steps of `flowers64` on pictures that lie in its memory, as the loop takes
them: recorded and replayed, and one kernel after the other. Their arithmetic is counted by torch. Where the time goes:
kernels by their names. At last, trainings of so many seconds with so many pictures in a step, to be measured by

    python benchmarks/quality.py table --model runs/gpu/60s-128 …

What was measured before and not now stays in the results. Needs CUDA, and the official layout of the data set in
$BETABLOOM_TEST_DATA/flowers-102 or ../shared/data/flowers-102.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from measuring import FLOWERS, ROOT, keep, machine
from roofline import arithmetic, step

import betabloom
from betabloom.config import Config
from betabloom.training.setup import make_task, set_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from betabloom.training.state import Run

WANTED = 0.5
KINDS = {
    "convolutions": ("conv", "implicit", "wgrad", "dgrad", "fprop", "cudnn"),
    "matrix products": ("gemm", "cutlass", "gemv", "splitk"),
    "layouts for convolutions": ("nchw", "nhwc", "transpose"),
    "sums": ("reduce",),
    "averages": ("multi_tensor", "foreach"),
    "copies": ("copy", "cat", "memcpy", "memset"),
    "other elementwise": ("elementwise",),
}


def main() -> None:
    options = argparse.ArgumentParser(description="Measure trainings of the default preset on a GPU.")
    options.add_argument("--batches", type=int, nargs="*", default=[32, 128, 512])
    options.add_argument("--train", nargs="*", default=[], help="SECONDS:PICTURES IN A STEP")
    options.add_argument("--out", type=Path, default=Path("runs/gpu"))
    options.add_argument("--quick", action="store_true", help="few repetitions: to see that it works")
    given = options.parse_args()
    if not torch.cuda.is_available():
        sys.exit("there is no GPU that CUDA knows")
    if not FLOWERS.is_dir():
        sys.exit(f"no pictures in {FLOWERS}: set BETABLOOM_TEST_DATA to the folder that holds flowers-102")
    kept = ROOT / "benchmarks" / "results" / "gpu.json"
    result: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    here = {"machine": {**machine(), "gpu": torch.cuda.get_device_name()}}
    store = betabloom.prepare(FLOWERS)
    if given.batches:
        peak = peaks(0.1 if given.quick else 0.5)
        roof = peak["bf16 convolution, forward and backward, TFLOP/s"]
        count = 20 if given.quick else 200
        of = {f"{batch} pictures": steps(store, batch, roof, count) for batch in given.batches}
        result["steps of flowers64"] = {**here, "peaks": peak, **of}
    for text in given.train:
        seconds, _, batch = text.partition(":")
        out = given.out / f"{seconds}s-{batch}"
        model = betabloom.fit(store, out=out, batch=batch, widths="16,32,64,128", budget=seconds)
        facts = {name: model.training[name] for name in ("steps", "images_seen", "seconds", "validation", "samplers")}
        result[f"trained for {seconds} s, {batch} pictures in a step"] = {**here, **facts}
    keep("gpu", result, given.quick)


def peaks(seconds: float) -> dict[str, float]:
    """The most that was reached by anything that was tried."""
    found: dict[str, float] = {}
    with torch.device("cuda"):
        for n in (4096, 8192):
            a, b = (torch.randn(n, n, dtype=torch.bfloat16) for _ in range(2))
            best(found, "bf16 matrix product, TFLOP/s", 2e-12 * n**3, lambda a=a, b=b: a @ b, seconds)
        for channels, side, batch in ((128, 16, 512), (256, 16, 256), (256, 32, 128), (512, 16, 256)):
            x, w = (
                torch.randn(shape, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last).requires_grad_()
                for shape in ((batch, channels, side, side), (channels, channels, 3, 3))
            )
            slope = torch.randn_like(x)

            def both(x: Any = x, w: Any = w, slope: Any = slope) -> None:
                x.grad = w.grad = None
                F.conv2d(x, w, padding=1).backward(slope)

            work = 3 * 2e-12 * 9 * channels**2 * side**2 * batch
            best(found, "bf16 convolution, forward and backward, TFLOP/s", work, both, seconds)
        source = torch.randn(1 << 28)
        target = torch.empty_like(source)
        best(found, "copying memory, TB/s read and written", 8e-12 * len(source), lambda: target.copy_(source), seconds)
    return found


def best(found: dict[str, float], name: str, work: float, run: Callable[[], object], seconds: float) -> None:
    """Repeat for so long, and note the fastest ten in a row, in units of work per second."""
    for _ in range(3):
        run()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        took = timed(lambda: [run() for _ in range(10)])
        found[name] = max(found.get(name, 0.0), 10 * work / took)


def timed(work: Callable[[], object]) -> float:
    """Seconds until the GPU is done."""
    torch.cuda.synchronize()
    begun = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - begun


def steps(store: Any, batch: int, roof: float, count: int) -> dict[str, Any]:
    """Pictures per second of steps as the loop takes them, the share of the peak, and where the time goes."""
    torch.cuda.reset_peak_memory_stats()
    run = set_up(make_task(store, Config.preset("flowers64", batch=batch, steps=10**6), None))
    work = arithmetic(run)[0] / 1e3
    recorded = several(run, count)
    assert run.tools.graphed_step is not None
    if run.tools.graphed_step.graph is None:
        sys.exit("the steps were not recorded")
    kernels, kinds = kernels_of(run, 10)
    run.tools.graphed_step.graph = None  # from here on one kernel after the other
    plain = several(run, count // 4)
    return {
        "pictures per second": batch / recorded,
        "milliseconds of a step": 1e3 * recorded,
        "milliseconds of a step, not recorded": 1e3 * plain,
        "GFLOP of a picture": 1e3 * work / batch,
        "share of the convolution peak": work / recorded / roof,
        "wanted": WANTED,
        "kernels of a step": kernels,
        "milliseconds of a step by kernels": kinds,
        "GB of memory": torch.cuda.max_memory_allocated() / 1e9,
    }


def several(run: Run, count: int) -> float:
    """Seconds of a step, the median of four times so many."""

    def some() -> None:
        for _ in range(count):
            step(run)

    some()
    return statistics.median(timed(some) for _ in range(4)) / count


def kernels_of(run: Run, count: int) -> tuple[float, dict[str, float]]:
    """How many kernels a step has, and what the kinds of them take."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as watched:
        for _ in range(count):
            step(run)
        torch.cuda.synchronize()
    spent, number = Counter[str](), 0
    longest = Counter[str]()
    for event in watched.key_averages():
        name, took = event.key.lower(), event.self_device_time_total / 1e3 / count
        if not took:
            continue
        kind = next((kind for kind, keys in KINDS.items() if any(key in name for key in keys)), "others")
        spent[kind] += took
        longest[event.key[:70]] += took
        number += event.count
    return number / count, {**dict(spent.most_common()), **{f"  {key}": t for key, t in longest.most_common(12)}}


if __name__ == "__main__":
    main()
