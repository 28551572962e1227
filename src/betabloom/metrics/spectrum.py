r"""How fine the detail of generated pictures is, and whether it has a grid or speckles, beside real pictures.

Of each picture the grey levels Y = 0.299 R + 0.587 G + 0.114 B, less their mean, are tapered by a Hann window in both
directions, so that the edges of the picture do not count as detail, and

    P_x(f) = mean over rows of |DFT along the row|²,        P_y(f) = the same along columns,

with f in cycles per pixel. With P̄ the mean over pictures,

    band         = Σ_f P̄(f) of generated pictures / Σ_f P̄(f) of real ones,  0.25 ≤ f ≤ 0.47,
    comb(f)      = p of generated pictures / p of real ones,  p = P̄(f) / √(P̄(f − 3/W) P̄(f + 3/W)),
    checkerboard = the largest ratio, among the frequencies f = (a/8, b/8) of the plane from 1/4 cycle on, of
                   q of generated pictures and q of real ones,  q = P̄(f) / (Π of P̄ at the 8 places around f)^⅛,
    speckled     = share of pictures in which over 2 % of the pixels differ by more than 60 grey levels from the median
                   of the 3×3 pixels around them,

the checkerboard with P = |DFT of the picture|² and what rounding to 256 levels adds to it, Σ w² / 12 for a window w;
its 8 places are 3 frequencies away along one axis or both.

A band below 1 is soft, above 1 harsh. A comb above 1 at 1/2, 3/8 or 1/4 cycle per pixel is the grid that strided and
transposed convolutions leave (Odena, Dumoulin & Olah 2016, "Deconvolution and checkerboard artifacts",
https://distill.pub/2016/deconv-checkerboard; spectra of generated pictures: Durall et al. 2020,
https://arxiv.org/abs/2003.01826). A pattern that repeats along both axes has its power in single places of the plane,
where combs hardly see it among the frequencies of its row and column; the checkerboard tells it. Noise fills the band
as well as detail does: look at the speckles too.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.errors import UsageError
from betabloom.metrics.measure import Measure, interval, of_share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = [
    "GREY",
    "SMALLEST",
    "Spectra",
    "bands",
    "checkerboard",
    "comb_places",
    "combs",
    "lattice_places",
    "power_spectra",
    "rounding",
    "speckled",
]

SMALLEST = 16  # pixels of a side, which has three frequencies on either side of a quarter of a cycle
BAND = (0.25, 0.47)  # cycles per pixel
COMBS = {"1_2": 0.5, "3_8": 0.375, "1_4": 0.25}  # cycles per pixel
EIGHTHS, QUARTERS = 8, 4  # of a cycle per pixel, between the places of a checkerboard
FINE = 48  # pixels of the shorter side from which on these are eighths, with room for what is around them
BESIDE = 3  # frequencies between a comb and what it is compared with: a Hann window blurs by one
LEVELS, SHARE = 60, 0.02  # of a speckle, and of a speckled picture
GREY = (0.299, 0.587, 0.114)
AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class Spectra:
    """Power by frequency, in grey levels².

    Attributes:
        x: Along rows, at 0, 1/W, 2/W … 1/2 cycle per pixel, float64 (N, W // 2 + 1).
        y: Along columns, float64 (N, H // 2 + 1).
        lattice: At the P places of a checkerboard, each followed by the 8 around it (`lattice_places`), with that of
            rounding, float64 (N, P, 9).
        size: (H, W).
    """

    x: Array
    y: Array
    lattice: Array
    size: tuple[int, int]


def power_spectra(pictures: Array) -> Spectra:
    """The spectra P_x and P_y of pictures, uint8 (N, H, W, C), with sides of at least 16 pixels, and P in the plane."""
    _, height, width, _ = pictures.shape
    if min(height, width) < SMALLEST or not len(pictures):
        raise UsageError(f"A spectrum needs pictures of at least {SMALLEST}x{SMALLEST}, not {width}x{height}.")
    window = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[1:-1]
    across, down, lattice = [], [], []
    rows, columns = lattice_places((height, width))
    for first in range(0, len(pictures), AT_ONCE):
        grey = _grey(pictures[first : first + AT_ONCE])
        grey = (grey - grey.mean((1, 2), keepdims=True)) * window
        along_rows = np.fft.rfft(grey, axis=2)
        across.append(np.square(np.abs(along_rows)).mean(1))
        down.append(np.square(np.abs(np.fft.rfft(grey, axis=1))).mean(2))
        lattice.append(np.square(np.abs(np.fft.fft(along_rows, axis=1)[:, rows, columns])) + rounding(window))
    return Spectra(np.concatenate(across), np.concatenate(down), np.concatenate(lattice), (height, width))


def bands(real: Spectra, generated: Spectra) -> list[Measure]:
    """The power in the band of 0.25 to 0.47 cycles per pixel over that of real pictures, `band_x` and `band_y`."""
    found = []
    for axis, x, y, side in _both(real, generated):
        inside = slice(math.ceil(BAND[0] * side), math.floor(BAND[1] * side) + 1)
        found.append(_ratio(f"band_{axis}", [x[:, inside].sum(1)], [y[:, inside].sum(1)], [1.0]))
    return found


def combs(real: Spectra, generated: Spectra) -> list[Measure]:
    """The combs at 1/2, 3/8 and 1/4 cycle per pixel: `comb_1_2_x`, `comb_1_2_y` …; 1 is as in real pictures."""
    found = []
    for name, frequency in COMBS.items():
        for axis, x, y, side in _both(real, generated):
            places = comb_places(frequency, side)
            known, own = ([spectra[:, each] for each in places] for spectra in (x, y))
            found.append(_ratio(f"comb_{name}_{axis}", known, own, [1.0, -0.5, -0.5]))
    return found


def comb_places(frequency: float, side: int) -> tuple[int, int, int]:
    """The places of a comb and of both frequencies that it is compared with in a spectrum of lines of `side` pixels."""
    place = round(frequency * side)
    return place, place - BESIDE, min(place + BESIDE, side - place - BESIDE)  # folded at 1/2 cycle


def checkerboard(real: Spectra, generated: Spectra) -> Measure:
    """The largest comb of the plane; 1 is as in real pictures. The interval is that of its frequency alone."""
    _both(real, generated)
    powers = [1.0, *[-1 / 8] * 8]
    places = [[each.lattice[:, place].T for each in (real, generated)] for place in range(real.lattice.shape[1])]
    return max((_ratio("checkerboard", list(x), list(y), powers) for x, y in places), key=lambda found: found.value)


def rounding(window: Any) -> float:
    """The power that rounding to 256 levels, of variance 1/12, adds under a window (H, W), in grey levels²."""
    return float((window**2).sum()) / 12


def lattice_places(size: tuple[int, int]) -> tuple[Array, Array]:
    """Where checkerboards have power in |DFT|² of pictures of H×W: rows 0 … H − 1 and columns 0 … W // 2, int (P, 9).

    First comes the frequency itself, then the 8 places around it. Of two frequencies f and −f, which have the
    same power, there is one, so that columns beyond W // 2 are not needed.
    """
    parts = EIGHTHS if min(size) >= FINE else QUARTERS
    half, fewest = parts // 2, parts // 4
    found = []
    for a in range(half + 1):
        for b in range(1 - half, half + 1):
            if max(a, abs(b)) >= fewest and (b >= 0 or 0 < a < half):
                middle = round(a * size[0] / parts), round(b * size[1] / parts)
                around = [(i, j) for i in (-BESIDE, 0, BESIDE) for j in (-BESIDE, 0, BESIDE) if i or j]
                found.append([(middle[0] + i, middle[1] + j) for i, j in ((0, 0), *around)])
    rows, columns = np.moveaxis(np.array(found), 2, 0)
    columns %= size[1]
    opposite = columns > size[1] // 2
    return np.where(opposite, -rows, rows) % size[0], np.where(opposite, size[1] - columns, columns)


def speckled(pictures: Array) -> Measure:
    """The share of speckled pictures among uint8 (N, H, W, C)."""
    hits = []
    for first in range(0, len(pictures), AT_ONCE):
        grey = np.rint(_grey(pictures[first : first + AT_ONCE])).astype(np.int16)
        outlying = np.abs(grey - _median(grey)) > LEVELS
        hits.append(outlying.mean((1, 2)) > SHARE)
    return of_share("speckled", np.concatenate(hits))


def _grey(pictures: Array) -> Array:
    """Grey levels 0 … 255, float32 (N, H, W); premultiplied pictures of four channels are laid over white."""
    x = np.asarray(pictures, np.float32)
    if x.shape[3] == 1:
        return x[..., 0]
    return x[..., :3] @ np.array(GREY, np.float32) + (255 - x[..., 3] if x.shape[3] == 4 else 0)


def _median(x: Array) -> Array:
    """The medians of 3×3 values of x (N, H, W), whose edges are repeated: from the columns of three, each sorted."""
    x = np.pad(x, ((0, 0), (1, 1), (1, 1)), "edge")
    column = x[:, :-2], x[:, 1:-1], x[:, 2:]
    low, high = (extreme.reduce(column) for extreme in (np.minimum, np.maximum))
    lows, middles, highs = ((y[:, :, :-2], y[:, :, 1:-1], y[:, :, 2:]) for y in (low, _middle(*column), high))
    return _middle(np.maximum.reduce(lows), _middle(*middles), np.minimum.reduce(highs))


def _middle(a: Array, b: Array, c: Array) -> Array:
    middle: Array = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
    return middle


def _both(real: Spectra, generated: Spectra) -> list[tuple[str, Array, Array, int]]:
    if real.size != generated.size:
        raise UsageError(f"Spectra of pictures of {real.size} and {generated.size} (H, W) cannot be compared.")
    height, width = real.size
    return [("x", real.x, generated.x, width), ("y", real.y, generated.y, height)]


def _ratio(name: str, real: list[Array], generated: list[Array], powers: list[float]) -> Measure:
    """Π_k (ȳ_k / x̄_k)^p_k for values x_k (N,) and y_k (M,) of pictures, with the interval of its logarithm.

    By the delta method, the logarithm has the variance of the mean of Σ_k p_k y_k / ȳ_k, and of the same for x.
    """
    value, variance = 0.0, 0.0
    for terms, sign in ((generated, 1.0), (real, -1.0)):
        means = [float(term.mean()) + 1e-12 for term in terms]  # pictures without any detail have none to compare
        value += sign * sum(power * math.log(mean) for power, mean in zip(powers, means, strict=True))
        effect = np.sum([power / mean * term for power, term, mean in zip(powers, terms, means, strict=True)], 0)
        variance += float(np.var(effect, ddof=1)) / len(effect) if len(effect) > 1 else math.nan
    n = {"real": len(real[0]), "generated": len(generated[0])}
    if math.isnan(variance):
        return Measure(
            name, math.exp(value), 0.0, math.inf, n, "none", None, "only one picture, so there is no interval"
        )
    low, high = (math.exp(end) for end in interval(value, math.sqrt(variance), min(n.values()) - 1))
    return Measure(name, math.exp(value), low, high, n, "delta method on the logarithm")
