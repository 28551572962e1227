"""What can generate pictures: `Model` with torch, and `NumpyModel` without it, seen from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from betabloom.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from betabloom.config import Config
    from betabloom.data import Pipeline

__all__ = ["Generator", "check_pictures"]


def check_pictures(pictures: np.ndarray, shape: tuple[int, int, int]) -> None:
    """Refuse pictures that are not uint8 of this shape (H, W, C)."""
    if pictures.dtype != "uint8" or pictures.shape[1:] != shape:
        height, width, channels = shape
        raise UsageError(
            f"This model reads uint8 pictures of shape (N, {height}, {width}, {channels}), "
            f"not {pictures.dtype} {pictures.shape}. Use model.prepare(images) to make them."
        )


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

    def draw(
        self, n: int, seed: int = 0, temperature: float = 1.0, start: int = 0, sampler: str = "auto"
    ) -> np.ndarray:
        """The codes, float32 (n, l), of the pictures that `generate` makes with the same arguments."""

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Pictures, uint8 (N, H, W, C), that codes (N, l) stand for."""

    @property
    def first_layer(self) -> np.ndarray:
        """Weights (F, l) of the linear layer that the decoder begins with."""

    def encode(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Posterior means and log-variances (N, l) of prepared pictures, uint8 (N, H, W, C)."""
