r"""A critic that teaches a trained decoder to draw sharp pictures.

A likelihood with independent pixels has its optimum at the mean of all pictures that a code may stand for, and that
mean is blurred. So, after training, the decoder alone goes on for a while against a critic (Larsen et al. 2016,
"Autoencoding beyond pixels using a learned similarity metric", https://arxiv.org/abs/1512.09300; on patches as Isola et
al. 2017, https://arxiv.org/abs/1611.07004, section 3.2.2). Encoder, prior and fitted samplers, and with them the rate,
stay what they are; the distortion is now

    −log p(x|z)  +  Σ_l ‖D_l(x) − D_l(x̂)‖₁  −  D(x̂),        x̂ = E[x|z],

with D_l the features of the critic and D its verdict, which learns by the hinge loss to tell pictures from x̂. Those are
reconstructions, z ~ q(z|x), and new pictures, z ~ the sampler of `generate`, which have the last term only. The
gradients of the terms with respect to x̂ are brought to given shares (Défossez et al. 2022,
https://arxiv.org/abs/2210.13438, section 3.4), so that no weight depends on the scale of a term.

Where the detail of x̂ repeats with the pixels of coarser maps more than that of pictures does, it is pulled away from
that too (`repeats`): stripes and grids are what a decoder finds first when it is asked for detail.

With `eye` the critic looks through a network that was trained on other pictures: `betabloom.refine.projected_critic`.
What it costs in both cases: reconstructions are further from their pictures, so the likelihood is lower.
What it brought is in docs/log.md.
"""

from __future__ import annotations

import abc
import copy
import dataclasses
import math
import time
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from betabloom.system.hardware import choose_precision
from betabloom.vae import inference

if TYPE_CHECKING:
    from collections.abc import Callable

    from betabloom.model.model import Model
    from betabloom.system.signals import Stop
    from betabloom.vae.prior import Prior
    from betabloom.vae.vae import VAE

__all__ = ["AdversarialTrainer", "Critic", "DecoderTrainer", "Shares", "repeats", "train_adversarially"]

BATCH = 32  # real pictures in a step; with as many reconstructions and half as many new ones
LARGE = 96  # pixels of a side from which on a step has fewer of them: tried with 128 (docs/log.md)
LEARNING_RATE = 3e-4
CRITIC_RATE = 1e-3  # the critic has to be ahead of the decoder
AVERAGING = 0.999
REMEMBERED = 0.98  # decay of the average over pictures of how much repeats in them
WIDTHS = (32, 64, 128, 256)
JUDGES = 2  # so many of the last levels have a verdict


@dataclasses.dataclass(frozen=True)
class Shares:
    """How strongly each term pulls at a picture: the norms that its gradients are brought to.

    Attributes:
        likelihood: Towards the picture that was encoded, pixel by pixel.
        features: Towards it in the eyes of the critic.
        verdict: Towards what the critic takes for a picture.
    """

    likelihood: float = 1.0
    features: float = 1.0
    verdict: float = 0.15


