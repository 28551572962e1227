"""How a run is set up: its task, the model and optimiser that begin, and the tools for this machine."""

from __future__ import annotations

import copy
import math
import mmap
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from betabloom.data import Store
from betabloom.data.store.split import evenly_spaced
from betabloom.errors import UsageError
from betabloom.system.hardware import choose_device, choose_precision, keep_memory
from betabloom.training.accumulate import micro_batched
from betabloom.training.cuda_graph import GraphedStep
from betabloom.training.distributed import distributed
from betabloom.training.group import present_group
from betabloom.training.optimiser import make_optimiser
from betabloom.training.plan import Plan
from betabloom.training.side_by_side import side_by_side
from betabloom.training.state import Run, State, Sums, Task, Tools
from betabloom.training.step import gradients, update
from betabloom.training.threads import thread_team
from betabloom.training.trackers import check_trackers
from betabloom.vae.build import make_vae
from betabloom.vae.objective import Objective, make_regulariser
from betabloom.vae.schedule import make_schedule

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from betabloom.config import Config
    from betabloom.data import Streamed
    from betabloom.data.store.lanes import LanedBatches
    from betabloom.data.store.passes import StreamBatches
    from betabloom.vae.vae import VAE

__all__ = [
    "BATCH",
    "BATCH_ON_GPU",
    "IN_MEMORY",
    "LARGE_BUFFER",
    "VALIDATION_PICTURES",
    "check_settings",
    "make_task",
    "planned_steps",
    "set_up",
    "usual_batch",
    "with_picture_size",
]

BATCH = 32  # pictures in a step, where neither the settings nor a time budget say otherwise

BATCH_ON_GPU = 128  # with CUDA, which takes hardly longer (docs/log.md)

VALIDATION_PICTURES = 1024

LARGE_BUFFER = 1 << 25  # bytes; networks with large layers have some of these, and memory is what they are short of

IN_MEMORY = 2 << 30  # bytes of prepared pictures that are kept in memory; larger stores are read from disk


def check_settings(config: Config) -> None:
    """Raise `UsageError` for settings that no run can use, before any picture is looked at."""
    _beta(config)
    make_regulariser(config.objective, images=1)
    if not any((config.train.steps, config.train.epochs, config.train.budget)):
        raise UsageError("There is nothing to train: 'steps', 'epochs' and 'budget' are all 0. Type: --epochs 60")
    choose_precision(config.train.precision, choose_device(config.train.device))
    check_trackers(config.train.log)
    with torch.device("meta"):  # costs no memory and no time
        make_vae(config)


def with_picture_size(pictures: Store | Streamed, config: Config) -> Config:
    """Return the settings with the size, channels and pipeline of the pictures, and how they were read."""
    store = pictures if isinstance(pictures, Store) else pictures.store
    _, height, width, channels = store.pictures.shape
    facts = {"height": height, "width": width, "channels": channels, "pipeline": store.pipeline.name}
    return config.replace(facts | (dict(store.reading.options()) if store.reading else {}))


def make_task(pictures: Store | Streamed, config: Config, out: Path | None) -> Task:
    """Say what is to be learned: the settings for these pictures, and the pictures where batches are made from."""
    check_trackers(config.train.log)
    stream = None if isinstance(pictures, Store) else pictures
    store = pictures if isinstance(pictures, Store) else pictures.store
    group = present_group()
    device = group.device(config.train.device) if group else choose_device(config.train.device)
    config = with_picture_size(pictures, config)
    train_rows, validation_rows = store.split("all" if stream else config.data.split, config.data.holdout)
    held_out = validation_rows if len(validation_rows) else train_rows
    return Task(
        config=config,
        store=store,
        stream=stream,
        train_rows=train_rows,
        validation_rows=evenly_spaced(held_out, VALIDATION_PICTURES),
        pictures=None if stream else _resident(store.pictures, train_rows, device),
        device=device,
        dtype=choose_precision(config.train.precision, device),
        objective=Objective(_beta(config), make_regulariser(config.objective, 0 if stream else len(train_rows))),
        out=out,
        group=group,
    )


