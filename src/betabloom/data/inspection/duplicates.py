"""Pictures that are exact or near copies of each other, found among very many in bounded memory.

Every picture is summed up by 64 bits and 48 bytes: a *difference hash* (whether each of 8 × 8 places is darker than the
place to its right; N. Krawetz, "Kind of like that", 2013) and its colours on a 4 × 4 grid. Two pictures are near copies
if at most 5 of the bits differ and no colour by more than 20 grey levels: the same picture at another size or in
another format, not two pictures of the same thing.

The 64 bits are cut into 8 bands. Where at most 5 bits differ, at least 3 bands are equal; so it is enough to compare
pictures that agree in some three bands, and sorting by each choice of three finds these without comparing all with all.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Look", "exact_groups", "look_at", "near_groups"]

_BITS = 5
_COLOURS = 20
_BANDS = 8
_CROWD = (
    100  # of more pictures than this that agree in three bands, each is compared with the next hundred in brightness
)
_ONES = np.array([value.bit_count() for value in range(256)], dtype=np.uint8)


@dataclass(frozen=True)
class Look:
    """A picture summed up.

    Attributes:
        bits: Its difference hash, 64 bits.
        colours: Its mean colours on a 4 × 4 grid, 48 bytes.
        pixels: A hash of its decoded pixels, 64 bits.
        levels: Its darkest and its brightest level, 0..255, over all channels.
    """

    bits: int
    colours: bytes
    pixels: int
    levels: tuple[int, int]


def look_at(image: Image.Image) -> Look:
    """Sum up an upright picture of mode RGB or L."""
    pixels = hashlib.blake2b(f"{image.mode}{image.size}".encode(), digest_size=8)
    pixels.update(image.tobytes())
    image = image.convert("RGB")
    grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BILINEAR))
    bits = int.from_bytes(np.packbits(grey[:, :-1] < grey[:, 1:]).tobytes(), "big")
    extremes = image.getextrema()
    levels = int(min(low for low, _ in extremes)), int(max(high for _, high in extremes))  # type: ignore[misc]
    colours = image.resize((4, 4), Image.Resampling.BOX).tobytes()
    return Look(bits, colours, int.from_bytes(pixels.digest(), "big"), levels)


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
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    by_brightness = np.argsort(colours.astype(np.uint16).sum(axis=1), kind="stable")
    bits, colours = bits[by_brightness], colours[by_brightness]
    group = np.arange(len(bits))
    for first, second in _candidates(bits):
        apart = group[first] != group[second]
        first, second = _near(first[apart], second[apart], bits, colours)
        if len(first):
            links = coo_array((np.ones(len(first), bool), (group[first], group[second])), (len(bits), len(bits)))
            group = connected_components(links, directed=False)[1][group]
    result = np.empty_like(group)
    result[by_brightness] = group
    return exact_groups(result)


def _candidates(bits: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs that agree in three bands as two arrays of indices; in a crowd each with its next neighbours only."""
    bands = [(bits >> np.uint64(low)) & np.uint64(255) for low in range(0, 64, 64 // _BANDS)]
    for one, two, three in itertools.combinations(bands, _BANDS - _BITS):
        key = one << np.uint64(16) | two << np.uint64(8) | three
        order = np.argsort(key, kind="stable")
        key, left = key[order], np.arange(len(bits))
        for step in range(1, _CROWD + 1):  # pictures that agree lie side by side: the next one, the one after that …
            left = left[left + step < len(bits)]
            left = left[key[left] == key[left + step]]
            if not len(left):
                break
            yield order[left], order[left + step]


def _near(
    first: np.ndarray, second: np.ndarray, bits: np.ndarray, colours: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Keep the pairs that are near copies."""
    differing = (bits[first] ^ bits[second]).view(np.uint8).reshape(-1, 8)
    close = _ONES[differing].sum(axis=1) <= _BITS
    first, second = first[close], second[close]
    close = np.abs(colours[first].astype(np.int16) - colours[second]).max(axis=1, initial=0) <= _COLOURS
    return first[close], second[close]
