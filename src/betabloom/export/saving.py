"""A model directory of a model in the hand, no larger than it has to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from betabloom.model.model import Model

__all__ = ["save_small"]


def save_small(model: Model, folder: Path) -> Model:
    """Save a model, in 16 bits if that loses nothing, as of a model that was loaded from a file in 16 bits."""
    weights = model.vae.state_dict().values()
    half = all(bool((value.half().to(value.dtype) == value).all()) for value in weights if value.is_floating_point())
    return model.save(folder, half)
