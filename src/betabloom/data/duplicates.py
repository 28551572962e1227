"""Pictures that are copies of each other, exactly or nearly, found among very many in bounded memory.

Every picture is summed up by 64 bits and 48 bytes: a *difference hash* (whether each of 8 × 8 places is darker than the
place to its right; N. Krawetz, "Kind of like that", 2013) and its colours on a 4 × 4 grid. Two pictures are near copies
if at most 6 of the bits differ and the colours by at most 8 grey levels on average: the same picture
at another size or in another format, not two pictures of the same thing.

The 64 bits are cut into 9 bands. Where at most 6 bits differ, at least 3 bands are equal; so it is enough to compare
pictures that agree in some three bands, and sorting by each choice of three finds these without comparing all with all.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Look", "exact_groups", "look_at", "near_groups"]

_BITS = 6
_COLOURS = 8.0
_EDGES = (0, 8, 15, 22, 29, 36, 43, 50, 57, 64)
_TOGETHER = len(_EDGES) - 1 - _BITS
_ONES = np.array([value.bit_count() for value in range(256)], dtype=np.uint8)


@dataclass(frozen=True)
class Look:
    """A picture summed up.

    Attributes:
        bits: Its difference hash, 64 bits.
        colours: Its mean colours on a 4 × 4 grid, 48 bytes.
        pixels: A hash of its decoded pixels, 64 bits.
    """

    bits: int
    colours: bytes
    pixels: int


def look_at(image: Image.Image) -> Look:
    """Sum up an upright picture of mode RGB or L."""
    import hashlib

    pixels = hashlib.blake2b(f"{image.mode}{image.size}".encode(), digest_size=8)
    pixels.update(image.tobytes())
    image = image.convert("RGB")
    grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX))
    bits = int.from_bytes(np.packbits(grey[:, :-1] < grey[:, 1:]).tobytes(), "big")
    return Look(bits, image.resize((4, 4), Image.Resampling.BOX).tobytes(), int.from_bytes(pixels.digest(), "big"))


def exact_groups(pixels: np.ndarray) -> list[list[int]]:
    """Group pictures with equal pixels.

    Arguments:
        pixels: The hash of each picture, uint64, shape (N,).

    Returns:
        The indices of each group of two or more, in order.
    """
    order = np.argsort(pixels, kind="stable")
    runs = np.split(order, np.flatnonzero(np.diff(pixels[order])) + 1)
    return sorted(run.tolist() for run in runs if len(run) > 1)


def near_groups(bits: np.ndarray, colours: np.ndarray) -> list[list[int]]:
    """Group near copies; a copy of a copy belongs to the same group.

    Arguments:
        bits: The difference hash of each picture, uint64, shape (N,).
        colours: Its colours, uint8, shape (N, 48).

    Returns:
        The indices of each group of two or more, in order.
    """
    parent = list(range(len(bits)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    for first, second in _pairs(bits, colours):
        one, other = sorted((root(first), root(second)))
        parent[other] = one
    groups: dict[int, list[int]] = {}
    for index in range(len(bits)):
        if root(index) != index:
            groups.setdefault(root(index), [root(index)]).append(index)
    return sorted(groups.values())


def _pairs(bits: np.ndarray, colours: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield near copies as pairs of indices, some more than once."""
    bands = [(bits >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1) for low, high in itertools.pairwise(_EDGES)]
    widths = [high - low for low, high in itertools.pairwise(_EDGES)]
    for chosen in itertools.combinations(range(len(bands)), _TOGETHER):
        key = np.zeros_like(bits)
        for band in chosen:
            key = (key << np.uint64(widths[band])) | bands[band]
        order = np.argsort(key, kind="stable")
        sorted_key, left, step = key[order], np.arange(len(bits)), 0
        while True:  # pictures that agree lie side by side: compare each with the next, the one after that …
            step += 1
            left = left[left + step < len(bits)]
            left = left[sorted_key[left] == sorted_key[left + step]]
            if not len(left):
                break
            yield from _near(order[left], order[left + step], bits, colours)


def _near(first: np.ndarray, second: np.ndarray, bits: np.ndarray, colours: np.ndarray) -> Iterator[tuple[int, int]]:
    differing = (bits[first] ^ bits[second]).view(np.uint8).reshape(-1, 8)
    close = _ONES[differing].sum(axis=1) <= _BITS
    first, second = first[close], second[close]
    colour = np.abs(colours[first].astype(np.int16) - colours[second]).mean(axis=1)
    yield from zip(first[colour <= _COLOURS].tolist(), second[colour <= _COLOURS].tolist(), strict=True)
