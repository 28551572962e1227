"""The first stage: is it better to start from the bundled model or from nothing? Both are tried for some seconds.

A model knows petals and leaves, and draws in its first second; pictures of other things it has to unlearn. So both
starts are rehearsed for equally long, and the one with the lower loss on held-out pictures is taken. Where it is the
bundled model's, there are two ways to go on: to train all of it, or its encoder alone, which keeps a decoder that was
sharpened. Its reconstructions are compared with those of the rehearsal to choose between them.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from betabloom.config import Config
from betabloom.data.store.split import evenly_spaced
from betabloom.metrics.extractors import features
from betabloom.model.model import load
from betabloom.refine.refit import FEWEST, refit
from betabloom.stages.record import Entry
from betabloom.system.signals import Interrupted
from betabloom.training.budget import choose
from betabloom.training.checkpoints import resume_command
from betabloom.training.setup import make_task, set_up
from betabloom.training.step import train_step
from betabloom.training.warm_start import warm_start, with_initial_model
from betabloom.vae import inference

if TYPE_CHECKING:
    from betabloom.model.model import Model
    from betabloom.stages.course import Course
    from betabloom.training.state import Run
    from betabloom.vae.vae import VAE

__all__ = ["BUNDLED", "begin"]

log = logging.getLogger(__name__)

BUNDLED = "flowers64"
REHEARSED_PART = 0.02  # of the budget or of the steps, for each start
REHEARSED = 20.0  # seconds for each start, at most
COMPARED = 256  # held-out pictures whose loss is compared


def begin(course: Course) -> None:
    """Choose what to start from; where it is the bundled model, it is the first best model, with codes refitted."""
    if hinder := _hinder(course):
        course.done(Entry("start", kept=False, why=hinder))
        return
    nothing, bundled = (_rehearsed(course, start) for start in ("", BUNDLED))
    losses = {name: _loss(course, run) for name, run in (("nothing", nothing), (BUNDLED, bundled))}
    said = " and ".join(f"{loss:,.0f} after a start from {name}" for name, loss in losses.items())
    log.info("loss of held-out pictures: %s", said)
    if losses[BUNDLED] >= losses["nothing"]:
        why = f"starting from {BUNDLED} does not help here: held-out pictures have a loss of {said}"
        course.done(Entry("start", kept=False, why=why, facts={"losses": losses}))
        return
    model = refit(load(BUNDLED, str(bundled.task.device)), course.store, course.config.train.seed)
    quality = course.quality(model)
    keep = _keeps_decoder(course, model, bundled)
    how = "its encoder alone is trained" if keep else "all of it is trained"
    why = f"starts from {BUNDLED}: held-out pictures have a loss of {said}; {how}"
    facts = {"losses": losses, "init_from": BUNDLED, "keep_decoder": keep}
    course.done(Entry("start", kept=True, why=why, facts=facts), replace(model, fingerprint=""), quality)


def _hinder(course: Course) -> str:
    """Why there is no choice; "" if there is one."""
    config, usual = course.config, Config.preset()
    if config.train.init_from:
        return f"starts from {config.train.init_from}, as was asked for"
    if not config.train.compare_starts:
        return "starts from nothing, as was asked for"
    if config.model != usual.model:
        return "starts from nothing: settings of the network were given, and the bundled model has its own"
    if config.shape != usual.shape:
        what = {1: "grey", 3: "coloured", 4: "transparent"}[config.data.channels]
        return f"starts from nothing: the bundled model draws no {what} pictures of {_size(config)} pixels"
    if len(course.store) < FEWEST:
        return f"starts from nothing: {len(course.store)} pictures are too few to compare"
    return ""


def _size(config: Config) -> str:
    return f"{config.data.width}x{config.data.height}"


def _rehearsed(course: Course, start: str) -> Run:
    """A short training, schedule and all, that nothing is left of on the disk."""
    t = course.config.train
    seconds = min(REHEARSED, REHEARSED_PART * t.budget)
    steps = max(2, round(REHEARSED_PART * t.steps)) if t.steps else 0
    config = course.config.replace({"init_from": start, "log": "", "budget": seconds, "steps": steps})
    task = make_task(course.store, with_initial_model(config), None)
    run = set_up(choose(task, t.budget) if t.budget else task)
    if start:
        for vae in {run.state.vae, run.state.averaged}:
            warm_start(vae, run.task.config)
    begun, state = time.monotonic(), run.state
    trial = f"start: trying from {start or 'nothing'} for {f'{seconds:.0f} s' if t.budget else f'{steps} steps'}"
    while not state.ended:
        train_step(run)
        state.step += 1
        state.seconds = time.monotonic() - begun
        state.plan.advance(state.step, state.seconds)
        if course.progress:
            course.progress(state.step, 0, trial)  # without a total, which would be taken for that of the training
        if course.stop.asked:
            raise Interrupted(f"Stopped while starts were compared. To go on, type: {resume_command(course.out)}")
    state.optimiser.let_go()
    return run


@torch.inference_mode()
def _loss(course: Course, run: Run) -> float:
    """Distortion + β · rate of held-out pictures, nats a picture; infinite where it is no number."""
    vae, total = run.state.vae.eval(), 0.0
    pictures, beta = _held_out(course), run.task.objective.beta(1.0)
    rng = np.random.default_rng(7)
    for part in np.array_split(pictures, max(1, len(pictures) // inference.at_once(vae))):
        x = inference.to_tensor(part, run.task.device)
        noise = torch.from_numpy(rng.standard_normal((len(x), vae.latents), np.float32))
        terms = vae(x, noise.to(x.device))
        total += (terms.distortion + beta * terms.rate).sum().item()
    return total / len(pictures) if np.isfinite(total) else float("inf")


def _keeps_decoder(course: Course, model: Model, rehearsed: Run) -> bool:
    """Whether the bundled model's own decoder shows these pictures better than one that likelihood has changed.

    Held-out pictures are reconstructed by both. By the mean distance of features from those of the pictures themselves,
    a sharp decoder of flowers is better on other flowers, and worse on icons, than a blurred one that has seen some.
    """
    if course.judge is None:
        return False
    pictures, extractor = _held_out(course), course.judge.extractor
    wanted = features(pictures, extractor)

    def distance(vae: VAE) -> float:
        mean, _ = inference.encode(vae.eval(), pictures)
        found = features(inference.decode(vae, mean), extractor)
        return float(np.linalg.norm(found - wanted, axis=1).mean())

    own, other = distance(model.vae), distance(rehearsed.state.vae)
    log.info("reconstructions: %.2f from their pictures by its own decoder, %.2f by one trained on them", own, other)
    return own <= other


def _held_out(course: Course) -> np.ndarray:
    """Held-out pictures that starts are compared by, uint8 (N, H, W, C); training pictures where there are none."""
    learned, others = course.rows
    return np.asarray(course.store.pictures[evenly_spaced(others if len(others) else learned, COMPARED)])
