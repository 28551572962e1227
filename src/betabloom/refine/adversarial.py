r"""A decoder learns against a critic, which learns to tell pictures from what the decoder draws.

A likelihood with independent pixels has its optimum at the mean of all pictures that a code may stand for, and that
mean is blurred. So, after training, the decoder alone goes on for a while against a critic (Larsen et al. 2016,
"Autoencoding beyond pixels using a learned similarity metric", https://arxiv.org/abs/1512.09300). Encoder, prior and
fitted samplers, and with them the rate, stay what they are; the loss is now

    −log p(x|z)  +  Σ_l ‖D_l(x) − D_l(x̂)‖₁  −  D(x̂),        x̂ = E[x|z],

with D_l the features of the critic and D its verdict, which learns by the hinge loss to tell x from x̂. Those are
reconstructions, z ~ q(z|x), and new pictures, z ~ the sampler of `generate`, which have the last term only. The
gradients of the terms with respect to x̂ are scaled to given norms (Défossez et al. 2022,
https://arxiv.org/abs/2210.13438, section 3.4), so that no weight depends on the scale of a term.

A trainer is composed of three parts: the student, which draws; `batches`, which lets it draw; and a critic, either the
one of `betabloom.refine.critic` or that of `betabloom.refine.projected_critic`. The price: reconstructions are further
from their pictures, so the likelihood is lower. Results are in docs/log.md.

A trainer knows where it stands: `tensors` and `numbers` are all that it needs to go on as if it had not stopped, since
what is random in a step follows from the seed and the number of the step.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from betabloom.networks.averaging import move_average
from betabloom.refine.adam import adam_memory, adam_tensors, restore_adam
from betabloom.refine.repetition import Repetition
from betabloom.system.hardware import choose_precision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from betabloom.system.console import Progress
    from betabloom.system.signals import Stop

    Batches = Callable[[int], tuple[Tensor, Tensor]]
    """step → pictures x (B, C, H, W), and x̂ (B + B', C, H, W) by the student: those of x, then new ones."""

__all__ = [
    "AdversarialTrainer",
    "Critic",
    "CriticOptimiser",
    "Recipe",
    "Shares",
    "autocast",
    "pixel_gradient",
    "train_adversarially",
]

AVERAGING = 0.999
TINY = 1e-12


@dataclasses.dataclass(frozen=True)
class Shares:
    """How strongly each term pulls at a picture: the norms that its gradients are scaled to.

    Attributes:
        likelihood: Towards the picture that was encoded, pixel by pixel.
        features: Towards it in the critic's features.
        verdict: Towards what the critic takes for a picture.
    """

    likelihood: float = 1.0
    features: float = 1.0
    verdict: float = 0.15


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The numbers that a student and its critic learn with.

    Attributes:
        shares: How strongly each term pulls.
        rate: Learning rate of the student.
        critic_rate: Learning rate of the critic, which has to be ahead.
        momentum: Adam's β₁ of the critic.
        warm_up: Steps in which both rates rise to their values.
        real: Pictures in a step, with as many reconstructions.
        fresh: New pictures in a step.
        pixels: Weight of the verdict on the pixels, beside that of each feature map; of a projected critic alone.
            With little of it, textures that the feature network is blind to are stippled; with much, all after long.
    """

    shares: Shares
    rate: float = 3e-4
    critic_rate: float = 1e-3
    momentum: float = 0.5
    warm_up: int = 1
    real: int = 32
    fresh: int = 16
    pixels: float = 3.0


class CriticOptimiser:
    """Adam on the hinge loss of a critic.

    Attributes:
        adam: Adam, with what it remembers of every weight.
        accuracy: Running average of how well the critic tells pictures from the student's: 1 is always, 0 never.
    """

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        learned = [weight for weight in network.parameters() if weight.requires_grad]
        self.adam = torch.optim.Adam(learned, recipe.critic_rate, (recipe.momentum, 0.99))
        self._rate = recipe.critic_rate
        self.accuracy = 0.0

    def scale_rate(self, factor: float) -> None:
        """Set the learning rate to `factor` times the usual one."""
        _set_rate(self.adam, factor * self._rate)

    def step(self, verdicts: Iterable[tuple[Tensor, Tensor]]) -> None:
        """One step down the hinge loss of each head's verdicts on real pictures and on drawn ones."""
        losses = [F.relu(1 - real).mean() + F.relu(1 + drawn).mean() for real, drawn in verdicts]
        loss = torch.stack(losses).mean()  # 0 where it is always right, 2 where it knows nothing
        self.adam.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.adam.step()
        self.accuracy = 0.99 * self.accuracy + 0.01 * (1 - 0.5 * loss.item())


class Critic(Protocol):
    """What a student learns against."""

    optimiser: CriticOptimiser
    network: nn.Module
    weights: tuple[float, float] | None

    def gradient(self, step: int, x: Tensor, made: Tensor) -> Tensor | None:
        """Learn from x (B, C, H, W) and x̂ (B + B', C, H, W); the gradient of the terms at x̂, or None at first."""


class AdversarialTrainer:
    """A student that draws pictures, what it draws, and the critic of it.

    Arguments:
        student: What is taught; its weights are changed.
        batches: Pictures, and what the student draws, of every step.
        critic: What it learns against.
        recipe: The numbers that both learn with.

    Attributes:
        averaged: The student with a running average of its weights, which is the result.
        taken: Steps that are done.
        seconds: Seconds that they took.
    """

    def __init__(self, student: nn.Module, batches: Batches, critic: Critic, recipe: Recipe) -> None:
        self.averaged = copy.deepcopy(student).requires_grad_(requires_grad=False)
        self.student = student.requires_grad_(requires_grad=True)
        self.batches, self.critic, self.recipe = batches, critic, recipe
        self.optimiser = torch.optim.Adam(student.parameters(), recipe.rate, (0.5, 0.99))
        self.repetition = Repetition()
        self.taken, self.seconds = 0, 0.0

    def tensors(self) -> dict[str, Tensor]:
        """All weights, and what the optimisers remember of them, by name: the tensors themselves, not copies."""
        found = {f"{part}.{name}": value for part, each in self._parts() for name, value in each.state_dict().items()}
        return found | adam_tensors("adam", self.optimiser) | adam_tensors("critic_adam", self.critic.optimiser.adam)

    def memory(self) -> dict[str, Tensor]:
        """The entries of `tensors` that a trainer may not have yet, without memory of their own."""
        return adam_memory("adam", self.optimiser) | adam_memory("critic_adam", self.critic.optimiser.adam)

    def numbers(self) -> dict[str, Any]:
        """All that is not a tensor, as values for JSON."""
        return {
            "taken": self.taken,
            "seconds": self.seconds,
            "accuracy": self.critic.optimiser.accuracy,
            "usual": self.repetition.usual,
            "weights": self.critic.weights,
        }

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Put back what `tensors` and `numbers` returned."""
        for part, each in self._parts():
            for name, value in each.state_dict().items():
                value.copy_(tensors[f"{part}.{name}"])
        restore_adam("adam", self.optimiser, tensors)
        restore_adam("critic_adam", self.critic.optimiser.adam, tensors)
        self.taken, self.seconds = int(numbers["taken"]), float(numbers["seconds"])
        self.critic.optimiser.accuracy, self.repetition.usual = float(numbers["accuracy"]), numbers["usual"]
        weights = numbers["weights"]
        self.critic.weights = None if weights is None else (float(weights[0]), float(weights[1]))

    def _parts(self) -> list[tuple[str, nn.Module]]:
        return [("student", self.student), ("averaged", self.averaged), ("critic", self.critic.network)]

    def step(self, step: int, rate: float) -> None:
        """One step of the critic and one of the student, both with `rate` times the learning rate."""
        rate *= min(1.0, (step + 1) / self.recipe.warm_up)
        _set_rate(self.optimiser, rate * self.recipe.rate)
        self.critic.optimiser.scale_rate(rate)
        x, made = self.batches(step)
        gradient = self.critic.gradient(step, x, made.detach())
        self.repetition.observe(x)
        if gradient is None:
            return
        gradient += self.repetition.gradient(made)
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(made, gradient)
        self.optimiser.step()
        move_average(self.averaged.parameters(), self.student.parameters(), AVERAGING, step)


def train_adversarially(
    trainer: AdversarialTrainer,
    steps: int,
    seconds: float,
    progress: Progress | None = None,
    stop: Stop | None = None,
    watch: Callable[[float], bool] = lambda t: False,
) -> tuple[int, float]:
    """Take steps until the end, or until asked to stop; the learning rate falls to 0 over the second half.

    A trainer that was restored goes on from where it is.

    Arguments:
        trainer: Its student is changed.
        steps: How many steps in all; 0 if `seconds` says for how long.
        seconds: For how long in all, if `steps` is 0.
        progress: Called as progress(step, steps, text).
        stop: Ends it early when asked.
        watch: Called after each step with the progress t in (0, 1], which counts the seconds that it takes itself; True
            ends the training. Such are `betabloom.refine.brakes.Brakes`.

    Returns:
        How many steps were taken, and in how many seconds.
    """
    begun = time.monotonic() - trainer.seconds
    t = trainer.taken / steps if steps else trainer.seconds / seconds
    while t < 1 and not (stop and stop.asked):
        trainer.step(trainer.taken, min(1.0, 2 * (1 - t)))
        trainer.taken += 1
        trainer.seconds = time.monotonic() - begun
        t = trainer.taken / steps if steps else trainer.seconds / seconds
        if progress:
            text = f"critic {trainer.critic.optimiser.accuracy:.2f}"
            progress(trainer.taken, steps or math.ceil(trainer.taken / t), text)
        if watch(min(t, 1.0)):
            break
    return trainer.taken, time.monotonic() - begun


def autocast(device: torch.device) -> torch.autocast:
    """The context in which networks compute on this device: bf16 where it has arithmetic for it."""
    dtype = choose_precision("auto", device)
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def pixel_gradient(x: Tensor, made: Tensor, norm: float) -> Tensor:
    """The gradient of ½‖x̂ − x‖² at x̂ (B + B', …), scaled to a norm; 0 for the B' new pictures."""
    gradient = torch.zeros_like(made)
    gradient[: len(x)] = made.detach()[: len(x)] - x
    gradient *= norm / gradient.norm().clamp_min(TINY)
    return gradient


def _set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