def set_up(task: Task) -> Run:
    """Make the untrained model of a task, its optimiser, its plan, and the tools that fit this machine.

    Raises:
        UsageError: Several processes cannot train this model.
    """
    t = task.config.train
    group = task.group
    task = task.changed({"batch": t.batch or usual_batch(task.device, group.world if group else 1)})
    keep_memory()
    vae = initial_vae(task.config)
    vae.to(device=task.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = copy.deepcopy(vae).requires_grad_(False).eval() if t.ema else vae
    vae.decoder.requires_grad_(not t.keep_decoder)
    team = None if group else thread_team(vae, task.batch, task.device)
    fused = task.device.type in ("cpu", "cuda")
    optimiser = make_optimiser(t.optimiser, vae, t.learning_rate, t.weight_decay, fused, team.share if team else None)
    if optimiser.has_large_layers:
        if group and task.config.model.prior == "vamp":  # its own pass through the encoder would count once a process
            raise UsageError(
                "The VampPrior cannot be trained by several processes with layers this large. Leave out --devices and "
                "--nodes, or take another prior: --set prior=mixture"
            )
        keep_memory(below=LARGE_BUFFER)
    plan = Plan(planned_steps(task), task.budget)
    state = State(vae, averaged, optimiser, plan, Sums(task.device), _feed(task), micro_batches=t.micro_batches)
    alone = micro_batched(side_by_side(team) if team else gradients)
    run = Run(task, state, Tools(distributed(group) if group else alone, team, kept=bool(task.out)))
    if task.device.type == "cuda" and not group:
        run.tools.graphed_step = GraphedStep(run, update)
    return run


def initial_vae(config: Config) -> VAE:
    """Make the model with random weights that follow from the seed; the random numbers of others stay as they are."""
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(config.train.seed)
        return make_vae(config)


def _feed(task: Task) -> StreamBatches | LanedBatches | None:
    """Batches of the stream that pictures come from, if they do: of several processes, this one's part of each."""
    if not task.stream:
        return None
    t, group = task.config.train, task.group
    world = group.world if group else 1
    part = (group.rank, world) if group else (0, 1)
    return task.stream.batches(task.batch, t.seed, task.config.data.holdout, lanes=t.lanes or world, part=part)


def usual_batch(device: torch.device, processes: int = 1) -> int:
    """Pictures in a step if the settings do not say: so many for each process."""
    usual = BATCH_ON_GPU if device.type == "cuda" else BATCH
    return -(-usual // processes) * processes


def _beta(config: Config) -> Callable[[float], float]:
    o = config.objective
    return make_schedule(o.beta_schedule, o.beta, o.beta_warmup)


def planned_steps(task: Task) -> int:
    """Steps of the whole training; 0 if only a time budget decides."""
    t = task.config.train
    if t.budget or t.steps:
        return max(1, round(task.share * t.steps)) if t.steps else 0
    if task.stream:
        raise UsageError("A stream has no known length. Set how long to train: --steps 20000 or --budget 1h")
    return max(1, math.ceil(task.share * t.epochs * len(task.train_rows) / task.batch))


def _resident(pictures: np.ndarray, rows: np.ndarray, device: torch.device) -> Tensor | np.ndarray:
    """Put the pictures where batches are made from: a tensor of those of `rows` alone, on the device or in memory.

    If they are too many, all are left on disk, as the array that they are.
    """
    if len(rows) * pictures[0].nbytes > IN_MEMORY:
        return pictures
    learned = torch.from_numpy(np.asarray(pictures[rows]))
    if device.type == "cuda" and learned.nbytes < torch.cuda.mem_get_info(device)[0] // 4:
        return learned.to(device)
    file: Any = pictures.base
    if isinstance(file, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        file.madvise(mmap.MADV_DONTNEED)  # what was copied need not stay in memory twice
    return learned
