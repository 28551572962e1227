"""What colours a picture has: arrays in, numbers and names out.

A colour is R, G, B in [0, 1], gamma-coded as in the picture. Its **hue** in turns is the angle of R + Gω + Bω² with
ω = exp(2πi/3): red 0, green 1/3, blue 2/3, everywhere within 1.2° of the hue of HSV. Because that number is linear in
the colour, the hue of a mean colour is the mean of the hues on the circle, weighted by how colourful each pixel is.
Its **chroma** is max − min, its **lightness** (max + min) / 2. Every colour has exactly one name of `NAMED`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from betabloom.config import guess
from betabloom.errors import UsageError

__all__ = [
    "ALIASES",
    "NAMED",
    "Named",
    "centre",
    "colourfulness",
    "floats",
    "hue",
    "hue_gap",
    "index_of",
    "named",
    "names",
    "oklab",
    "share",
    "surroundings",
]


class Named(NamedTuple):
    """A region of colours with a name.

    Attributes:
        name: What people call it.
        hues: From and to, in degrees; through red where from is the larger.
        chroma: From and to.
        lightness: From and to.
        typical: A colour well inside, R, G, B in 0 … 255.
    """

    name: str
    hues: tuple[float, float]
    chroma: tuple[float, float]
    lightness: tuple[float, float]
    typical: tuple[int, int, int]


ANY = (0.0, 360.0)
ALL = (0.0, 1.01)
COLOURFUL = (0.12, 1.01)
# A colour has the first name whose region it lies in; together they cover all colours.
NAMED = (
    Named("black", ANY, ALL, (0.0, 0.12), (12, 12, 12)),
    Named("white", ANY, (0.0, 0.15), (0.7, 1.01), (235, 232, 228)),
    Named("grey", ANY, (0.0, 0.12), ALL, (128, 128, 128)),
    Named("brown", (5, 50), (0.12, 0.5), (0.0, 0.38), (105, 70, 40)),
    Named("pink", (292, 20), COLOURFUL, (0.62, 1.01), (235, 160, 190)),
    Named("red", (342, 15), COLOURFUL, ALL, (205, 40, 50)),
    Named("orange", (15, 41), COLOURFUL, ALL, (230, 125, 35)),
    Named("gold", (41, 66), COLOURFUL, ALL, (230, 200, 50)),
    Named("green", (66, 160), COLOURFUL, ALL, (85, 165, 75)),
    Named("cyan", (160, 203), COLOURFUL, ALL, (75, 175, 185)),
    Named("blue", (203, 250), COLOURFUL, ALL, (70, 100, 205)),
    Named("violet", (250, 292), COLOURFUL, ALL, (135, 80, 200)),
    Named("magenta", (292, 342), COLOURFUL, ALL, (195, 60, 150)),
)
ALIASES = {"yellow": "gold", "purple": "violet", "turquoise": "cyan", "gray": "grey", "rose": "pink"}


RADIUS = 0.25  # of the central disc, in shorter sides: a fifth of a square picture's area


def hue(colours: np.ndarray) -> np.ndarray:
    """Hue in turns, [0, 1), of colours (..., 3); 0 for greys."""
    red, green, blue = np.moveaxis(np.asarray(colours, np.float64), -1, 0)
    turns: np.ndarray = np.arctan2(np.sqrt(0.75) * (green - blue), red - 0.5 * (green + blue)) / (2 * np.pi)
    return turns % 1.0


def hue_gap(one: np.ndarray | float, other: np.ndarray | float) -> np.ndarray:
    """Distance on the circle of hues, 0 … ½ turn."""
    return np.abs((np.asarray(one) - other + 0.5) % 1.0 - 0.5)


def named(colours: np.ndarray) -> np.ndarray:
    """Indices into `NAMED` of colours (..., 3) in [0, 1]."""
    colours = np.asarray(colours, np.float64)
    high, low = colours.max(-1), colours.min(-1)
    chroma, lightness, degrees = high - low, 0.5 * (high + low), 360 * hue(colours)
    found = np.full(chroma.shape, -1)
    for index, region in enumerate(NAMED):
        first, last = region.hues
        inside = (degrees >= first) & (degrees < last) if first < last else (degrees >= first) | (degrees < last)
        for value, (least, most) in ((chroma, region.chroma), (lightness, region.lightness)):
            inside &= (value >= least) & (value < most)
        found[(found < 0) & inside] = index
    return found


def names() -> list[str]:
    """The names of all colours."""
    return [region.name for region in NAMED]


def index_of(name: str) -> int:
    """Index into `NAMED` of a name that a person typed.

    Raises:
        UsageError: There is no such colour.
    """
    plain = name.strip().lower()
    plain = ALIASES.get(plain, plain)
    if plain not in names():
        known = [*names(), *ALIASES]
        raise UsageError(f"Unknown colour {name.strip()!r}.{guess(plain, known)} Choose from: {', '.join(known)}.")
    return names().index(plain)


def floats(pictures: np.ndarray) -> np.ndarray:
    """uint8 pictures (N, H, W, 1, 3 or 4) → colours in [0, 1], (N, H, W, 3); what is transparent is white."""
    if pictures.shape[3] == 4:
        opacity = pictures[..., 3:].astype(np.float32) / 255
        return 1 - opacity * (1 - pictures[..., :3].astype(np.float32) / 255)
    return np.broadcast_to(pictures, (*pictures.shape[:3], 3)).astype(np.float32) / 255


def disc(height: int, width: int) -> np.ndarray:
    """The central disc, boolean (H, W): pixels whose middle is within a quarter of the shorter side of the centre."""
    y, x = np.ogrid[:height, :width]
    squared = (y - (height - 1) / 2) ** 2 + (x - (width - 1) / 2) ** 2
    inside: np.ndarray = squared <= max(RADIUS * min(height, width), 0.8) ** 2
    return inside


def centre(pictures: np.ndarray) -> np.ndarray:
    """Mean colours (N, 3) of the central discs of pictures, uint8 (N, H, W, C)."""
    return _mean(pictures, disc(*pictures.shape[1:3]))


def surroundings(pictures: np.ndarray) -> np.ndarray:
    """Mean colours (N, 3) of what lies outside of the central discs of pictures, uint8 (N, H, W, C)."""
    return _mean(pictures, ~disc(*pictures.shape[1:3]))


def _mean(pictures: np.ndarray, where: np.ndarray) -> np.ndarray:
    mean: np.ndarray = floats(pictures)[:, where].mean(1, dtype=np.float64)
    return mean


def share(pictures: np.ndarray, index: int) -> np.ndarray:
    """Share of the pixels (N,) that have the colour `NAMED[index]`."""
    portion: np.ndarray = (named(floats(pictures)) == index).mean((1, 2))
    return portion


def colourfulness(pictures: np.ndarray) -> np.ndarray:
    """M = √(σ_rg² + σ_yb²) + 0.3 √(μ_rg² + μ_yb²) with rg = R − G, yb = (R + G)/2 − B in 0 … 255, shape (N,).

    Hasler & Süsstrunk 2003, "Measuring colourfulness in natural images", equation for M̂(3). In their table people
    called pictures of M = 15 slightly, 33 moderately, 45 averagely, 59 quite, 82 highly, 109 extremely colourful.
    """
    red, green, blue = np.moveaxis(255.0 * floats(pictures).astype(np.float64), -1, 0)
    opponents = [red - green, 0.5 * (red + green) - blue]
    spread = sum(part.var((1, 2)) for part in opponents)
    mean = sum(part.mean((1, 2)) ** 2 for part in opponents)
    measure: np.ndarray = np.sqrt(spread) + 0.3 * np.sqrt(mean)
    return measure


def oklab(colours: np.ndarray) -> np.ndarray:
    """Lightness and two opponent coordinates (..., 3), in which equal steps look equal, of sRGB colours in [0, 1].

    Ottosson 2020, https://bottosson.github.io/posts/oklab/.
    """
    c = np.asarray(colours, np.float64)
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    lab: np.ndarray = np.cbrt(linear @ TO_LMS.T) @ TO_LAB.T
    return lab


TO_LMS = np.array([
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
])  # fmt: skip
TO_LAB = np.array([
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
])  # fmt: skip
