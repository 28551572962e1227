"""Charts by matplotlib: the curves of a run as one picture, and charts as SVG that take their colours from a page."""

from __future__ import annotations

import io
import re
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Points = Sequence[tuple[float, float]]

__all__ = ["bar_chart", "curves", "line_chart"]

TITLES = {
    "distortion": "Distortion D (nats per image)",
    "rate": "Rate R = KL (nats per image)",
    "beta": "β",
    "active_units": "Active units",
}
SIZE = (3.6, 2.1)  # inches of a chart
# Colours that no chart has otherwise stand for those of the page, as CSS variables.
INK = {"train": "#000101", "validation": "#000102", "tick": "#000103", "rule": "#000104"}
VARIABLES = {"train": "--train", "validation": "--held", "tick": "--faint", "rule": "--rule"}
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "betabloom", "font.family": "sans-serif", "font.size": 7.5}
STEPS = [1, 2, 2.5, 5, 10]  # of the ticks of an axis
INTERVALS = 4  # between them, about
MANY = 65  # bars that touch one another
FEW = 40  # points up to which those of a validation have dots


def curves(records: Sequence[Mapping[str, Any]]) -> Image.Image:
    """Draw distortion, rate, β and active units over the steps of a run.

    Arguments:
        records: The lines of `metrics.jsonl`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for axis, (key, title) in zip(figure.subplots(2, 2).flat, TITLES.items(), strict=True):
        for split, style in (("train", "-"), ("validation", "o--")):
            points = [(r["step"], r[key]) for r in records if r["split"] == split and r.get(key) is not None]
            points = points[1:] if split == "train" and len(points) > 2 else points  # without the untrained network
            if points:
                axis.plot(*zip(*points, strict=True), style, label=split, markersize=3, linewidth=1.2)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("step", fontsize=8)
        axis.grid(alpha=0.25)
        if axis.lines:
            axis.legend(fontsize=8)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return Image.fromarray(pixels[:, :, :3].copy())


def line_chart(series: Mapping[str, Points], label: str, whole: bool = False) -> str:
    """Draw one line for every series, as SVG; "" if there are no points.

    A first value far outside all that follow (the untrained network's) is cut off rather than flattening the rest.

    Arguments:
        series: Name, "train" or "validation", → points (x, y).
        label: What the chart shows, for screen readers.
        whole: Show also a first value that is far outside.
    """
    points = [point for each in series.values() for point in each]
    if not points:
        return ""
    figure, axis = _figure()
    for name, each in series.items():
        marker = "o" if name == "validation" and len(each) < FEW else None
        axis.plot(*zip(*each, strict=True), color=INK[name], linewidth=1.3, marker=marker, markersize=3, gid=name)
    axis.set_xlim(_to_ticks(min(x for x, _ in points), max(x for x, _ in points)))
    heights = [y for _, y in points]
    axis.set_ylim(_to_ticks(*((min(heights), max(heights)) if whole else _visible(heights))))
    return _svg(figure, label)


def bar_chart(values: Sequence[float], label: str) -> str:
    """Draw a bar for every value ≥ 0, side by side, as SVG; "" if there are none."""
    if not values:
        return ""
    figure, axis = _figure()
    width = 0.82 if len(values) < MANY else 1.0  # gaps of less than a pixel make stripes
    axis.bar(range(len(values)), values, width, color=INK["validation"], antialiased=len(values) < MANY)
    axis.set_ylim(_to_ticks(0, max(*values, 1e-9)))
    axis.set_xlim(-0.5, len(values) - 0.5)
    axis.set_xticks([])
    return _svg(figure, label)


def _figure() -> tuple[Figure, Axes]:
    """An empty chart with faint lines across and nothing else."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    with rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=SIZE, layout="constrained")
        axis = figure.subplots()
        axis.grid(axis="y", color=INK["rule"], linewidth=0.75)
        axis.set_axisbelow(True)
        axis.tick_params(length=0, colors=INK["tick"])
        axis.spines[:].set_visible(False)
        for each in (axis.xaxis, axis.yaxis):
            each.set_major_locator(MaxNLocator(INTERVALS, steps=STEPS))
            each.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    return figure, axis


def _svg(figure: Figure, label: str) -> str:
    """The same bytes for the same chart, with colours of the page and without what only files need."""
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context(STYLE):  # type: ignore[arg-type]
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>|\n\s*", " ", text, flags=re.DOTALL)
    text = re.sub(r' id="(train|validation)"', r' class="\1"', text)
    text = re.sub(r' id="[a-z]+[a-z0-9]*_[^"]*"', "", text)  # the same in every chart of a page
    for name, colour in INK.items():
        text = text.replace(colour, f"var({VARIABLES[name]})")
    inside = text[text.index(">", text.index("<svg")) + 1 :]
    width, height = (72 * side for side in SIZE)
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">{inside}'


def _to_ticks(low: float, high: float) -> tuple[float, float]:
    """The ticks of an axis that lie around these values."""
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(INTERVALS, steps=STEPS).tick_values(low, high if high > low else low + (abs(low) or 1.0))
    return float(ticks[0]), float(ticks[-1])


def _visible(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest value to show: all, but a first one that stands far out."""
    low, high = min(values), max(values)
    rest = values[1:] or values
    if high - low > 2 * (max(rest) - min(rest)) > 0:
        low, high = min(rest), max(rest)
    return (low, high) if high > low else (min(low, 0.0), max(high, 0.0))


def _short(value: float) -> str:
    """Write a number for an axis: 12k, −3,500, 0.25, 7.5e−4."""
    if 0 < abs(value) < 0.01:
        digits, power = f"{value:.1e}".split("e")
        return f"{digits.removesuffix('.0')}e{int(power)}".replace("-", "−")
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k".replace("-", "−")
    return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}").replace("-", "−")
