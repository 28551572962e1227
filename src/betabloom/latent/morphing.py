r"""Morphs: ways through the codes of several pictures, at an even visual pace.

Between two codes the way is straight, or *spherical* about the mean m̄ of all codes (slerp): with a and b the
differences from m̄ and ω the angle between them,

    z(t) = m̄ + ((1 − t)‖a‖ + t‖b‖) · (sin((1 − t)ω) a/‖a‖ + sin(tω) b/‖b‖) / sin ω.

Codes of many dimensions lie near a shell about m̄; the straight way cuts through its inside, where pictures are paler
(White 2016, https://arxiv.org/abs/1609.04468). Equal steps of t are unequal steps of the picture, so that frames are
placed anew along the way, an equal distance of pixels apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from betabloom.errors import UsageError

if TYPE_CHECKING:
    from betabloom.model.generator import Generator

__all__ = ["WAYS", "even_pace", "morph", "way"]

WAYS = ("slerp", "linear")
SMALLEST_ANGLE = 1e-4
FEWEST = 24  # pictures that the pace is measured on, at least


def way(
    stops: np.ndarray, times: np.ndarray, middle: np.ndarray, kind: str = "slerp", loop: bool = False
) -> np.ndarray:
    """Codes on the way through `stops`.

    Arguments:
        stops: Codes to pass, (K, l), K ≥ 2.
        times: Where on the way, each from 0 to 1; all parts between stops take the same time.
        middle: m̄, (l,), the centre that spherical ways go round.
        kind: One of `WAYS`.
        loop: Whether the way returns from the last stop to the first.

    Returns:
        (len(times), l), float32.

    Raises:
        UsageError: Fewer than two stops, or another kind of way.
    """
    if len(stops) < 2:
        raise UsageError(f"A morph needs at least 2 pictures, not {len(stops)}.")
    if kind not in WAYS:
        raise UsageError(f"A way is {' or '.join(WAYS)}, not {kind!r}.")
    path = np.concatenate([stops, stops[:1]]) if loop else stops
    place = np.clip(np.asarray(times, np.float64), 0, 1) * (len(path) - 1)
    part = np.minimum(place.astype(int), len(path) - 2)
    t = (place - part)[:, None]
    between = _slerp if kind == "slerp" else _lerp
    codes: np.ndarray = (middle + between(path[part] - middle, path[part + 1] - middle, t)).astype(np.float32)
    return codes


def _lerp(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    between: np.ndarray = (1 - t) * a + t * b
    return between


def _slerp(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    lengths = [np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-12) for each in (a, b)]
    one, other = a / lengths[0], b / lengths[1]
    angle = np.arccos(np.clip((one * other).sum(1, keepdims=True), -1, 1))
    straight = (angle < SMALLEST_ANGLE) | (angle > np.pi - SMALLEST_ANGLE)  # no plane to turn in
    sine = np.where(straight, 1, np.sin(angle))
    round_ = (np.sin((1 - t) * angle) * one + np.sin(t * angle) * other) / sine
    curved: np.ndarray = ((1 - t) * lengths[0] + t * lengths[1]) * round_
    between: np.ndarray = np.where(straight, _lerp(a, b, t), curved)
    return between


def even_pace(pictures: np.ndarray, times: np.ndarray, n: int, loop: bool = False) -> np.ndarray:
    """Times (n,) at which a morph's pictures are equal steps of pixels apart.

    Arguments:
        pictures: What the morph shows at `times`, uint8 (N, H, W, C), N ≥ 2; from its first to its last.
        times: Increasing, (N,).
        n: How many frames.
        loop: Whether the last frame is one step before the end, as the end is the first again.

    Returns:
        float64 (n,), increasing.
    """
    flat = pictures.reshape(len(pictures), -1).astype(np.float32)
    steps = np.sqrt(np.square(np.diff(flat, axis=0)).mean(1)) + 1e-3  # pictures that stand still take a little time
    travelled = np.concatenate([[0], np.cumsum(steps)])
    frames: np.ndarray = np.interp(np.linspace(0, travelled[-1], n, endpoint=not loop), travelled, times)
    return frames


def morph(
    model: Generator,
    stops: np.ndarray,
    n: int = 60,
    loop: bool = False,
    kind: str = "slerp",
    middle: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """A morph from picture to picture.

    Arguments:
        model: The model.
        stops: Codes of the pictures to pass, (K, l), K ≥ 2.
        n: How many frames, ≥ 2.
        loop: Whether it returns to the first picture; the frame after the last is then the first.
        kind: "slerp" or "linear".
        middle: The centre that spherical ways go round; the mean of the stops if None.

    Returns:
        Frames, uint8 (n, H, W, C), and their codes (n, l).

    Raises:
        UsageError: There are fewer than 2 stops or frames, or the kind is unknown.
    """
    if n < 2:
        raise UsageError(f"A morph needs at least 2 frames, not {n}.")
    middle = stops.mean(0) if middle is None else middle
    times = np.linspace(0, 1, max(n // 2, FEWEST) + 1)
    seen = model.decode(way(stops, times, middle, kind, loop))
    codes = way(stops, even_pace(seen, times, n, loop), middle, kind, loop)
    return model.decode(codes), codes
