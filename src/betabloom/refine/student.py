r"""A decoder goes on to learn from a teacher: a critic, or what is known of the features of real pictures.

A likelihood with independent pixels has its optimum at the mean of all pictures that a code may stand for, and that
mean is blurred. So, after training, the decoder alone goes on for a while with a teacher. Encoder, prior and fitted
samplers, and with them the rate, stay what they are. Where the teacher is a critic, which learns to tell pictures from
what the decoder draws, the loss is now (Larsen et al. 2016, "Autoencoding beyond pixels using a learned similarity
metric", https://arxiv.org/abs/1512.09300)

    −log p(x|z)  +  Σ_l ‖D_l(x) − D_l(x̂)‖₁  −  D(x̂),        x̂ = E[x|z],

with D_l the features of the critic and D its verdict, which learns by the hinge loss to tell x from x̂. Those are
reconstructions, z ~ q(z|x), and new pictures, z ~ the sampler of `generate`, which have the last term only. The
gradients of the terms with respect to x̂ are scaled to given norms (Défossez et al. 2022,
https://arxiv.org/abs/2210.13438, section 3.4), so that no weight depends on the scale of a term.

In place of a critic, `betabloom.refine.moments` lowers the Fréchet distance between features of pictures and those of
new ones.

A trainer is composed of three parts: the student, which draws; `batches`, which lets it draw; and its teacher:
`betabloom.refine.moments`, `patch_critic` or `projected_critic`. The price: reconstructions are further from their
pictures, so the likelihood is lower. Results are in docs/log.md.

A trainer knows where it stands: `tensors` and `numbers` are all that it needs to go on as if it had not stopped, since
what is random in a step follows from the seed and the number of the step.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import time
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from betabloom.networks.averaging import move_average
from betabloom.refine.adam import adam_memory, adam_tensors, restore_adam
from betabloom.refine.repetition import Repetition
from betabloom.system.hardware import choose_precision

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from betabloom.system.console import Progress
    from betabloom.system.signals import Stop

    Batches = Callable[..., tuple[Tensor, Tensor]]
    """step → pictures x (B, C, H, W), and x̂ (B + B', C, H, W) by the student: those of x, then new ones.

    A second argument draws x̂ in place of the student.
    """
    Before = Callable[[], Tensor]
    """Draws the new pictures of a step, (B', C, H, W), by the trailing student."""

__all__ = [
    "TINY",
    "Recipe",
    "Shares",
    "StudentTrainer",
    "Teacher",
    "autocast",
    "pixel_gradient",
    "set_rate",
    "train_student",
]

AVERAGING = 0.999
TINY = 1e-12


@dataclasses.dataclass(frozen=True)
class Shares:
    """How strongly each term pulls at a picture: the norms that its gradients are scaled to.

    Attributes:
        likelihood: Towards the picture that was encoded, pixel by pixel.
        features: Towards it in the teacher's features.
        verdict: Towards what the teacher takes for a picture.
    """

    likelihood: float = 1.0
    features: float = 1.0
    verdict: float = 0.15


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The numbers that a student and its teacher learn with.

    Attributes:
        shares: How strongly each term pulls.
        rate: Learning rate of the student.
        critic_rate: Learning rate of the critic, which has to be ahead.
        momentum: Adam's β₁ of the critic.
        warm_up: Steps in which both rates rise to their values, the student's from where it is taught.
        real: Pictures in a step, with as many reconstructions.
        fresh: New pictures in a step.
        pixels: Weight of the verdict on the pixels, beside that of each feature map; of a projected critic alone.
            With little of it, textures that the feature network is blind to are stippled; with much, all after long.
        trailing: Part of a trailing student, the running mean of the student's weights, that is kept in a step; its
            new pictures are shown to the teacher as well. 0 for none.
    """

    shares: Shares
    rate: float = 3e-4
    critic_rate: float = 1e-3
    momentum: float = 0.5
    warm_up: int = 1
    real: int = 32
    fresh: int = 16
    pixels: float = 3.0
    trailing: float = 0.0


class Teacher(Protocol):
    """What a student learns from.

    Attributes:
        silent: Steps in which it learns alone, and teaches nothing.
    """

    silent: int

    def gradient(self, step: int, x: Tensor, made: Tensor, before: Before | None = None) -> Tensor | None:
        """Learn from x (B, C, H, W) and x̂ (B + B', C, H, W); the gradient of the terms at x̂, or None at first."""

    def scale_rate(self, factor: float) -> None:
        """Set its own learning rate to `factor` times the usual one."""

    def status(self) -> dict[str, float]:
        """How it stands with the student, by name."""

    def tensors(self) -> dict[str, Tensor]:
        """All that it remembers, by name: the tensors themselves, not copies."""

    def memory(self) -> dict[str, Tensor]:
        """The entries of `tensors` that it may not have yet, without memory of their own."""

    def numbers(self) -> dict[str, Any]:
        """All that is not a tensor, as values for JSON."""

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Put back what `tensors` and `numbers` returned."""


class StudentTrainer:
    """A student that draws pictures, what it draws, and its teacher.

    Arguments:
        student: What is taught; its weights are changed.
        batches: Pictures, and what the student draws, of every step.
        teacher: What it learns from.
        recipe: The numbers that both learn with.

    Attributes:
        averaged: The student with a running average of its weights, which is the result.
        trailing: One with a shorter average; None where the recipe has none.
        taken: Steps that are done.
        seconds: Seconds that they took.
    """

    def __init__(self, student: nn.Module, batches: Batches, teacher: Teacher, recipe: Recipe) -> None:
        self.averaged = copy.deepcopy(student).requires_grad_(requires_grad=False)
        self.trailing = copy.deepcopy(self.averaged) if recipe.trailing else None
        self.student = student.requires_grad_(requires_grad=True)
        self.batches, self.teacher, self.recipe = batches, teacher, recipe
        self.optimiser = torch.optim.Adam(student.parameters(), recipe.rate, (0.5, 0.99))
        self.repetition = Repetition()
        self.taken, self.seconds = 0, 0.0

    def tensors(self) -> dict[str, Tensor]:
        """All weights, and what the optimisers remember of them, by name: the tensors themselves, not copies."""
        found = {f"{part}.{name}": value for part, each in self._parts() for name, value in each.state_dict().items()}
        return found | adam_tensors("adam", self.optimiser) | self.teacher.tensors()

    def memory(self) -> dict[str, Tensor]:
        """The entries of `tensors` that a trainer may not have yet, or had not in earlier versions."""
        trailing = self.trailing.state_dict() if self.trailing else {}
        found = {f"trailing.{name}": value for name, value in trailing.items()}
        return found | adam_memory("adam", self.optimiser) | self.teacher.memory()

    def numbers(self) -> dict[str, Any]:
        """All that is not a tensor, as values for JSON."""
        own = {"taken": self.taken, "seconds": self.seconds, "usual": self.repetition.usual}
        return own | self.teacher.numbers()

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Put back what `tensors` and `numbers` returned; a trailing student that is missing begins as the student."""
        for part, each in self._parts():
            for name, value in each.state_dict().items():
                value.copy_(tensors.get(f"{part}.{name}", tensors[f"student.{name}"]))
        restore_adam("adam", self.optimiser, tensors)
        self.teacher.restore(tensors, numbers)
        self.taken, self.seconds = int(numbers["taken"]), float(numbers["seconds"])
        self.repetition.usual = numbers["usual"]

    def _parts(self) -> list[tuple[str, nn.Module]]:
        parts = [("student", self.student), ("averaged", self.averaged)]
        return [*parts, ("trailing", self.trailing)] if self.trailing else parts

    def step(self, step: int, rate: float) -> None:
        """One step of the teacher and one of the student, both with `rate` times the learning rate."""
        done, taught = step + 1, max(step + 1 - self.teacher.silent, 0)
        set_rate(self.optimiser, rate * min(1.0, taught / self.recipe.warm_up) * self.recipe.rate)
        self.teacher.scale_rate(rate * min(1.0, done / self.recipe.warm_up))
        x, made = self.batches(step)
        before = functools.partial(self._before, step) if self.trailing else None
        gradient = self.teacher.gradient(step, x, made.detach(), before)
        self.repetition.observe(x)
        if gradient is None:
            return
        gradient += self.repetition.gradient(made)
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(made, gradient)
        self.optimiser.step()
        move_average(self.averaged.parameters(), self.student.parameters(), AVERAGING, step)
        if self.trailing:
            move_average(self.trailing.parameters(), self.student.parameters(), self.recipe.trailing)

    @torch.no_grad()
    def _before(self, step: int) -> Tensor:
        x, made = self.batches(step, self.trailing)
        return made[len(x) :]


def train_student(
    trainer: StudentTrainer,
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
            text = ", ".join(f"{name} {value:.2f}" for name, value in trainer.teacher.status().items())
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


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all weights."""
    for group in optimiser.param_groups:
        group["lr"] = rate
