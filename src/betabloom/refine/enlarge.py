r"""Pictures of twice the size: a trained model gets an `Enlarger`, which is taught alone on photos of that size.

Codes, samplers and everything else of the model stay what they are: the encoder sees halves of the larger pictures,
means of 2×2 pixels, and the decoder draws what it drew, which the enlarger E doubles. So the decoder is now E ∘ η(z),
and the likelihood that of the larger pictures.

E learns from windows x of photos alone: it is given the half of x, and a critic (`betabloom.refine.critic`) tells
E's from photos
(Ledig et al. 2017, "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network",
https://arxiv.org/abs/1609.04802). What a decoder draws is softer than the halves of photos, and speckled here and
there. So the halves are softened and get noise, by amounts that are drawn for each, and E learns to put that right (as
Wang et al. 2021, "Real-ESRGAN", https://arxiv.org/abs/2107.10833, section 3). New pictures of the model are not shown
to the critic: their colours would give them away, and a verdict on what a critic has not learned to judge is won by
patterns that nobody wants to see (docs/log.md).
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
from betabloom.refine.critic import CRITIC_RATE, AdversarialTrainer, Critic, Shares, train_adversarially
from betabloom.system.hardware import keep_memory
from betabloom.vae import inference
from betabloom.vae.build import channels_last, make_vae

if TYPE_CHECKING:
    from collections.abc import Callable

    from betabloom.system.signals import Stop

__all__ = ["WIDTH", "EnlargerTrainer", "enlarge", "enlarged"]

WIDTH = 48  # channels of an enlarger
SMALLEST = 16  # pixels of the side of a model's pictures
BATCH = 24  # windows of photos in a step
WINDOW = 64  # pixels of the side of a window
SOFTEST = 0.8  # part of a softened half that is a mean over 3×3 pixels, at most
NOISIEST = 0.04  # deviation of the noise that a half gets, at most; 1 is from black to white
DARKEST = 1 / 512  # half a grey level: how far from 0 and 1 a pixel is taken to be
ALONE = 200  # steps in which E does not listen to the critic yet, which gets ahead
OF_ITS_SIZE = ("validation", "beta_normalised")  # facts of a training that are not those of the larger pictures


def enlarge(
    model: Model,
    pictures: np.ndarray,
    steps: int = 0,
    seconds: float = 0.0,
    seed: int = 0,
    width: int = WIDTH,
    shares: Shares | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    stop: Stop | None = None,
) -> Model:
    """Make a model that draws pictures of twice the size, with the same codes.

    Arguments:
        model: A trained model; it is left as it is.
        pictures: Photos to learn detail from, uint8 (N, 2H, 2W, C), prepared by `model.pipeline.doubled()`. It does
            not matter whether the model was trained with them or not.
        steps: How many steps, or
        seconds: for how long.
        seed: Of everything that is drawn.
        width: Channels of the enlarger.
        shares: How strongly each term pulls.
        progress: Called as progress(step, steps, text).
        stop: When it is asked, what was learned until then is kept.

    Raises:
        UsageError: Neither or both of steps and seconds are given, the photos have another size, or the likelihood is
            the continuous Bernoulli, whose outputs are no logits of what it draws.
    """
    if bool(steps) == bool(seconds):
        raise UsageError("Say either how many steps or how many seconds to learn for.")
    if model.config.model.likelihood == "continuous-bernoulli":
        raise UsageError("A model with the likelihood continuous-bernoulli cannot be enlarged.")
    channels, high, wide = model.config.shape
    if pictures.dtype != np.uint8 or pictures.shape[1:] != (2 * high, 2 * wide, channels) or not len(pictures):
        raise UsageError(
            f"To draw {2 * wide}x{2 * high} pixels, it needs uint8 photos of shape (N, {2 * high}, {2 * wide}, "
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
        lesson = EnlargerTrainer(model, copy.deepcopy(enlarger), pictures, seed, shares or Shares())
    taken, spent = train_adversarially(lesson, steps, seconds, progress, stop)
    enlarger.load_state_dict(lesson.averaged.state_dict())
    facts = {"steps": taken, "seconds": round(spent, 1), "photos": len(pictures)}
    training = {**larger.training, "enlarged": [*larger.training.get("enlarged", []), facts]}
    return dataclasses.replace(larger, training=training)


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


class EnlargerTrainer(AdversarialTrainer):
    """The enlarger is the student."""

    rates = (5e-4, CRITIC_RATE)

    def __init__(self, model: Model, enlarger: nn.Module, pictures: np.ndarray, seed: int, shares: Shares) -> None:
        super().__init__(enlarger, Critic(pictures.shape[3]), seed, shares)
        self.pictures, self.likelihood = pictures, model.vae.likelihood
        self.window = min(WINDOW, *(side // 2 * 2 for side in pictures.shape[1:3]))

    def _drawn(self, step: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self.seed, step])
        x = inference.to_tensor(_windows(self.pictures, BATCH, self.window, rng), self.device)
        x = x.contiguous(memory_format=torch.channels_last)
        half = F.avg_pool2d(x, 2)
        soft = F.avg_pool2d(F.pad(half, (1,) * 4, mode="replicate"), 3, 1)
        softness, noisiness = (
            torch.from_numpy(rng.uniform(0, most, (BATCH, 1, 1, 1)).astype(np.float32)).to(self.device)
            for most in (SOFTEST, NOISIEST)
        )
        noise = torch.from_numpy(rng.standard_normal(half.shape, np.float32)).to(self.device)
        eta = torch.logit(half.lerp(soft, softness) + noisiness * noise, DARKEST)
        with self._autocast():
            made = self.likelihood.mean(self.student(eta.contiguous(memory_format=torch.channels_last)))
        return x, made.contiguous(memory_format=torch.channels_last)

    def _learn(self, step: int, x: Tensor, made: Tensor) -> Tensor | None:
        self._judge(x, made)
        if step >= ALONE:
            return self._pull(x, made.requires_grad_())
        pull: Tensor = made - x
        pull /= pull.norm().clamp_min(1e-12)
        return pull


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
