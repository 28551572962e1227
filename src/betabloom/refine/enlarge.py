r"""Pictures of twice the size: a trained model gets an `Enlarger`, which is taught alone on photos of that size.

Codes, samplers and everything else of the model stay what they are: the encoder sees halves of the larger pictures,
means of 2×2 pixels, and the decoder draws what it drew before, which the enlarger E doubles. So the decoder is now
E ∘ η(z), and the likelihood that of the larger pictures.

E learns from windows x of photos alone: it is given x at half its size, and a critic (`betabloom.refine.patch_critic`)
learns to tell what E draws from photos
(Ledig et al. 2017, "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network",
https://arxiv.org/abs/1609.04802). What a decoder draws is softer than the halves of photos, and has speckles. So the
halves are softened and get noise, by amounts that are drawn for each, and E learns to correct that (as Wang et al.
2021, "Real-ESRGAN", https://arxiv.org/abs/2107.10833, section 3). New pictures of the model are not shown to the
critic: it would know them by their colours, and where a critic was not taught by such pictures, its verdict is won by
unwanted patterns (docs/log.md).
"""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from betabloom.errors import UsageError
from betabloom.model.model import Model
from betabloom.refine.patch_critic import PatchCritic
from betabloom.refine.student import Recipe, Shares, StudentTrainer, autocast, train_student
from betabloom.system.hardware import keep_memory
from betabloom.vae import inference
from betabloom.vae.build import channels_last, make_vae

if TYPE_CHECKING:
    from betabloom.system.console import Progress
    from betabloom.system.signals import Stop

__all__ = ["SMALLEST", "WIDTH", "enlarge", "enlarged", "enlarger_trainer", "enlarging", "with_learned"]

WIDTH = 48  # channels of an enlarger
SMALLEST = 16  # pixels of the side of a model's pictures
BATCH = 24  # windows of photos in a step
WINDOW = 64  # pixels of the side of a window
SOFTEST = 0.8  # part of a softened half that is a mean over 3×3 pixels, at most
NOISIEST = 0.04  # deviation of the noise that a half gets, at most; 1 is from black to white
DARKEST = 1 / 512  # half a grey level: how far from 0 and 1 a pixel is taken to be
HEAD_START = 200  # steps in which E follows the pixels alone, while the critic learns
OF_ITS_SIZE = ("validation", "beta_normalised")  # facts of a training that are not those of the larger pictures


