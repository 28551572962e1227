"""The end of a training: the samplers, the model, its directory."""

from __future__ import annotations

import copy
import logging
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from betabloom.data.store.split import evenly_spaced
from betabloom.errors import BetabloomError
from betabloom.imaging import curves, png, sheets
from betabloom.metrics import best_extractor
from betabloom.model.model import Model, load, save_model
from betabloom.samplers.choose import samplers_of
from betabloom.samplers.mixture import fit_mixture
from betabloom.system.hardware import precision_name
from betabloom.vae.build import channels_last
from betabloom.vae.objective import normalised_beta
from betabloom.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from betabloom.metrics import Extractor
    from betabloom.training.state import Run
    from betabloom.vae.prior import Prior
    from betabloom.vae.vae import VAE

__all__ = [
    "JUDGED_FROM",
    "SAMPLER_PICTURES",
    "finish",
    "finished_model",
    "fit_sampler",
    "interim_model",
    "unfinished_model",
]

log = logging.getLogger(__name__)

JUDGED_FROM = 600.0  # seconds of a time budget from which on a feature network compares the samplers

SAMPLER_PICTURES = 8192  # of which the codes are used to fit the sampler


def finish(run: Run, vae: VAE, out: Path | None, portion: float = 1.0) -> Model:
    """Make a model of trained weights: fit its samplers, and write it, curves and samples.

    Arguments:
        run: The run.
        vae: The weights, in evaluation mode.
        out: Folder for `model/` and `curves.png`; None writes nothing.
        portion: Part of the pictures, and of the steps of a flow, with which samplers are fitted: 1, or less in a
            rehearsal of what the end will take.

    Returns:
        The model; its `training["sampler_seconds"]` is what the samplers took.
    """
    vae.eval()
    begun = time.monotonic()
    samplers, best, measured = fit_sampler(run, vae, portion)
    facts = {**_facts(run), "sampler_seconds": round(time.monotonic() - begun, 3), "samplers": measured}
    model = Model(vae, run.task.config, run.task.store.pipeline, facts, samplers, best)
    if not out:
        return model
    model = save_model(model, out / "model")
    png.save_png(curves.curves(run.state.records), out / "curves.png", {"verb": "curves", "run": out.name})
    samples = sheets.grid(model.generate(64), columns=8)
    record = {"verb": "generate", "model": model.fingerprint, "model_path": str(out / "model"), "n": 64, "seed": 0}
    png.save_png(samples, out / "model" / "samples.png", record)
    return model


def interim_model(run: Run, codes: Tensor) -> Model:
    """The model as it is in the middle of a training: codes are drawn from one Gaussian.

    Arguments:
        run: The run.
        codes: Of held-out pictures, (N, l), N ≥ 2.
    """
    vae = channels_last(copy.deepcopy(run.state.averaged).requires_grad_(requires_grad=False).eval())
    density = fit_mixture(codes, 1).to(run.task.device)
    return Model(vae, run.task.config, run.task.store.pipeline, _facts(run), {"gaussian": density}, "gaussian")


def unfinished_model(run: Run) -> Model:
    """The averaged weights as a model without samplers, which all processes except the first end with."""
    vae = run.state.averaged.requires_grad_(False).eval()
    return Model(vae, run.task.config, run.task.store.pipeline, _facts(run), {}, "prior")


def _facts(run: Run) -> dict[str, Any]:
    """What a model's directory says about its training."""
    task, state = run.task, run.state
    return {
        "source": task.store.source_name,
        "images": None if task.stream else len(task.train_rows),
        "images_seen": state.step * task.batch,
        "data_fingerprint": task.store.fingerprint,
        "steps": state.step,
        "seconds": round(state.seconds, 1),
        "device": str(task.device),
        "precision": precision_name(task.dtype),
        "threads": torch.get_num_threads(),
        "processes": task.group.world if task.group else 1,
        "versions": {"betabloom": __version__, "torch": torch.__version__, "numpy": np.__version__},
        "beta_normalised": normalised_beta(task.config.objective.beta, state.vae.latents, task.config.shape),
        "validation": {name: round(value, 4) for name, value in state.validated.items()},
        "validation_images": len(task.validation_rows),
    }


def fit_sampler(run: Run, vae: VAE, portion: float = 1.0) -> tuple[dict[str, Prior], str, dict[str, Any]]:
    """Fit the samplers to the codes of training pictures, and choose the best on held-out ones.

    Arguments:
        run: The run.
        vae: The model.
        portion: Part of the pictures, and of the steps of a flow, that is used.

    Returns:
        The samplers by name, the name of the best, and what was measured of each.
    """
    task, c = run.task, run.task.config.train
    if len(task.train_rows) < 2:
        return {}, "prior", {}
    rng = np.random.default_rng([c.seed, 3])
    learned = np.sort(rng.permutation(task.train_rows)[:SAMPLER_PICTURES])
    learned = evenly_spaced(learned, max(2, int(portion * len(learned))))
    held_out = evenly_spaced(task.validation_rows, max(1, int(portion * len(task.validation_rows))))
    known, unknown = (np.asarray(task.store.pictures[rows]) for rows in (learned, held_out))
    noise = rng.standard_normal((len(unknown), vae.latents), np.float32)
    flow = math.ceil(portion * c.flow)
    fitted, best, measured = samplers_of(vae, known, unknown, noise, _judge(run), c.seed, flow)
    if portion == 1:  # else it is a rehearsal, which a reader of the log need not know about
        log.info("codes are drawn from: %s", best)
    return fitted, best, measured


def _judge(run: Run) -> Extractor | None:
    """The feature network, if it is installed and the time budget leaves room for it."""
    return None if 0 < run.task.config.train.budget < JUDGED_FROM else best_extractor()


def finished_model(run: Run, out: Path) -> Model | None:
    """The model that this run left when it was trained to its end, if it did."""
    if not all((out / name).is_file() for name in ("curves.png", "model/samples.png")):
        return None
    try:
        model = load(out / "model", str(run.task.device))
    except BetabloomError:
        return None
    made, trained = model.vae.state_dict(), run.state.averaged.state_dict()
    return model if all(torch.equal(made[name], value) for name, value in trained.items()) else None
