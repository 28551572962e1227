"""The curves of a run, as one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["curves"]


def curves(records: Sequence[Mapping[str, Any]]) -> Image.Image:
    """Draw distortion, rate, β and active units over the steps of a run.

    Arguments:
        records: The lines of `metrics.jsonl`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    titles = {
        "distortion": "Distortion D (nats per image)",
        "rate": "Rate R = KL (nats per image)",
        "beta": "β",
        "active_units": "Active units",
    }
    for axis, (key, title) in zip(figure.subplots(2, 2).flat, titles.items(), strict=True):
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
