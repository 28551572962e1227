"""Sharper pictures: the decoder of a trained model is trained further against a critic (`adversarial`)."""

from __future__ import annotations

import copy
import dataclasses
import logging
import math
from typing import TYPE_CHECKING

import torch

from betabloom.errors import UsageError
from betabloom.networks.spec import FAMILIES
from betabloom.refine.adversarial import AdversarialTrainer, train_adversarially
from betabloom.refine.batches import DecoderBatches
from betabloom.refine.critic import LARGE_RECIPE, PATCH_RECIPE, WIDTHS, PatchCritic
from betabloom.refine.projected_critic import CUDA_RECIPE, PROJECTED_RECIPE, ProjectedCritic
from betabloom.refine.widen import widened
from betabloom.system.hardware import keep_memory

if TYPE_CHECKING:
    import numpy as np

    from betabloom.model.model import Model
    from betabloom.refine.adversarial import Recipe, Shares
    from betabloom.system.console import Progress
    from betabloom.system.signals import Stop

__all__ = ["decoder_trainer", "sharpen"]

log = logging.getLogger(__name__)

LARGE = 96  # pixels of a side from which on a step has fewer pictures
NARROW = 16  # channels; a decoder that draws its largest maps with fewer does not follow the critic (docs/log.md)


def sharpen(
    model: Model,
    pictures: np.ndarray,
    steps: int = 0,
    seconds: float = 0.0,
    seed: int = 0,
    shares: Shares | None = None,
    eye: bool = False,
    wider: int = 1,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Model:
    """Train the decoder of a model against a critic, and nothing else of it.

    Arguments:
        model: A trained model; it is left as it is.
        pictures: The pictures that it was trained with, uint8 (N, H, W, C).
        steps: How many steps, or
        seconds: for how long.
        seed: Of all random numbers.
        shares: How strongly each term pulls; of the kind of critic if None.
        eye: Whether the critic sees maps of EfficientNet-Lite0 (`betabloom.refine.projected_critic`, extra `metrics`).
            A step takes several times as long, and teaches more.
        wider: Factor on the channels of the network, which draws the same at first (`betabloom.refine.widen`).
        progress: Called as progress(step, steps, text).
        stop: Ends it early when asked; what was learned until then is kept.

    Returns:
        The model with the averaged weights of the decoder; its samplers and their codes are the same.

    Raises:
        UsageError: Neither or both of steps and seconds are given, or pictures are too few, too small or, with `eye`,
            not in colour.
        BetabloomError: `eye` needs the extra `metrics`, which is not installed.
    """
    if bool(steps) == bool(seconds):
        raise UsageError("Set either the number of steps or the number of seconds to sharpen for.")
    if len(pictures) < 2 or min(pictures.shape[1:3]) < 2 ** len(WIDTHS):
        raise UsageError(f"A critic needs at least 2 pictures of 16×16 or more, not {pictures.shape}.")
    if eye and pictures.shape[3] != 3:
        raise UsageError("--eye needs colour pictures: its feature network was trained on RGB. Leave out --eye.")
    model = widened(model, wider, seed)
    _warn_if_narrow(model)
    keep_memory()
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay what they were
        torch.default_generator.manual_seed(seed)
        trainer = decoder_trainer(model, pictures, seed, shares, eye)
    taken, spent = train_adversarially(trainer, steps, seconds, progress, stop)
    vae = copy.deepcopy(model.vae)
    vae.decoder.load_state_dict(trainer.averaged.state_dict())
    before = model.training.get("sharpened", {"steps": 0, "seconds": 0.0})
    facts = {
        "steps": before["steps"] + taken,
        "seconds": round(before["seconds"] + spent, 1),
        "steps_with_eye": before.get("steps_with_eye", 0) + (taken if eye else 0),
    }
    training = {**model.training, "sharpened": facts}
    return dataclasses.replace(model, vae=vae.eval(), training=training, fingerprint="")


def decoder_trainer(
    model: Model, pictures: np.ndarray, seed: int = 0, shares: Shares | None = None, eye: bool = False
) -> AdversarialTrainer:
    """A copy of the decoder of a model, and the critic that it learns against. Arguments as of `sharpen`."""
    vae = copy.deepcopy(model.vae).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    device = next(vae.parameters()).device
    recipe = _recipe(min(pictures.shape[1:3]), device, eye)
    recipe = dataclasses.replace(recipe, shares=shares or recipe.shares)
    channels = pictures.shape[3]
    critic = ProjectedCritic(channels, recipe, device, seed) if eye else PatchCritic(channels, recipe, device)
    batches = DecoderBatches(model, vae, pictures, recipe, seed)
    return AdversarialTrainer(vae.decoder, batches, critic, recipe)


def _recipe(side: int, device: torch.device, eye: bool) -> Recipe:
    if eye:
        return CUDA_RECIPE if device.type == "cuda" else PROJECTED_RECIPE
    return LARGE_RECIPE if side >= LARGE else PATCH_RECIPE


def _warn_if_narrow(model: Model) -> None:
    m = model.config.model
    narrow = min(m.widths or FAMILIES[m.family].widths)
    if narrow < NARROW:
        more = math.ceil(NARROW / narrow)
        advice = f"--wider {more}" if m.family == "residual" else "more channels in training: --set widths=…"
        log.warning("This decoder has few channels and gains little. Try %s.", advice)
