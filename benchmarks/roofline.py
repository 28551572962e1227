"""What could the processor do at most, what share of it does a training step reach, and where does the rest go?

    python benchmarks/roofline.py [--cores 1 2] [--steps 60] [--quick]

First the peaks: matrix products, 3×3 convolutions (NHWC, forward, and forward with backward) in fp32 and bf16, the best
of a few shapes, and copying memory; for every number of cores in a process of its own. Then steps of the preset
`flowers64` on pictures in memory: their arithmetic is counted by torch (multiplication and addition count as two;
forward and backward of convolutions and linear layers; Muon's products are counted too, but stand apart), and compared
with the peak of bf16 convolutions, forward with backward. At last, where the time goes: parts of a step by processor
time, and kinds of operators in forward and backward by the profiler, whose clock needs an idle machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any
from unittest import mock

from measuring import FLOWERS, in_process, keep, machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from betabloom.training.state import Run

WANTED = 0.5
KINDS = {
    "convolutions": ("convolution",),
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"),
    "activations": ("silu", "gelu", "relu", "threshold", "sigmoid"),
    "pixel shuffles": ("pixel_",),
    "copies and casts": ("aten::copy_", "aten::clone", "aten::_to_copy", "aten::contiguous"),
    "memory": ("aten::empty", "aten::fill_", "aten::zero_", "aten::resize_"),
}
PARTS = {
    "batch and augmentation": "batch",
    "optimiser": "_guarded_step",
    "averaged weights": "move_average",
}


def main() -> None:
    options = argparse.ArgumentParser(description="Measure the peaks of the processor and the shares of training.")
    options.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    options.add_argument("--steps", type=int, default=60)
    options.add_argument("--quick", action="store_true", help="few repetitions: to see that it works")
    options.add_argument("--inner", choices=["peaks", "training"], help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.inner:
        print(json.dumps(peaks(given.quick) if given.inner == "peaks" else training(given.steps, given.quick)))
        return
    if not FLOWERS.is_dir():
        sys.exit(f"no pictures in {FLOWERS}: set BETABLOOM_TEST_DATA to the folder that holds flowers-102")
    result: dict[str, Any] = {"machine": machine()}
    quick = ["--quick"] if given.quick else []
    for cores in given.cores:
        peak = in_process("roofline.py", "--inner", "peaks", *quick, threads=cores)
        steps = in_process("roofline.py", "--inner", "training", "--steps", given.steps, *quick, threads=cores)
        roof = peak["bf16 convolution, forward and backward, GFLOP/s"]
        reached = steps["GFLOP of a step"] / (steps["milliseconds of a step by the clock"] / 1e3)
        shares = {"GFLOP/s of a step": reached, "share of the peak": reached / roof, "wanted": WANTED}
        result[f"{cores} cores" if cores > 1 else "1 core"] = {"peaks": peak, "training": {**shares, **steps}}
    keep("roofline", result, given.quick)


def peaks(quick: bool) -> dict[str, float]:
    """The most that was reached by anything that was tried, in GFLOP/s and GB/s."""
    import torch
    import torch.nn.functional as F

    from betabloom.system.hardware import keep_memory

    keep_memory()
    seconds = 0.1 if quick else 1.0
    found: dict[str, float] = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        for n in (512, 1024, 2048):
            a, b = (torch.randn(n, n, dtype=dtype) for _ in range(2))
            best(found, f"{name} matrix product, GFLOP/s", 2 * n**3, lambda a=a, b=b: a @ b, seconds)
        for channels, side, batch in ((64, 32, 32), (128, 16, 64), (128, 32, 16), (256, 16, 32)):
            x = torch.randn(batch, channels, side, side, dtype=dtype).contiguous(memory_format=torch.channels_last)
            w = torch.randn(channels, channels, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
            work = 2 * 9 * channels**2 * side**2 * batch
            with torch.no_grad():
                best(
                    found,
                    f"{name} convolution, forward, GFLOP/s",
                    work,
                    lambda x=x, w=w: F.conv2d(x, w, padding=1),
                    seconds,
                )
            x.requires_grad_(), w.requires_grad_()
            slope = torch.ones_like(x)

            def both(x: Any = x, w: Any = w, slope: Any = slope) -> None:
                x.grad = w.grad = None
                F.conv2d(x, w, padding=1).backward(slope)

            best(found, f"{name} convolution, forward and backward, GFLOP/s", 3 * work, both, seconds)
    source = torch.randn(64 << 20)
    target = torch.empty_like(source)
    best(found, "copying memory, GB/s read and written", 8 * len(source), lambda: target.copy_(source), seconds)
    return found


def best(found: dict[str, float], name: str, work: float, run: Callable[[], object], seconds: float) -> None:
    """Repeat for so long, and note the fastest repetition, in 10⁹ units of work per second by the clock."""
    run()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        begun = time.perf_counter()
        run()
        found[name] = max(found.get(name, 0.0), work / (time.perf_counter() - begun) / 1e9)


def training(steps: int, quick: bool) -> dict[str, Any]:
    """Steps of the default preset: arithmetic, time, and what it is spent on."""
    import betabloom
    from betabloom.config import Config
    from betabloom.training import loop, step
    from betabloom.training.setup import make_task, set_up

    run = set_up(make_task(betabloom.prepare(FLOWERS), Config.preset("flowers64"), None))
    steps = 6 if quick else steps
    for _ in range(3):
        step(run)
    work, outside = arithmetic(run)
    spent, clock, whole = parts_of(run, steps)
    kinds = operators(run, 2 if quick else 20)
    with_backward = spent["forward and backward"]
    begun = time.process_time()
    loop._validate(run)
    validation = time.process_time() - begun
    epoch = len(run.task.train_rows) / run.task.batch * whole
    return {
        "batch": run.task.batch,
        "precision": str(run.task.dtype).removeprefix("torch."),
        "GFLOP of a step": work,
        "GFLOP of Muon in a step, not counted": outside,
        "milliseconds of a step by the clock": 1e3 * clock,
        "milliseconds of a step, processor time": 1e3 * whole,
        "pictures per second": run.task.batch / clock,
        "share of a step, %": {
            **{name: 100 * value / whole for name, value in spent.items()},
            "the rest (learning rate, sums)": 100 * (1 - sum(spent.values()) / whole),
        },
        "share of a step within forward and backward, by operators, %": {
            name: 100 * value * with_backward / whole for name, value in kinds.items()
        },
        "a validation, share of an epoch, %": 100 * validation / epoch,
    }


def step(run: Run) -> None:
    """What the loop does in a step, without its log."""
    from betabloom.training import step

    step.train_step(run)
    run.state.step += 1
    run.state.plan.advance(run.state.step, 0)


def arithmetic(run: Run) -> tuple[float, float]:
    """GFLOP of forward and backward of a step, and of the optimiser's; by one thread, of which alone torch counts."""
    from torch.utils.flop_counter import FlopCounterMode

    from betabloom.training import optimiser
    from betabloom.training.batches import batch
    from betabloom.training.step import gradients

    with FlopCounterMode(display=False) as counter:
        gradients(run, *batch(run))
    with (
        FlopCounterMode(display=False) as other,
        mock.patch.object(run.state.optimiser, "_share", optimiser._one_by_one),
    ):
        run.state.optimiser.step()
    run.state.optimiser.zero_grad(set_to_none=True)
    return counter.get_total_flops() / 1e9, other.get_total_flops() / 1e9