class Critic(nn.Module):
    """x (B, C, H, W) in [0, 1] → the features of each level, and verdicts on patches (B, P).

    Strided 4×4 convolutions with spectral normalisation (Miyato et al. 2018, https://arxiv.org/abs/1802.05957). The
    last two levels have a verdict on each of their places: the patches have sides of 22 and 46 pixels.
    """

    def __init__(self, channels: int, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        sizes = zip((channels, *widths), widths, strict=False)
        self.levels = nn.ModuleList(spectral_norm(nn.Conv2d(a, b, 4, stride=2, padding=1)) for a, b in sizes)
        self.judges = nn.ModuleList(spectral_norm(nn.Conv2d(a, 1, 1)) for a in widths[-JUDGES:])

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        features, h = list[Tensor](), 2 * x - 1
        for level in self.levels:
            h = F.leaky_relu(level(h), 0.2)
            features.append(h)
        verdicts = [judge(h).flatten(1) for judge, h in zip(self.judges, features[-JUDGES:], strict=True)]
        return features, torch.cat(verdicts, 1).float()


class AdversarialTrainer(abc.ABC):
    """A student that draws pictures, a critic of them, and what both learn with.

    Arguments:
        student: What is taught; its weights are changed.
        critic: x (B, C, H, W) → features and verdicts, as `Critic`.
        seed: Of everything that is drawn.
        shares: How strongly each term pulls.

    Attributes:
        averaged: The student with a running average of its weights, which is what comes out of it.
        seen: How well the critic tells pictures from the student's: 1 is always, 0 never.
    """

    rates = (LEARNING_RATE, CRITIC_RATE)

    def __init__(self, student: nn.Module, critic: nn.Module, seed: int, shares: Shares) -> None:
        self.student, self.seed, self.shares = student, seed, shares
        self.device = next(student.parameters()).device
        self.dtype = choose_precision("auto", self.device)
        self.averaged = copy.deepcopy(student).requires_grad_(requires_grad=False)
        student.requires_grad_(requires_grad=True)
        self.critic = critic.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        learned = [weight for weight in self.critic.parameters() if weight.requires_grad]
        self.optimiser = torch.optim.Adam(student.parameters(), self.rates[0], (0.5, 0.99))
        self.critics = torch.optim.Adam(learned, self.rates[1], (0.5, 0.99))
        self.repeats = 0.0  # of the detail of pictures, the logarithm of the share that repeats
        self.seen = 0.0

    @abc.abstractmethod
    def _drawn(self, step: int) -> tuple[Tensor, Tensor]:
        """Pictures (B, C, H, W), and x̂ (B + B', C, H, W) by the student: those of the pictures, then new ones."""

    def step(self, step: int, rate: float) -> None:
        """One step of the critic and one of the student, both with `rate` times the learning rate."""
        for optimiser, usual in zip((self.optimiser, self.critics), self.rates, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * usual
        x, made = self._drawn(step)
        pull = self._learn(step, x, made.detach())
        self._remember(step, x)
        if pull is None:
            return
        pull += self._against_repeats(made)
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(made, pull)
        self.optimiser.step()
        decay = min(AVERAGING, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_([*self.averaged.parameters()], [*self.student.parameters()], 1 - decay)

    def _learn(self, step: int, x: Tensor, made: Tensor) -> Tensor | None:
        """The critic learns from pictures and x̂; which way each x̂ is to change, or None if it is not to yet."""
        self._judge(x, made)
        return self._pull(x, made.requires_grad_())

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def _judge(self, x: Tensor, made: Tensor) -> None:
        """The critic learns to tell pictures from x̂ by the hinge loss."""
        with self._autocast():
            _, verdicts = self.critic(torch.cat([x, made]))
        real, fake = verdicts[: len(x)], verdicts[len(x) :]
        loss = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        self._teach(loss)

    def _teach(self, loss: Tensor) -> None:
        """One step of the critic down its hinge loss: 0 where it is always right, 2 where it knows nothing."""
        self.critics.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.critics.step()
        self.seen = 0.99 * self.seen + 0.01 * (1 - 0.5 * loss.item())

    def _pull(self, x: Tensor, made: Tensor) -> Tensor:
        """Which way each x̂ is to change: the terms' gradients, brought to their shares."""
        with self._autocast():
            with torch.no_grad():
                wanted, _ = self.critic(x)
            features, verdicts = self.critic(made)
            apart = sum((a[: len(x)] - b).abs().float().mean() for a, b in zip(features, wanted, strict=True))
        (by_features,) = torch.autograd.grad(apart, made, retain_graph=True)
        (by_verdict,) = torch.autograd.grad(-verdicts.mean(), made)
        by_pixels = torch.zeros_like(made)
        by_pixels[: len(x)] = made.detach()[: len(x)] - x
        pull = torch.zeros_like(made)
        for gradient, share in (
            (by_pixels, self.shares.likelihood),
            (by_features, self.shares.features),
            (by_verdict, self.shares.verdict),
        ):
            pull += share / gradient.norm().clamp_min(1e-12) * gradient
        return pull

    @torch.no_grad()
    def _remember(self, step: int, x: Tensor) -> None:
        """How much of the detail of pictures repeats, averaged over some hundred of them."""
        share = repeats(x).item()
        self.repeats = share if step == 0 else REMEMBERED * self.repeats + (1 - REMEMBERED) * share

    def _against_repeats(self, made: Tensor) -> Tensor:
        """Away from detail that repeats more than that of pictures does."""
        y = made.detach().requires_grad_()
        excess = repeats(y) - self.repeats
        if not excess > 0:
            return torch.zeros_like(made)
        pull: Tensor = torch.autograd.grad(excess, y)[0]
        pull *= excess.detach().clamp_max(1.0) / pull.norm().clamp_min(1e-12)
        return pull


def train_adversarially(
    lesson: AdversarialTrainer,
    steps: int,
    seconds: float,
    progress: Callable[[int, int, str], None] | None,
    stop: Stop | None,
) -> tuple[int, float]:
    """Take steps until the end, or until asked to stop: how many they were, and how many seconds they took."""
    begun, step, t = time.monotonic(), 0, 0.0
    while t < 1 and not (stop and stop.asked):
        lesson.step(step, min(1.0, 2 * (1 - t)))
        step += 1
        t = step / steps if steps else (time.monotonic() - begun) / seconds
        if progress:
            progress(step, steps or math.ceil(step / t), f"critic {lesson.seen:.2f}")
    return step, time.monotonic() - begun


class DecoderTrainer(AdversarialTrainer):
    """The decoder of a model is the student: it reconstructs pictures, and makes new ones.

    Attributes:
        real: Pictures in a step, with as many reconstructions.
        fresh: New pictures in a step.
    """

    real, fresh = BATCH, BATCH // 2
    usual = Shares()

    def __init__(self, model: Model, pictures: np.ndarray, seed: int, shares: Shares | None = None) -> None:
        if min(pictures.shape[1:3]) >= LARGE:
            self._settle_for_large()
        self.vae: VAE = copy.deepcopy(model.vae).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(self.vae.decoder, self._critic(pictures.shape[3]), seed, shares or self.usual)
        self.pictures = pictures
        self.density: Prior = model.density()
        # Both ways round, since a picture and its mirror image have codes of their own.
        both = [inference.encode(model.vae, part) for part in (pictures, np.ascontiguousarray(pictures[:, :, ::-1]))]
        self.mean = torch.from_numpy(np.stack([mean for mean, _ in both]))
        self.std = torch.from_numpy(np.stack([np.exp(0.5 * log_var) for _, log_var in both]))

    def _settle_for_large(self) -> None:
        self.real, self.fresh, self.usual = BATCH // 2, 12, Shares(verdict=0.2)

    def _critic(self, channels: int) -> nn.Module:
        return Critic(channels)

    def _drawn(self, step: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self.seed, step])
        rows, mirrored = rng.integers(len(self.pictures), size=self.real), rng.integers(2, size=self.real)
        chosen = self.pictures[rows]
        chosen = np.where(mirrored[:, None, None, None] == 1, chosen[:, :, ::-1], chosen)
        latents, real, fresh = self.mean.shape[2], self.real, self.fresh
        noise = torch.from_numpy(rng.standard_normal((real + fresh, latents), np.float32))
        codes = self.mean[mirrored, rows] + self.std[mirrored, rows] * noise[:real]
        with torch.no_grad():
            new = self.density.sample(noise[real:].to(self.device), torch.from_numpy(rng.random(fresh)).to(self.device))
        x = inference.to_tensor(chosen, self.device).contiguous(memory_format=torch.channels_last)
        with self._autocast():
            made = self.vae.decode(torch.cat([codes.to(self.device), new]))
        return x, made.contiguous(memory_format=torch.channels_last)


def repeats(x: Tensor) -> Tensor:
    """How much of the detail of pictures (B, C, H, W) is the same at every 4th or 8th pixel: log of its share.

    The cheapest detail for a decoder is a pattern that each of its coarse pixels brings along: stripes, a grid. Detail
    is what differs from a mean of 5×5 pixels that has no part in periods of 2 and 4. Of it the means over 4×4 pixels
    that lie 4 or 8 apart are taken: a 16th is left of detail that does not repeat, all of a pattern. Pictures with
    sides of fewer than 32 pixels have too few such pixels, and get 0.
    """
    height, width = (side // 8 * 8 for side in x.shape[2:])
    if min(height, width) < 32:
        return x.new_zeros(())
    x = x[:, :, :height, :width]
    along = torch.tensor([1.0, 2.0, 2.0, 2.0, 1.0], device=x.device) / 8
    kernel = torch.outer(along, along).expand(x.shape[1], 1, 5, 5)
    detail = x - F.conv2d(F.pad(x, (2,) * 4, mode="reflect"), kernel, groups=x.shape[1])
    same = [F.avg_pool2d(F.pixel_unshuffle(detail, period), 4, 2).flatten() for period in (4, 8)]
    tiny = 1e-12
    share: Tensor = (torch.cat(same).square().mean() + tiny) / (detail.square().mean() + tiny)
    return share.log()
