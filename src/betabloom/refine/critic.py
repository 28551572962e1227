"""What the critics have in common: a network that learns to tell pictures from what a student draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from betabloom.refine.adam import adam_memory, adam_tensors, restore_adam
from betabloom.refine.student import set_rate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from torch import Tensor

    from betabloom.refine.student import Recipe

__all__ = ["Critic", "CriticOptimiser"]

Network = TypeVar("Network", bound=nn.Module)
ADAM, NETWORK = "critic_adam", "critic"


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
        set_rate(self.adam, factor * self._rate)

    def step(self, verdicts: Iterable[tuple[Tensor, Tensor]]) -> None:
        """One step down the hinge loss of each head's verdicts on real pictures and on drawn ones."""
        losses = [F.relu(1 - real).mean() + F.relu(1 + drawn).mean() for real, drawn in verdicts]
        loss = torch.stack(losses).mean()  # 0 where it is always right, 2 where it knows nothing
        self.adam.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.adam.step()
        self.accuracy = 0.99 * self.accuracy + 0.01 * (1 - 0.5 * loss.item())


class Critic(Generic[Network]):
    """A teacher that learns itself; `gradient` is what its kinds differ in.

    Arguments:
        network: What its verdicts are by.
        recipe: What it learns with.

    Attributes:
        network: The same.
        optimiser: Of the network.
        weights: Factors on the gradients of the terms, where they are kept for some steps.
    """

    def __init__(self, network: Network, recipe: Recipe) -> None:
        self.network, self.optimiser = network, CriticOptimiser(network, recipe)
        self.weights: tuple[float, float] | None = None

    def scale_rate(self, factor: float) -> None:
        """Set the learning rate to `factor` times the usual one."""
        self.optimiser.scale_rate(factor)

    def status(self) -> dict[str, float]:
        """How well it tells pictures from the student's."""
        return {"critic": self.optimiser.accuracy}

    def tensors(self) -> dict[str, Tensor]:
        """The weights, and what Adam remembers of them."""
        found = {f"{NETWORK}.{name}": value for name, value in self.network.state_dict().items()}
        return found | adam_tensors(ADAM, self.optimiser.adam)

    def memory(self) -> dict[str, Tensor]:
        """What Adam may not remember yet, without memory."""
        return adam_memory(ADAM, self.optimiser.adam)

    def numbers(self) -> dict[str, Any]:
        """What is not a tensor."""
        return {"accuracy": self.optimiser.accuracy, "weights": self.weights}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Put back what `tensors` and `numbers` returned."""
        for name, value in self.network.state_dict().items():
            value.copy_(tensors[f"{NETWORK}.{name}"])
        restore_adam(ADAM, self.optimiser.adam, tensors)
        self.optimiser.accuracy, weights = float(numbers["accuracy"]), numbers["weights"]
        self.weights = None if weights is None else (float(weights[0]), float(weights[1]))