def parts_of(run: Run, steps: int) -> tuple[dict[str, float], float, float]:
    """Medians over the steps: processor time of each part; seconds of a whole step by the clock; processor time."""
    from betabloom.training import step as one_step

    spent: dict[str, list[float]] = {name: [] for name in (*PARTS, "clipping", "forward and backward")}

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*given: Any) -> Any:
            begun = time.process_time()
            done = work(*given)
            spent[name].append(time.process_time() - begun)
            return done

        return wrapper

    clock, whole = [], []
    with contextlib.ExitStack() as stack:
        for name, function in PARTS.items():
            work = getattr(one_step, function)
            stack.enter_context(mock.patch.object(one_step, function, timed(name, work)))
        clip = timed("clipping", run.state.optimiser.clip)
        stack.enter_context(mock.patch.object(run.state.optimiser, "clip", clip))
        gradients = timed("forward and backward", run.tools.gradients)
        stack.enter_context(mock.patch.object(run.tools, "gradients", gradients))
        for _ in range(steps):
            begun, counted = time.perf_counter(), time.process_time()
            step(run)
            clock.append(time.perf_counter() - begun)
            whole.append(time.process_time() - counted)
    return (
        {name: statistics.median(of) for name, of in spent.items()},
        statistics.median(clock),
        statistics.median(whole),
    )


def operators(run: Run, steps: int) -> dict[str, float]:
    """Shares of forward and backward by kinds of operators; what Python does between them is nobody's."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from betabloom.training.batches import batch

    with profile(activities=[ProfilerActivity.CPU]) as watched:
        for _ in range(steps):
            with torch.profiler.record_function("whole"):
                run.tools.gradients(run, *batch(run))
    run.state.optimiser.zero_grad(set_to_none=True)
    spent: Counter[str] = Counter()
    for event in watched.key_averages():
        if event.key == "whole":
            spent["Python and autograd"] += event.self_cpu_time_total
        elif event.key.startswith("aten::"):
            kind = next(
                (kind for kind, keys in KINDS.items() if any(key in event.key for key in keys)), "other elementwise"
            )
            spent[kind] += event.self_cpu_time_total
        else:
            spent["Python and autograd"] += event.self_cpu_time_total
    return {name: value / spent.total() for name, value in spent.most_common()}


if __name__ == "__main__":
    main()
