"""What can generate pictures: `Model` with torch, and `NumpyModel` without it, seen from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from betabloom.config import Config
    from betabloom.data import Pipeline

__all__ = ["Generator"]


class Generator(Protocol):
    """A trained model that makes new pictures, whatever it computes them with."""

    @property
    def config(self) -> Config:
        """The settings it was trained with."""

    @property
    def pipeline(self) -> Pipeline:
        """How its pictures were prepared."""

    @property
    def training(self) -> Mapping[str, Any]:
        """Facts about the training."""

    @property
    def fingerprint(self) -> str:
        """First 16 hexadecimal digits of a hash of all weights."""

    def generate(
        self,
        n: int = 16,
        seed: int | None = 0,
        temperature: float = 1.0,
        start: int = 0,
        sampler: str = "auto",
        precision: str = "fp32",
    ) -> np.ndarray:
        """New pictures, uint8 (n, H, W, C): see `betabloom.Model.generate`."""
