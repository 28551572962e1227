"""What can be asked for of the colours of a picture: a palette, a hue, those of another picture, many, or not some.

A target measures pictures, says which numbers it would like to see, and which pictures satisfy it. Only those count.
"""

from __future__ import annotations

import colorsys
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from betabloom.errors import UsageError
from betabloom.imaging import colour

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ColourTarget", "avoid", "colourful", "hex_colours", "like", "of_hue", "palette"]

HUE_TOLERANCE = 15 / 360  # turns
LIKE_TOLERANCE = 0.1  # Oklab
OTHERS = 0.1  # share of the picture that each further colour of a palette needs
AVOIDED = 0.05  # share of the picture that a colour to avoid may have
COLOURFUL = 59.0  # "quite colourful"
EXTREMELY_COLOURFUL = 109.0
NEAR = 0.12  # Oklab: what counts as near to a colour


@dataclass(frozen=True)
class ColourTarget:
    """One colours.

    Attributes:
        text: What is asked for, in a few words.
        measure: Pictures, uint8 (N, H, W, C) → coordinates (N, d); a step of 0.1 is clearly visible.
        target: The coordinates to come near to, (d,).
        satisfied: Pictures → boolean (N,).
    """

    text: str
    measure: Callable[[np.ndarray], np.ndarray]
    target: np.ndarray
    satisfied: Callable[[np.ndarray], np.ndarray]


def palette(text: str) -> list[list[ColourTarget]]:
    """The targets of each colour of a palette, as "violet,gold": picture i has the colour i modulo their number.

    "violet+gold" is one picture with both: violet in the centre, and gold on at least a tenth of the picture. A colour
    is a name, or "#rrggbb".
    """
    return [_together(part) for part in text.split(",")]


def _together(text: str) -> list[ColourTarget]:
    chosen = [_named_or_hex(name) for name in text.split("+")]
    if len(set(chosen)) < len(chosen):
        raise UsageError(
            f"The colours of one picture must differ from one another, unlike {text!r}. Example: violet+gold"
        )
    return [_centre(chosen[0]), *map(_elsewhere, chosen[1:])]


def _named_or_hex(name: str) -> int | str:
    """The index of a named colour, or "#rrggbb"."""
    plain = name.strip().lower()
    return plain if re.fullmatch("#[0-9a-f]{6}", plain) else colour.index_of(name)


def _rgb(hexadecimal: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(hexadecimal[1:]))


def _centre(wanted: int | str) -> ColourTarget:
    """A colour of the centre: one of the named ones, or "#rrggbb" within 0.1 in Oklab."""
    if isinstance(wanted, str):
        target = _lab(_rgb(wanted))

        def near(pictures: np.ndarray) -> np.ndarray:
            close: np.ndarray = np.linalg.norm(_centre_lab(pictures) - target, axis=1) <= LIKE_TOLERANCE
            return close

        return ColourTarget(wanted, _centre_lab, target, near)
    region = colour.NAMED[wanted]

    def satisfied(pictures: np.ndarray) -> np.ndarray:
        same: np.ndarray = colour.named(colour.centre(pictures)) == wanted
        return same

    return ColourTarget(region.name, _centre_lab, _lab(region.typical), satisfied)


def _elsewhere(wanted: int | str) -> ColourTarget:
    """A colour on a tenth of the picture.

    What is measured is how near pixels come to it, so that codes can be moved towards a colour that is not there yet.
    """
    region = colour.NAMED[wanted] if isinstance(wanted, int) else None
    name, typical = (region.name, region.typical) if region else (str(wanted), _rgb(str(wanted)))

    def gaps(pictures: np.ndarray) -> np.ndarray:
        distance: np.ndarray = np.linalg.norm(colour.oklab(colour.floats(pictures)) - _lab(typical), axis=3)
        return distance

    def nearness(pictures: np.ndarray) -> np.ndarray:
        mean: np.ndarray = np.exp(-0.5 * (gaps(pictures) / NEAR) ** 2).mean((1, 2))[:, None]
        return mean

    def satisfied(pictures: np.ndarray) -> np.ndarray:
        if isinstance(wanted, str):
            enough: np.ndarray = (gaps(pictures) <= LIKE_TOLERANCE).mean((1, 2)) >= OTHERS
            return enough
        return colour.share(pictures, wanted) >= OTHERS

    return ColourTarget(name, nearness, np.array([2 * OTHERS]), satisfied)


