"""Line charts as SVG text: they take their colours from the page they stand in, and are sharp at every size."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["bars", "lines"]

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 24
NARROW = 5.0  # bars that are closer touch one another


def lines(series: Mapping[str, Sequence[tuple[float, float]]], label: str) -> str:
    """Draw one line for every series of points (x, y); the class of each is its name.

    A first value far outside all that follow (the untrained network's) is cut off rather than flattening the rest.

    Arguments:
        series: Name → points; the names "train" and "validation" have colours in `report.STYLE`.
        label: What it shows, for those who do not see it.
    """
    points = [point for each in series.values() for point in each]
    if not points:
        return ""
    x_ticks = _ticks(min(x for x, _ in points), max(x for x, _ in points), 5)
    y_ticks = _ticks(*_range([y for _, y in points]), 5)
    across = _scale(x_ticks[0], x_ticks[-1], LEFT, WIDTH - RIGHT)
    up = _scale(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP)
    marks = _rules(y_ticks, up)
    marks += [
        f'<text class="tick" x="{across(x):.1f}" y="{HEIGHT - 7}" text-anchor="middle">{text}</text>'
        for x, text in zip(x_ticks, _labels(x_ticks), strict=True)
    ]
    for name, each in series.items():
        path = " ".join(f"{across(x):.1f},{min(max(up(y), TOP - 30), HEIGHT + 30):.1f}" for x, y in each)
        marks.append(f'<polyline class="line {escape(name)}" points="{path}"/>')
        if len(each) < 40 and name == "validation":
            marks += [
                f'<circle class="dot {escape(name)}" cx="{across(x):.1f}" cy="{up(y):.1f}" r="2.4"/>' for x, y in each
            ]
    return _svg("".join(marks), label)


def bars(values: Sequence[float], label: str) -> str:
    """Draw a bar for every value ≥ 0, side by side."""
    if not values:
        return ""
    ticks = _ticks(0.0, max(*values, 1e-9), 5)
    up = _scale(0.0, ticks[-1], HEIGHT - BOTTOM, TOP)
    step = (WIDTH - LEFT - RIGHT) / len(values)
    marks = _rules(ticks, up)
    width = step * (0.82 if step > NARROW else 1.02)  # gaps of less than a pixel make stripes
    marks += [
        f'<rect class="bar" x="{LEFT + i * step:.2f}" y="{up(value):.1f}" width="{width:.2f}" '
        f'height="{max(up(0) - up(value), 0):.1f}" shape-rendering="crispEdges"/>'
        for i, value in enumerate(values)
    ]
    return _svg("".join(marks), label)


def _rules(ticks: Sequence[float], up: Callable[[float], float]) -> list[str]:
    """Faint lines across, each with its number at the left."""
    return [
        f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(y):.1f}" y2="{up(y):.1f}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{up(y) + 3.5:.1f}" text-anchor="end">{text}</text>'
        for y, text in zip(ticks, _labels(ticks), strict=True)
    ]


def _svg(inside: str, label: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{inside}</svg>'


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest value to show: all, but a first one that stands far out."""
    low, high = min(values), max(values)
    rest = values[1:] or values
    if high - low > 2 * (max(rest) - min(rest)) > 0:
        return min(rest), max(rest)
    return low, high


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (value - low) / ((high - low) or 1.0) * (end - start)


def _ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers, the first at or below `low`, the last at or above `high`."""
    if high - low < 1e-12 * max(abs(low), abs(high), 1e-30):
        low, high = (0.0, high) if high > 0 else (low, low + 1.0)
    rough = (high - low) / max(count - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(each for each in (1, 2, 2.5, 5, 10) if each * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _labels(values: Sequence[float]) -> list[str]:
    """Write the numbers of an axis, all in one way: 0, 5k, 10k."""
    thousands = max(map(abs, values)) >= 10_000 and all(abs(value) >= 1000 or not value for value in values)
    return [f"{value / 1000:g}k".replace("-", "−") if thousands and value else _short(value) for value in values]


def _short(value: float) -> str:
    """Write a number for an axis: 12k, −3,500, 0.25, 7.5e−4."""
    if 0 < abs(value) < 0.01:
        digits, power = f"{value:.1e}".split("e")
        return f"{digits.removesuffix('.0')}e{int(power)}".replace("-", "−")
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k".replace("-", "−")
    return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}").replace("-", "−")
