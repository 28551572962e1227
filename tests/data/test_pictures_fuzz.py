"""What training sees of random pictures, pixel by pixel, against the arrays that they were made of."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from betabloom.data.pictures.decode import decode
from betabloom.data.pictures.reading import Reading

TURNS = {1: lambda x: x, 2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1],
         5: lambda x: x.swapaxes(0, 1), 6: lambda x: np.rot90(x, -1), 7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
         8: lambda x: np.rot90(x)}  # fmt: skip
FORMATS = {
    "PNG": ("1", "L", "LA", "RGB", "RGBA", "P", "I;16"), "TIFF": ("1", "L", "LA", "RGB", "RGBA", "I;16", "F", "P"),
    "WEBP": ("RGB", "RGBA"), "GIF": ("L", "P"), "BMP": ("1", "L", "RGB", "P"), "TGA": ("L", "RGB", "RGBA"),
    "PPM": ("1", "L", "RGB"), "QOI": ("RGB", "RGBA"),
}  # fmt: skip


def picture(chance: np.random.Generator, mode: str) -> tuple[Image.Image, np.ndarray, np.ndarray | None]:
    """A random picture of a mode; its grey or colours as 0..255; its alpha, or None."""
    height, width = chance.integers(1, 24, 2)
    grey = chance.integers(0, 256, (height, width), dtype=np.uint8)
    colours = chance.integers(0, 256, (height, width, 3), dtype=np.uint8)
    alpha = chance.choice([0, 60, 128, 255], (height, width)).astype(np.uint8)
    if mode == "1":
        return Image.fromarray(grey > 127), np.where(grey > 127, 255, 0), None
    if mode == "I;16":
        deep = chance.integers(0, 65536, (height, width)).astype(np.uint16)
        return Image.fromarray(deep), np.rint(deep / 257), None
    if mode == "F":
        return Image.fromarray((grey / 255).astype(np.float32)), grey, None
    if mode == "P":
        image = Image.fromarray(grey % 16, "L").convert("P")
        image.putpalette(colours.reshape(-1).tobytes().ljust(768, b"\7")[:768])
        table = np.frombuffer(colours.reshape(-1).tobytes().ljust(768, b"\7")[:768], np.uint8).reshape(-1, 3)
        return image, table[grey % 16], None
    value = grey if mode in ("L", "LA") else colours
    bands = [value] if value.ndim == 3 else [value[..., None]]
    stack = np.concatenate([*bands, alpha[..., None]] if mode.endswith("A") else bands, axis=-1)
    return (
        Image.fromarray(stack[..., 0] if stack.shape[2] == 1 else stack),
        value,
        alpha if mode.endswith("A") else None,
    )


def check(seed: int) -> None:
    chance = np.random.default_rng(seed)
    kind = str(chance.choice(list(FORMATS)))
    image, value, alpha = picture(chance, str(chance.choice(FORMATS[kind])))
    options: dict[str, object] = {}
    turn = 1
    if kind in ("PNG", "TIFF", "WEBP"):
        turn = int(chance.integers(1, 9))
        exif = Image.Exif()
        exif[0x0112] = turn
        options["exif"] = exif
    if kind == "WEBP":
        options |= {"lossless": True, "exact": True}
    if kind == "PNG" and chance.random() < 0.5:
        text = PngImagePlugin.PngInfo()
        text.add_itxt("x", "é" * int(chance.integers(1, 2_000_000)), zip=True)
        options["pnginfo"] = text
    file = io.BytesIO()
    image.save(file, kind, **options)
    value = value if value.ndim == 3 else np.repeat(value[..., None], 3, 2)
    back = np.array([10, 200, 90])
    seen = value if alpha is None else back + (value - back.astype(float)) * (alpha[..., None] / 255)
    made = np.asarray(decode(file, Reading(background="#0ac85a")).convert("RGB")).astype(float)
    expected = TURNS[turn](seen)
    assert made.shape == expected.shape, (seed, kind, image.mode, turn)
    assert np.abs(made - expected).max(initial=0) <= 1, (seed, kind, image.mode, turn)


def test_random_pictures_are_read_as_they_were_made() -> None:
    for seed in range(150):
        check(seed)


@pytest.mark.slow
def test_many_random_pictures_are_read_as_they_were_made() -> None:
    for seed in range(1000, 6000):
        check(seed)
