"""Sharper pictures: the decoder of a trained model is trained further against a critic.

Critics: `betabloom.refine.critic` and `betabloom.refine.projected_critic`.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
import math
from typing import TYPE_CHECKING

import torch

from betabloom.errors import UsageError
from betabloom.networks.spec import FAMILIES
from betabloom.refine.critic import WIDTHS, DecoderTrainer, train_adversarially
from betabloom.refine.projected_critic import ProjectedDecoderTrainer
from betabloom.refine.widen import widened
from betabloom.system.hardware import keep_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from betabloom.model.model import Model
    from betabloom.refine.critic import Shares
    from betabloom.system.signals import Stop

__all__ = ["sharpen"]

log = logging.getLogger(__name__)

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
    progress: Callable[[int, int, str], None] | None = None,
    stop: Stop | None = None,
) -> Model:
    """Train the decoder of a model against a critic, and nothing else of it.

    Arguments:
        model: A trained model; it is left as it is.
        pictures: The pictures that it was trained with, uint8 (N, H, W, C).
        steps: How many steps, or
        seconds: for how long.
        seed: Of everything that is drawn.
        shares: How strongly each term pulls; of the kind of critic if None.
        eye: Whether the critic looks through EfficientNet-Lite0 (`betabloom.refine.projected_critic`, extra `metrics`).
            A step takes several times as long, and more is learned from it.
        wider: Factor on the channels of the network, which draws the same at first (`betabloom.refine.widen`).
        progress: Called as progress(step, steps, text).
        stop: When it is asked, what was learned until then is kept.

    Returns:
        The model with the averaged weights of the decoder; its samplers and their codes are the same.

    Raises:
        UsageError: Neither or both of steps and seconds are given, or pictures are too few, too small or, for the eye,
            not in colours.
        BetabloomError: The extra `metrics` is needed for the eye, and not installed.
    """
    if bool(steps) == bool(seconds):
        raise UsageError("Say either how many steps or how many seconds to sharpen for.")
    if len(pictures) < 2 or min(pictures.shape[1:3]) < 2 ** len(WIDTHS):
        raise UsageError(f"A critic needs at least 2 pictures of 16×16 or more, not {pictures.shape}.")
    if eye and pictures.shape[3] != 3:
        raise UsageError("--eye needs colour pictures: its feature network was trained on RGB. Leave out --eye.")
    model = widened(model, wider, seed)
    _warn_if_narrow(model)
    keep_memory()
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay what they were
        torch.default_generator.manual_seed(seed)
        lesson = (ProjectedDecoderTrainer if eye else DecoderTrainer)(model, pictures, seed, shares)
    taken, spent = train_adversarially(lesson, steps, seconds, progress, stop)
    vae = copy.deepcopy(model.vae)
    vae.decoder.load_state_dict(lesson.averaged.state_dict())
    before = model.training.get("sharpened", {"steps": 0, "seconds": 0.0})
    facts = {
        "steps": before["steps"] + taken,
        "seconds": round(before["seconds"] + spent, 1),
        "steps_with_eye": before.get("steps_with_eye", 0) + (taken if eye else 0),
    }
    training = {**model.training, "sharpened": facts}
    return dataclasses.replace(model, vae=vae.eval(), training=training, fingerprint="")


def _warn_if_narrow(model: Model) -> None:
    m = model.config.model
    narrow = min(m.widths or FAMILIES[m.family].widths)
    if narrow < NARROW:
        more = math.ceil(NARROW / narrow)
        advice = f"--wider {more}" if m.family == "residual" else "more channels, --set widths=…, in training"
        log.warning("this decoder is narrow and does not follow the critic far: give it %s", advice)
