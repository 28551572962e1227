"""Validation: how the averaged weights do on held-out pictures, in numbers and in pictures."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from betabloom.data.store.split import evenly_spaced
from betabloom.imaging import png, sheets
from betabloom.metrics import active_units
from betabloom.metrics.latent import spread
from betabloom.samplers.mixture import fit_mixture
from betabloom.training.state import Run, record, summary
from betabloom.vae import inference
from betabloom.vae.vae import bits_per_dimension

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from betabloom.vae.vae import VAE

__all__ = ["validate"]

log = logging.getLogger(__name__)

SPREAD = 64  # pictures whose differences are measured


@torch.inference_mode()
def validate(run: Run) -> bool:
    """Measure the averaged weights on held-out pictures, and draw with them, in the precision of the training.

    Returns:
        False if their loss is not finite.
    """
    task, state, vae = run.task, run.state, run.state.averaged.eval()
    totals = np.zeros(3)
    per_dimension = torch.zeros(vae.latents)
    rng = np.random.default_rng([task.config.train.seed, 2])
    rows = task.validation_rows
    means, codes = (torch.empty(len(rows), vae.latents) for _ in range(2))
    size = inference.at_once(vae)
    for first in range(0, len(rows), size):
        x = inference.to_tensor(task.store.pictures[rows[first : first + size]], task.device)
        noise = torch.from_numpy(rng.standard_normal((len(x), vae.latents), np.float32)).to(task.device)
        with _autocast(run):
            terms = vae(x.contiguous(memory_format=torch.channels_last), noise)
        floor = terms.floor.sum().item() if terms.floor is not None else 0.0
        totals += terms.distortion.sum().item(), terms.rate.sum().item(), floor
        means[first : first + size], codes[first : first + size] = terms.posterior.mean, terms.z
        if terms.rate_per_dimension is not None:
            per_dimension += terms.rate_per_dimension.sum(0).cpu()
    distortion, rate, floor = (totals / len(rows)).tolist()
    if not math.isfinite(distortion + rate):
        return False
    state.validated = {
        "loss": distortion + task.objective.beta(state.plan.t) * rate,
        "distortion": distortion,
        "rate": rate,
        **({"distortion_floor": floor} if floor else {}),
        **(
            {"bits_per_dimension": bits_per_dimension(distortion + rate, task.config.shape)}
            if vae.likelihood.discrete and not floor  # grey levels have no probability under a Bernoulli
            else {}
        ),
        "active_units": active_units(means.numpy()),
        "spread": _spread(run, vae, codes),
    }
    dimensions = [round(value, 5) for value in (per_dimension / len(rows)).tolist()]
    record(run, "validation", {**state.validated, "rate_per_dimension": dimensions})
    log.info("step %d: %s", state.step, summary(run))
    if task.out:
        _draw(run, vae, codes, task.out)
    return True


def _autocast(run: Run) -> torch.autocast:
    return torch.autocast(run.task.device.type, run.task.dtype, enabled=run.task.dtype != torch.float32)


def _spread(run: Run, vae: VAE, codes: Tensor) -> float:
    """How much the pictures that `codes` (N, l) of held-out pictures stand for differ, relative to the real ones."""
    size = inference.at_once(vae)
    real = inference.to_tensor(run.task.store.pictures[run.task.validation_rows[:SPREAD]])
    with _autocast(run):
        made = torch.cat([vae.decode(some.to(run.task.device)) for some in torch.split(codes[:SPREAD], size)])
    return spread(made.float().cpu().numpy(), real.numpy())


def _draw(run: Run, vae: VAE, codes: Tensor, out: Path) -> None:
    """Write sheets of samples, from a Gaussian fitted to the held-out `codes` (N, l), and of reconstructions."""
    folder = out / "samples"
    folder.mkdir(exist_ok=True)
    record = {"run": out.name, "step": run.state.step, "seed": 0}
    density = fit_mixture(codes, 1).to(run.task.device) if len(codes) > 1 else None
    with _autocast(run):
        generated = sheets.grid(inference.generate(vae, 64, density=density), columns=8)
    png.save_png(generated, folder / f"step-{run.state.step:09d}.png", {"verb": "train-sample", **record})
    originals = np.asarray(run.task.store.pictures[evenly_spaced(run.task.validation_rows, 32)])
    with _autocast(run):
        sheet = sheets.pairs(originals, inference.reconstruct(vae, originals))
    png.save_png(sheet, out / "reconstructions.png", {"verb": "train-reconstruction", **record})
    run.tools.trackers.picture(run.state.step, "samples", generated)
    run.tools.trackers.picture(run.state.step, "reconstructions", sheet)