def of_hue(turns: float) -> ColourTarget:
    """The hue of the centre, in turns: within 15° of it, and not grey."""
    if not 0 <= turns <= 1:
        raise UsageError(f"A hue must lie between 0 and 1 (0 red, 0.33 green, 0.67 blue), not {turns}.")
    typical = 255 * np.array(colorsys.hls_to_rgb(turns, 0.5, 0.55))

    def satisfied(pictures: np.ndarray) -> np.ndarray:
        centres = colour.centre(pictures)
        vivid = centres.max(1) - centres.min(1) >= colour.COLOURFUL[0]
        near: np.ndarray = vivid & (colour.hue_gap(colour.hue(centres), turns) <= HUE_TOLERANCE)
        return near

    return ColourTarget(f"hue {turns:g}", _centre_lab, _lab(typical), satisfied)


def like(colours: str) -> ColourTarget:
    """Colours of centre and surroundings, as "#8040a0,#203010": both no further than 0.1 in Oklab."""
    if not re.fullmatch(r"#[0-9a-f]{6},#[0-9a-f]{6}", colours, re.IGNORECASE):
        raise UsageError(f"Write two colours like '#8040a0,#203010', not {colours!r}.")
    target = np.concatenate([_lab(_rgb(each)) for each in colours.split(",")])

    def measure(pictures: np.ndarray) -> np.ndarray:
        both = np.stack([colour.centre(pictures), colour.surroundings(pictures)], 1)
        coordinates: np.ndarray = colour.oklab(both).reshape(-1, 6)
        return coordinates

    def satisfied(pictures: np.ndarray) -> np.ndarray:
        gaps = np.linalg.norm((measure(pictures) - target).reshape(-1, 2, 3), axis=2)
        near: np.ndarray = (gaps <= LIKE_TOLERANCE).all(1)
        return near

    return ColourTarget(f"like {colours}", measure, target, satisfied)


def hex_colours(picture: np.ndarray) -> str:
    """The colours of the centre and the surroundings of a picture, uint8 (H, W, C), as `like` reads them."""
    both = (colour.centre(picture[None])[0], colour.surroundings(picture[None])[0])
    return ",".join("#" + bytes(np.rint(255 * each).astype(np.uint8)).hex() for each in both)


def colourful() -> ColourTarget:
    """Hasler & Süsstrunk's colourfulness of at least 59, "quite colourful"."""
    return ColourTarget(
        "colourful",
        lambda pictures: colour.colourfulness(pictures)[:, None] / 100,
        np.array([EXTREMELY_COLOURFUL / 100]),
        lambda pictures: colour.colourfulness(pictures) >= COLOURFUL,
    )


def avoid(text: str) -> list[ColourTarget]:
    """Colours that at most one pixel in twenty may have, as "green,brown"."""
    return [_avoid(colour.index_of(name)) for name in text.split(",")]


def _avoid(index: int) -> ColourTarget:
    return ColourTarget(
        f"no {colour.NAMED[index].name}",
        lambda pictures: colour.share(pictures, index)[:, None],
        np.zeros(1),
        lambda pictures: colour.share(pictures, index) <= AVOIDED,
    )


def _centre_lab(pictures: np.ndarray) -> np.ndarray:
    return colour.oklab(colour.centre(pictures))


def _lab(colour_255: tuple[int, ...] | np.ndarray) -> np.ndarray:
    return colour.oklab(np.asarray(colour_255, np.float64) / 255)