def enlarge(
    model: Model,
    pictures: np.ndarray,
    steps: int = 0,
    seconds: float = 0.0,
    seed: int = 0,
    width: int = WIDTH,
    shares: Shares | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Model:
    """Make a model that draws pictures of twice the size, with the same codes.

    Arguments:
        model: A trained model; it is left as it is.
        pictures: Photos to learn detail from, uint8 (N, 2H, 2W, C), prepared by `model.pipeline.doubled()`. It does
            not matter whether the model was trained with them or not.
        steps: How many steps, or
        seconds: for how long.
        seed: Of all random numbers.
        width: Channels of the enlarger.
        shares: How strongly each term pulls.
        progress: Called as progress(step, steps, text).
        stop: Ends it early when asked; what was learned until then is kept.

    Raises:
        UsageError: Neither or both of steps and seconds are given, the photos have another size, or the likelihood is
            the continuous Bernoulli, whose outputs are no logits of what it draws.
    """
    if bool(steps) == bool(seconds):
        raise UsageError("Set either the number of steps or the number of seconds to learn for.")
    larger, trainer = enlarging(model, pictures, seed, width, shares)
    train_student(trainer, steps, seconds, progress, stop)
    return with_learned(larger, trainer, len(pictures))


def enlarging(
    model: Model, pictures: np.ndarray, seed: int = 0, width: int = WIDTH, shares: Shares | None = None
) -> tuple[Model, StudentTrainer]:
    """A model that draws pixels four times, and what teaches its enlarger; arguments and errors as of `enlarge`."""
    if model.config.model.likelihood == "continuous-bernoulli":
        raise UsageError("A model with the likelihood continuous-bernoulli cannot be enlarged.")
    channels, high, wide = model.config.shape
    if pictures.dtype != np.uint8 or pictures.shape[1:] != (2 * high, 2 * wide, channels) or not len(pictures):
        raise UsageError(
            f"To draw {2 * wide}x{2 * high} pixels, photos are needed that are uint8 of shape (N, {2 * high}, "
            f"{2 * wide}, "
            f"{channels}), not {pictures.dtype} {pictures.shape}."
        )
    if min(high, wide) < SMALLEST:
        raise UsageError(
            f"A critic needs sides of {2 * SMALLEST} pixels or more: {wide}x{high} is too small to enlarge."
        )
    keep_memory()
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay what they were
        torch.default_generator.manual_seed(seed)
        larger = enlarged(model, width)
        enlarger = larger.vae.decoder.enlargers[-1]
        return larger, enlarger_trainer(model, copy.deepcopy(enlarger), pictures, seed, shares)


def with_learned(larger: Model, trainer: StudentTrainer, photos: int) -> Model:
    """The model from `enlarging` with what its enlarger has learned from so many photos."""
    vae = copy.deepcopy(larger.vae)
    vae.decoder.enlargers[-1].load_state_dict(trainer.averaged.state_dict())
    facts = {"steps": trainer.taken, "seconds": round(trainer.seconds, 1), "photos": photos}
    training = {**larger.training, "enlarged": [*larger.training.get("enlarged", []), facts]}
    return dataclasses.replace(larger, vae=vae.eval(), training=training)


def enlarged(model: Model, width: int = WIDTH) -> Model:
    """The same model with an enlarger that has learned nothing yet: every pixel is drawn four times."""
    c, pipeline = model.config, model.pipeline.doubled()
    changes = {"height": pipeline.height, "width": pipeline.width, "pipeline": pipeline.name}
    config = c.replace({**changes, "enlargers": (*c.model.enlargers, width)})
    with torch.random.fork_rng(devices=[]):
        vae = make_vae(config)
    given = dict(model.vae.state_dict())
    if c.model.prior == "vamp":  # its components are pictures
        given["prior.logits"] = F.interpolate(given["prior.logits"], scale_factor=2)
    vae.load_state_dict(vae.state_dict() | given)
    device = next(model.vae.parameters()).device
    vae = vae.to(device).requires_grad_(requires_grad=False).eval()
    training = {key: value for key, value in model.training.items() if key not in OF_ITS_SIZE}
    return Model(channels_last(vae), config, pipeline, training, model.samplers, model.sampler)


def enlarger_trainer(
    model: Model, enlarger: nn.Module, pictures: np.ndarray, seed: int = 0, shares: Shares | None = None
) -> StudentTrainer:
    """An enlarger, and the critic that it learns against. Arguments as of `enlarge`."""
    recipe = Recipe(shares or Shares(), rate=5e-4, real=BATCH, fresh=0)
    device = next(enlarger.parameters()).device
    critic = PatchCritic(pictures.shape[3], recipe, device, HEAD_START)
    return StudentTrainer(enlarger, WindowBatches(model, enlarger, pictures, seed), critic, recipe)


class WindowBatches:
    """Step → windows x of photos (B, C, S, S), and what the enlarger E draws of their degraded halves.

    Arguments:
        model: Its likelihood says what the outputs of E mean.
        enlarger: E.
        pictures: uint8 (N, H, W, C).
        seed: Of all random numbers.
    """

    def __init__(self, model: Model, enlarger: nn.Module, pictures: np.ndarray, seed: int) -> None:
        self.enlarger, self.pictures, self.likelihood, self.seed = enlarger, pictures, model.vae.likelihood, seed
        self.device = next(enlarger.parameters()).device
        self.window = min(WINDOW, *(side // 2 * 2 for side in pictures.shape[1:3]))

    def __call__(self, step: int, by: nn.Module | None = None) -> tuple[Tensor, Tensor]:
        """The windows of a step, drawn by another enlarger if one is given."""
        rng = np.random.default_rng([self.seed, step])
        x = inference.to_tensor(_windows(self.pictures, BATCH, self.window, rng), self.device)
        x = x.contiguous(memory_format=torch.channels_last)
        eta = torch.logit(_degraded(F.avg_pool2d(x, 2), rng), DARKEST)
        with autocast(self.device):
            made = self.likelihood.mean((by or self.enlarger)(eta.contiguous(memory_format=torch.channels_last)))
        return x, made.contiguous(memory_format=torch.channels_last)


def _degraded(half: Tensor, rng: np.random.Generator) -> Tensor:
    """Pictures (B, C, H, W), softened and with noise, by amounts that are drawn for each."""
    soft = F.avg_pool2d(F.pad(half, (1,) * 4, mode="replicate"), 3, 1)
    softness, noisiness = (
        torch.from_numpy(rng.uniform(0, most, (len(half), 1, 1, 1)).astype(np.float32)).to(half.device)
        for most in (SOFTEST, NOISIEST)
    )
    noise = torch.from_numpy(rng.standard_normal(half.shape, np.float32)).to(half.device)
    return half.lerp(soft, softness) + noisiness * noise


def _windows(pictures: np.ndarray, count: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Squares of that side from so many pictures (N, H, W, C), half of them mirrored."""
    _, height, width, _ = pictures.shape
    rows = rng.integers(len(pictures), size=count)
    tops, lefts = (2 * rng.integers((end - side) // 2 + 1, size=count) for end in (height, width))
    return np.stack(
        [
            pictures[row, top : top + side, left : left + side][:, :: 1 if i % 2 else -1]
            for i, (row, top, left) in enumerate(zip(rows, tops, lefts, strict=True))
        ]
    )
