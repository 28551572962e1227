"""What goes over the wire: arrays as JSON and pictures as PNG, and the way back."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from betabloom.errors import FormatError
from betabloom.imaging.animation import save_animation
from betabloom.imaging.output import read_record
from betabloom.imaging.png import plain_png, save_png
from betabloom.studio.guard import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["film_file", "image_of", "picture_address", "png_file", "record_in", "short"]

JSON_DIGITS = 5


def short(values: np.ndarray) -> list[float]:
    """Numbers with as many digits as a picture needs."""
    rounded: list[float] = np.round(np.asarray(values, np.float64), JSON_DIGITS).tolist()
    return rounded


def image_of(picture: np.ndarray) -> Image.Image:
    """A picture, uint8 (H, W, C), as Pillow has it."""
    return Image.fromarray(picture if picture.shape[2] > 1 else picture[:, :, 0])


def picture_address(picture: np.ndarray) -> str:
    """A picture, uint8 (H, W, C), as the address of an image."""
    return f"data:image/png;base64,{base64.b64encode(plain_png(picture)).decode()}"


def png_file(image: Image.Image, record: Mapping[str, Any]) -> bytes:
    """A PNG that carries a record."""
    with tempfile.TemporaryDirectory() as folder:
        save_png(image, Path(folder) / "a.png", record)
        return (Path(folder) / "a.png").read_bytes()


def film_file(frames: np.ndarray, suffix: str, record: Mapping[str, Any], fps: float) -> bytes:
    """Frames (N, H, W, C) as .gif, .webp or .mp4."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"film{suffix}"
        save_animation(frames, file, record, fps)
        return file.read_bytes()


def record_in(content: bytes) -> dict[str, Any]:
    """The record of a PNG, GIF or WebP that betabloom made.

    Raises:
        Refused: It is none.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "picture"
        file.write_bytes(content)
        try:
            return read_record(file)
        except FormatError as error:
            raise Refused(422, "This is not a picture that betabloom made.") from error
