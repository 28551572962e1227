"""What a training step learns from: pictures and noise, which follow from the seed and the number of the step."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from betabloom.training.augment import DRAWS, augment, mirror

if TYPE_CHECKING:
    from torch import Tensor

    from betabloom.training.state import Run

__all__ = ["batch"]


def batch(run: Run) -> tuple[Tensor, Tensor]:
    """Pictures x (B, C, H, W) in [0, 1] and standard normal noise (B, l) of the step that comes.

    Of several processes each gets its places of the global batch, which is the same however many they are.
    """
    d = run.task.config.data
    draws, noise = (each[_own(run)] for each in _random(run))
    x = _pictures(run).to(run.task.device).permute(0, 3, 1, 2)
    x = mirror(x, draws) if d.flip else x  # as bytes, which takes half the time
    x = augment(x.float().div_(255), draws, False, d.shift, d.rotate, d.colour)
    return x.contiguous(memory_format=torch.channels_last), noise


def _own(run: Run) -> slice:
    """The places in the global batch that are this process's: every one of them where it is alone."""
    group = run.task.group
    return slice(group.rank, None, group.world) if group else slice(None)


def _random(run: Run) -> tuple[Tensor, Tensor]:
    """Uniform numbers (B, `DRAWS`) and standard normal ones (B, l); a GPU draws its own, which others cannot repeat."""
    device, size, latents = run.task.device, run.task.batch, run.state.vae.latents
    key = [run.task.config.train.seed, 1, run.state.step]
    if device.type == "cuda":
        generator = torch.Generator(device).manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
        draws = torch.rand((size, DRAWS), generator=generator, device=device)
        return draws, torch.randn((size, latents), generator=generator, device=device)
    rng = np.random.default_rng(key)
    draws = torch.from_numpy(rng.random((size, DRAWS), np.float32)).to(device)
    return draws, torch.from_numpy(rng.standard_normal((size, latents), np.float32)).to(device)


def _pictures(run: Run) -> Tensor:
    """The uint8 pictures (B, H, W, C) of the step that comes: each epoch has every picture once."""
    task, step = run.task, run.state.step
    if run.state.feed:
        return torch.from_numpy(next(run.state.feed))
    assert task.pictures is not None  # noqa: S101  (for the type checker: there is the one or the other)
    images = len(task.train_rows)
    places = np.arange(step * task.batch, (step + 1) * task.batch)
    epochs = np.unique(places // images)
    order = np.concatenate([_order(task.config.train.seed, int(epoch), images) for epoch in epochs])
    chosen = order[places - epochs[0] * images][_own(run)]
    if isinstance(task.pictures, torch.Tensor):
        return task.pictures[torch.from_numpy(chosen).to(task.pictures.device, non_blocking=True)]
    return torch.from_numpy(task.pictures[task.train_rows[chosen]])


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, images: int) -> np.ndarray:
    """The order of the pictures in an epoch."""
    return np.random.default_rng([seed, 0, epoch]).permutation(images)
