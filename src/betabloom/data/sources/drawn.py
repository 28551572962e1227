"""Drawn flowers: pictures whose every cause is known.

Eight numbers, the *factors*, decide each pixel, and nothing else does: no hidden randomness, no textures. The drawings
are therefore the data set that is always there (no download), as large as anyone wants (picture i depends only on the
seed and i), and a benchmark for disentanglement (a latent variable can be compared with what really varied).

In polar coordinates around the flower's centre, with ρ the distance in flower radii, τ ∈ [0, 1] the angle from the
nearest petal's axis (1 halfway to the next petal) and q = (ρ − ρ₀)/(1 − ρ₀) the way from the notch ρ₀ to the tip, a
petal is a superellipse

    τᵉ + qᵉ ≤ 1,    e from 3 (round) to 1 (pointed),

so that neither the number of petals nor their shape changes how far the tips reach. Distances to that outline give the
anti-aliasing (one pixel of linear ramp), the darker rim and the soft shadow.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from betabloom.data.sources.source import Source
from betabloom.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FACTORS", "Drawn", "Factor", "draw", "pictures_with_factors", "sample_factors"]

VERSION = 1  # of the drawing itself: raise it whenever a pixel changes, so that prepared copies are made again


@dataclass(frozen=True)
class Factor:
    """One cause of variation.

    Attributes:
        name: Its key in the mapping given to `draw`.
        low: Smallest value.
        high: Largest value, included; for a circular factor the same picture as `low`.
        kind: "continuous", "integer", or "circular".
        meaning: What it does, in one line.
    """

    name: str
    low: float
    high: float
    kind: Literal["continuous", "integer", "circular"]
    meaning: str

    def at(self, fraction: float) -> float:
        """Return the value below which a share `fraction` ∈ [0, 1) of uniformly drawn values lies."""
        if self.kind == "integer":
            return float(np.floor(self.low + fraction * (self.high - self.low + 1)))
        return self.low + fraction * (self.high - self.low)


FACTORS: tuple[Factor, ...] = (
    Factor("petals", 3, 12, "integer", "how many petals"),
    Factor("petal_shape", 0.0, 1.0, "continuous", "from round to pointed"),
    Factor("radius", 0.20, 0.35, "continuous", "from the centre to a petal's tip, as a share of the shorter side"),
    Factor("hue", 0.0, 1.0, "circular", "petal colour: red, orange, yellow, green, teal, blue, violet, pink, red"),
    Factor("rotation", 0.0, 1.0, "circular", "clockwise turn, as a fraction of the angle between two petals"),
    Factor("x", -0.12, 0.12, "continuous", "centre, right of the middle, as a share of the shorter side"),
    Factor("y", -0.12, 0.12, "continuous", "centre, below the middle, as a share of the shorter side"),
    Factor("background", 0.0, 1.0, "continuous", "from cream through pale sky and sage green to night"),
)

_NOTCH = 0.30  # ρ₀, where neighbouring petals part
_INNER = 0.60  # size of the inner whorl relative to the outer
_MARGIN = 1.35  # half the side of the square that is painted, in flower radii; shadows have died out there

# Eight garden colours, equally spaced around the circle of hues; `_petal_colour` closes them into a smooth loop.
_PETALS = np.array(
    [
        [222, 46, 56],  # poppy
        [244, 128, 42],  # marigold
        [250, 206, 52],  # buttercup
        [128, 192, 70],  # hellebore
        [44, 180, 164],  # jade vine
        [66, 112, 222],  # gentian
        [132, 78, 208],  # crocus
        [230, 84, 160],  # cosmos
    ]
) / 255.0  # fmt: skip
_SPECTRUM = np.fft.rfft(_PETALS, axis=0) / len(_PETALS)

# Control points of the background's path (a Bézier curve, so smooth), for the top and the bottom of the picture.
_SKY = np.array([[255, 250, 236], [206, 236, 255], [156, 196, 162], [34, 92, 88], [24, 26, 74]]) / 255.0
_GROUND = np.array([[255, 226, 196], [176, 226, 230], [116, 156, 110], [14, 58, 56], [8, 8, 34]]) / 255.0

_GOLD = np.array([250, 196, 60]) / 255.0
_HONEY = np.array([214, 130, 30]) / 255.0
_UMBER = np.array([92, 44, 30]) / 255.0


def draw(factors: Mapping[str, float] | np.ndarray, size: int | tuple[int, int] = 128) -> np.ndarray:
    """Draw one flower.

    Arguments:
        factors: A mapping from every factor's name to its value, or an array of shape (8,) in the order of `FACTORS`.
        size: Side of a square picture, or (height, width), in pixels.

    Returns:
        RGB, uint8, shape (height, width, 3). The same factors and size give the same bytes.

    Raises:
        UsageError: A factor is missing, unknown, or outside its range; or the size is not positive.
    """
    petals, shape, radius, hue, rotation, x, y, background = _checked(factors)
    height, width = _resolution(size)
    unit = radius * min(height, width)  # pixels in one flower radius
    across = (np.arange(width) + 0.5 - width / 2 - x * min(height, width)) / unit
    down = (np.arange(height) + 0.5 - height / 2 - y * min(height, width)) / unit

    picture = _paint_background(background, height, width)
    _paint_shadow(picture, across, down)
    columns, rows = np.abs(across) < _MARGIN, np.abs(down) < _MARGIN
    patch = np.ix_(rows, columns)
    canvas = picture[patch]
    rho = np.hypot(across[columns], down[rows, None])
    turns = np.arctan2(down[rows, None], across[columns]) * (petals / (2 * np.pi)) + petals / 4 - rotation

    exponent, colour = 3.0 ** (1 - shape), _petal_colour(hue)
    _paint_whorl(canvas, rho, turns, petals, exponent, 0.92 * colour, 1 / unit)
    _paint_whorl(canvas, rho / _INNER, turns + 0.5, petals, exponent, colour, 1 / (unit * _INNER))
    _paint_centre(canvas, rho, turns, petals, 1 / unit)
    picture[patch] = canvas
    return np.asarray(picture.clip(0, 1) * 255 + 0.5, dtype=np.uint8)


def _checked(factors: Mapping[str, float] | np.ndarray) -> list[float]:
    """Return the eight values in the order of `FACTORS`, or say which one is wrong."""
    names = [factor.name for factor in FACTORS]
    if isinstance(factors, np.ndarray):
        if factors.shape != (len(FACTORS),):
            raise UsageError(f"'factors' should have shape ({len(FACTORS)},), got {factors.shape}.")
        factors = dict(zip(names, factors.tolist(), strict=True))
    if set(factors) != set(names):
        odd = ", ".join(sorted(set(factors) ^ set(names)))
        raise UsageError(f"'factors' should have exactly the keys {', '.join(names)}; missing or unknown: {odd}.")
    values = [float(factors[name]) for name in names]
    for factor, value in zip(FACTORS, values, strict=True):
        if not factor.low <= value <= factor.high or (factor.kind == "integer" and value != int(value)):
            kind = "a whole number " if factor.kind == "integer" else ""
            raise UsageError(f"'{factor.name}' should be {kind}from {factor.low:g} to {factor.high:g}, got {value:g}.")
    return values


def _resolution(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = size if isinstance(size, tuple) else (size, size)
    if height < 1 or width < 1:
        raise UsageError(f"'size' should be one or two positive numbers of pixels, got {size}.")
    return height, width


def _petal_colour(hue: float) -> np.ndarray:
    """Return RGB in [0, 1], shape (3,): the trigonometric interpolation of the eight garden colours at `hue`."""
    order = np.arange(len(_SPECTRUM))
    counted = np.where((order == 0) | (2 * order == len(_PETALS)), 1.0, 2.0)  # the others stand for ±order
    waves = counted * np.exp(2j * np.pi * order * hue)
    return np.asarray((waves @ _SPECTRUM).real.clip(0, 1))


def _paint_background(tone: float, height: int, width: int) -> np.ndarray:
    """Return the background, shape (H, W, 3): a vertical gradient with a soft glow in the middle."""
    n = len(_SKY) - 1
    weights = np.array([1, 4, 6, 4, 1]) * tone ** np.arange(n + 1) * (1 - tone) ** np.arange(n, -1, -1)
    v = ((np.arange(height) + 0.5) / height)[:, None]
    h = (np.arange(width) + 0.5) / width
    column = (1 - v) * (weights @ _SKY) + v * (weights @ _GROUND)
    glow = 0.10 * np.exp(-((h - 0.5) ** 2 + (v - 0.4) ** 2) / 0.16)[..., None]
    return np.asarray(column[:, None, :] * (1 - glow) + glow)


def _paint_shadow(picture: np.ndarray, across: np.ndarray, down: np.ndarray) -> None:
    """Darken the ground below the flower, in place."""
    picture *= 1 - 0.3 * np.exp(-1.4 * ((down - 0.22) ** 2)[:, None] - 1.4 * across**2)[..., None]


def _paint_whorl(
    canvas: np.ndarray,
    rho: np.ndarray,
    turns: np.ndarray,
    petals: float,
    exponent: float,
    colour: np.ndarray,
    pixel: float,
) -> None:
    """Paint one ring of petals and its soft shadow on the canvas, shape (h, w, 3), in place.

    `rho`, shape (h, w), and `pixel`, the side of a pixel, are in radii of this whorl. `turns`, shape (h, w), is the
    angle in petal spacings; whole numbers are petal axes. `exponent` is e of the superellipse, `colour` RGB.
    """
    tau = 2 * np.abs(turns - np.round(turns))
    q = (rho - _NOTCH) / (1 - _NOTCH)
    outside = _distance(rho, tau, q, petals, exponent)
    canvas *= 1 - 0.28 * np.exp(-((np.maximum(outside, 0) / 0.09) ** 2))[..., None]

    rim = np.exp(outside / 0.035).clip(max=1)
    crease = np.exp(-((tau * rho * np.pi / petals / 0.03) ** 2))
    light = np.exp(-(((q - 0.6) / 0.36) ** 2) - (tau / 0.7) ** 2)
    shade = (0.70 + 0.25 * rho.clip(max=1) + 0.22 * light) * (1 - 0.18 * rim) * (1 - 0.08 * crease)
    paint = colour * shade[..., None] + (0.12 * light)[..., None]
    _blend(canvas, paint, (0.5 - outside / pixel).clip(0, 1))


def _distance(rho: np.ndarray, tau: np.ndarray, q: np.ndarray, petals: float, exponent: float) -> np.ndarray:
    """Return the distance to the petals' outline in radii, negative inside.

    With F = τᵉ + qᵉ − 1 the distance is F/|∇F| to first order, where |∂τ/∂(arc)| = petals/(πρ) and ∂q/∂ρ = 1/(1 − ρ₀).
    """
    size = np.abs(q) + 1e-9
    slope_tau, slope_q = (tau + 1e-9) ** (exponent - 1), size ** (exponent - 1)
    value = tau * slope_tau + q * slope_q - 1
    gradient = exponent * np.hypot(slope_tau * petals / (np.pi * rho + 1e-9), slope_q / (1 - _NOTCH))
    return np.asarray(np.minimum(value / gradient, rho - _NOTCH))


def _paint_centre(canvas: np.ndarray, rho: np.ndarray, turns: np.ndarray, petals: float, pixel: float) -> None:
    """Paint the golden eye, with a dark ring and one stamen per petal, in place."""
    canvas *= 1 - 0.4 * np.exp(-((np.maximum(rho - 0.21, 0) / 0.07) ** 2))[..., None]
    _blend(canvas, _UMBER, (0.5 - (rho - 0.21) / pixel).clip(0, 1))
    eye = _GOLD + (_HONEY - _GOLD) * np.minimum(rho / 0.14, 1)[..., None] ** 2
    _blend(canvas, eye, (0.5 - (rho - 0.135) / pixel).clip(0, 1))
    angle = (turns - np.round(turns)) * (2 * np.pi / petals)
    stamen = np.sqrt(rho**2 + 0.172**2 - 0.344 * rho * np.cos(angle)) - 0.03
    _blend(canvas, _GOLD, (0.5 - stamen / pixel).clip(0, min(1.0, 0.06 / pixel)))


def _blend(canvas: np.ndarray, paint: np.ndarray, cover: np.ndarray) -> None:
    """Lay `paint` over the canvas where `cover` ∈ [0, 1], shape (h, w), says, in place."""
    canvas += cover[..., None] * (paint - canvas)


def sample_factors(count: int, seed: int, start: int = 0) -> np.ndarray:
    """Draw factors uniformly over their ranges.

    Row i is a function of (seed, start + i) only, so that a longer sample begins with the shorter one.

    Arguments:
        count: Rows, 0 or more.
        seed: 0 or more.
        start: Index of the first row, 0 or more.

    Returns:
        float64, shape (count, 8), columns in the order of `FACTORS`.

    Raises:
        UsageError: One of the three is negative.
    """
    for name, value in {"count": count, "seed": seed, "start": start}.items():
        if value < 0:
            raise UsageError(f"'{name}' should be 0 or more, got {value}.")
    rows = (np.random.default_rng([seed, index]).random(len(FACTORS)) for index in range(start, start + count))
    table = [[factor.at(u) for factor, u in zip(FACTORS, row, strict=True)] for row in rows]
    return np.array(table, dtype=np.float64).reshape(count, len(FACTORS))


def pictures_with_factors(count: int, seed: int, size: int | tuple[int, int] = 64) -> tuple[np.ndarray, np.ndarray]:
    """Draw flowers together with what caused them, as disentanglement is measured on.

    Arguments:
        count: How many, 1 or more.
        seed: 0 or more; picture i depends on (seed, i) only.
        size: Side of a square picture, or (height, width), in pixels.

    Returns:
        Pictures, uint8, shape (count, height, width, 3), and their factors, float64, shape (count, 8), columns in the
        order of `FACTORS`.
    """
    factors = sample_factors(count, seed)
    return np.stack([draw(row, size) for row in factors]), factors


class Drawn(Source):
    """Drawn flowers as a source; each is drawn when it is read.

    Attributes:
        factors: The causes, float64, shape (N, 8), columns in the order of `FACTORS`.
        labels: Number of petals − 3.
    """

    name = "drawn"

    def __init__(self, count: int = 4096, seed: int = 0, size: int | tuple[int, int] = 128) -> None:
        if count < 1:
            raise UsageError(f"'count' should be 1 or more, got {count}.")
        self.factors = sample_factors(count, seed)
        self.seed = seed
        self.size = _resolution(size)
        fewest, most = int(FACTORS[0].low), int(FACTORS[0].high)
        self.names = [f"drawn-{index:07d}" for index in range(count)]
        self.labels = self.factors[:, 0].astype(np.int64) - fewest
        self.label_names = [f"{petals} petals" for petals in range(fewest, most + 1)]
        self.splits: dict[str, np.ndarray] = {}

    def read(self, index: int) -> Image.Image:
        """Draw picture `index` as RGB."""
        return Image.fromarray(draw(self.factors[index], self.size))

    def fingerprint(self) -> str:
        """Return a digest of the drawing's version, the seed, the size and the count."""
        height, width = self.size
        facts = f"drawn version={VERSION} seed={self.seed} size={height}x{width} count={len(self)}"
        return hashlib.sha256(facts.encode()).hexdigest()
