"""Validation: how the averaged weights do on held-out pictures, in numbers and in pictures."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from betabloom import plot, sample
from betabloom.aggregate import fit_mixture
from betabloom.doctor import spread
from betabloom.metrics import active_units, judge
from betabloom.run import Run, record, some, summary
from betabloom.samplers import samplers_of
from betabloom.vae import bits_per_dimension

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from betabloom.metrics import Extractor
    from betabloom.prior import Prior
    from betabloom.vae import VAE

__all__ = ["SAMPLER_PICTURES", "fit_sampler", "validate"]

log = logging.getLogger(__name__)

JUDGED_FROM = 600.0  # seconds of a time budget from which on a feature network compares the samplers
SPREAD = 64  # pictures whose differences are measured
SAMPLER_PICTURES = 8192  # of which the codes are used to fit the sampler


@torch.inference_mode()
def validate(run: Run) -> bool:
    """Measure the averaged weights on held-out pictures, and draw with them, in the precision of the training.

    Returns:
        False if their loss is not finite.
    """
    vae = run.averaged.eval()
    totals = np.zeros(3)
    per_dimension = torch.zeros(vae.latents)
    rng = np.random.default_rng([run.config.train.seed, 2])
    rows = run.validation_rows
    means, codes = (torch.empty(len(rows), vae.latents) for _ in range(2))
    size = sample.at_once(vae)
    for first in range(0, len(rows), size):
        x = sample.to_tensor(run.store.pictures[rows[first : first + size]], run.device)
        noise = torch.from_numpy(rng.standard_normal((len(x), vae.latents), np.float32)).to(run.device)
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
    run.validated = {
        "loss": distortion + run.objective.beta(run.plan.t) * rate,
        "distortion": distortion,
        "rate": rate,
        **({"distortion_floor": floor} if floor else {}),
        **(
            {"bits_per_dimension": bits_per_dimension(distortion + rate, run.config.shape)}
            if vae.likelihood.discrete
            else {}
        ),
        "active_units": active_units(means.numpy()),
        "spread": _spread(run, vae, codes),
    }
    dimensions = [round(value, 5) for value in (per_dimension / len(rows)).tolist()]
    record(run, "validation", {**run.validated, "rate_per_dimension": dimensions})
    log.info("step %d: %s", run.step, summary(run))
    if run.out:
        _draw(run, vae, codes, run.out)
    return True


def _autocast(run: Run) -> torch.autocast:
    return torch.autocast(run.device.type, run.dtype, enabled=run.dtype != torch.float32)


def _spread(run: Run, vae: VAE, codes: Tensor) -> float:
    """How much the pictures that `codes` (N, l) of held-out pictures stand for differ, relative to the real ones."""
    size = sample.at_once(vae)
    real = sample.to_tensor(run.store.pictures[run.validation_rows[:SPREAD]])
    with _autocast(run):
        made = torch.cat([vae.decode(some.to(run.device)) for some in torch.split(codes[:SPREAD], size)])
    return spread(made.float().cpu().numpy(), real.numpy())


def _draw(run: Run, vae: VAE, codes: Tensor, out: Path) -> None:
    """Write sheets of samples, from a Gaussian fitted to the held-out `codes` (N, l), and of reconstructions."""
    folder = out / "samples"
    folder.mkdir(exist_ok=True)
    record = {"run": out.name, "step": run.step, "seed": 0}
    density = fit_mixture(codes, 1).to(run.device) if len(codes) > 1 else None
    with _autocast(run):
        generated = plot.grid(sample.generate(vae, 64, density=density), columns=8)
    plot.save_png(generated, folder / f"step-{run.step:09d}.png", {"verb": "train-sample", **record})
    originals = np.asarray(run.store.pictures[some(run.validation_rows, 32)])
    with _autocast(run):
        sheet = plot.pairs(originals, sample.reconstruct(vae, originals))
    plot.save_png(sheet, out / "reconstructions.png", {"verb": "train-reconstruction", **record})
    run.trackers.picture(run.step, "samples", generated)
    run.trackers.picture(run.step, "reconstructions", sheet)


def fit_sampler(run: Run, vae: VAE) -> tuple[dict[str, Prior], str, dict[str, Any]]:
    """Fit the samplers to the codes of training pictures, and choose the best on held-out ones.

    Returns:
        The samplers by name, the name of the best, and what was measured of each.
    """
    if len(run.train_rows) < 2:
        return {}, "prior", {}
    rng = np.random.default_rng([run.config.train.seed, 3])
    learned = np.sort(rng.permutation(run.train_rows)[:SAMPLER_PICTURES])
    known, held_out = (np.asarray(run.store.pictures[rows]) for rows in (learned, run.validation_rows))
    noise = rng.standard_normal((len(held_out), vae.latents), np.float32)
    c = run.config.train
    fitted, best, measured = samplers_of(vae, known, held_out, noise, _judge(run), c.seed, c.flow)
    log.info("codes are drawn from: %s", best)
    return fitted, best, measured


def _judge(run: Run) -> Extractor | None:
    """The feature network, if it is installed and the time budget leaves room for it."""
    return None if 0 < run.config.train.budget < JUDGED_FROM else judge()
