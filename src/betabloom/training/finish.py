"""The end of a training: the samplers, the model, its directory."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import torch

from betabloom.errors import BetabloomError
from betabloom.imaging import curves, png, sheets
from betabloom.model.model import Model, load, save_model
from betabloom.system.hardware import precision_name
from betabloom.vae.build import channels_last
from betabloom.vae.objective import normalised_beta
from betabloom.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from betabloom.training.state import Run
    from betabloom.vae.vae import VAE

from typing import TYPE_CHECKING, Any

from betabloom.metrics import best_extractor
from betabloom.samplers.choose import samplers_of

if TYPE_CHECKING:
    from pathlib import Path

    from betabloom.metrics import Extractor
    from betabloom.vae.prior import Prior
    from betabloom.vae.vae import VAE

__all__ = ["JUDGED_FROM", "SAMPLER_PICTURES", "fit_sampler"]

log = logging.getLogger(__name__)


def finished_model(run: Run, out: Path) -> Model | None:
    """The model that this run left when it was trained to its end, if it did."""
    if not all((out / name).is_file() for name in ("curves.png", "model/samples.png")):
        return None
    try:
        model = load(out / "model", str(run.device))
    except BetabloomError:
        return None
    made, trained = model.vae.state_dict(), run.averaged.state_dict()
    return model if all(torch.equal(made[name], value) for name, value in trained.items()) else None


def finish(run: Run) -> Model:
    """Make the model of the averaged weights, and write its directory."""
    facts = {
        "source": run.store.source_name,
        "images": None if run.feed else len(run.train_rows),
        "images_seen": run.step * run.batch,
        "data_fingerprint": run.store.fingerprint,
        "steps": run.step,
        "seconds": round(run.seconds, 1),
        "device": str(run.device),
        "precision": precision_name(run.dtype),
        "threads": torch.get_num_threads(),
        "versions": {"betabloom": __version__, "torch": torch.__version__, "numpy": np.__version__},
        "beta_normalised": normalised_beta(run.config.objective.beta, run.vae.latents, run.config.shape),
        "validation": {name: round(value, 4) for name, value in run.validated.items()},
        "validation_images": len(run.validation_rows),
    }
    log.info("the last step is done: the model is made")
    vae = channels_last(run.averaged.requires_grad_(False).eval())
    samplers, best, measured = fit_sampler(run, vae)
    model = Model(vae, run.config, run.store.pipeline, {**facts, "samplers": measured}, samplers, best)
    if not run.out:
        return model
    model = save_model(model, run.out / "model")
    png.save_png(curves.curves(run.records), run.out / "curves.png", {"verb": "curves", "run": run.out.name})
    samples = sheets.grid(model.generate(64), columns=8)
    record = {"verb": "generate", "model": model.fingerprint, "model_path": str(run.out / "model"), "n": 64, "seed": 0}
    png.save_png(samples, run.out / "model" / "samples.png", record)
    return model


JUDGED_FROM = 600.0  # seconds of a time budget from which on a feature network compares the samplers

SAMPLER_PICTURES = 8192  # of which the codes are used to fit the sampler


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
    return None if 0 < run.config.train.budget < JUDGED_FROM else best_extractor()
