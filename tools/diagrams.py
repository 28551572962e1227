"""Diagrams of the book: the parts of a VAE, and a network drawn from its description."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

import betabloom

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VIOLET, GREEN, INK = "#e5dcf0", "#d9ecdd", "#1f2937"
PLAIN = "#f3f4f6"


def parts(axis: Axes) -> None:
    """Encoder, posterior, code, decoder, likelihood, prior, and what is done with them."""
    axis.set(xlim=(0, 100), ylim=(0, 40))
    axis.axis("off")
    for x, text, colour in (
        (0, "picture\n$x$", PLAIN), (17, "encoder", VIOLET), (35, "posterior\n$\\mathcal{N}(\\mu, \\sigma^2)$", PLAIN),
        (53, "code\n$z$", PLAIN), (70, "decoder", GREEN), (87, "likelihood\n$p(x|z)$", PLAIN),
    ):  # fmt: skip
        _box(axis, x, 14, 13, 11, text, colour)
    for x in (13, 30, 48, 66, 83):
        _arrow(axis, (x, 19.5), (x + 4.2, 19.5))
    _box(axis, 53, 31, 13, 8, "prior $p(z)$\nor a fit", PLAIN)
    _arrow(axis, (59.5, 31), (59.5, 25.5))
    for x, y, text in (
        (40, 7, "reconstruct: $x \\to \\mu(x) \\to$ picture        vary: move a little from $\\mu(x)$, then decode"),
        (40, 2, "generate: draw $z$ without a picture, then decode"),
    ):
        axis.text(x, y, text, ha="center", va="center", fontsize=8.5, color=INK)


def architecture(axis: Axes, config: betabloom.Config) -> None:
    """The stages of a network: one box for each shape on the way, as high as the picture is there."""
    stages = _stages(betabloom.describe_layers(config))
    axis.set(xlim=(-0.6, len(stages) - 0.4), ylim=(-1.55, 1.25))
    axis.axis("off")
    for place, (shape, parameters, label, colour) in enumerate(stages):
        side = 0.62 + 0.62 * (shape[1] / config.shape[1] if len(shape) == 3 else 0.0)
        width = 0.72 if len(shape) == 3 else 0.6
        _box(axis, place - width / 2, -side / 2, width, side, "", colour, rounding=0.05)
        size = "×".join(map(str, shape))
        axis.text(place, 0, size, ha="center", va="center", fontsize=7.5, rotation=90, color=INK)
        axis.text(place, 0.75, label, ha="center", va="bottom", fontsize=8.5, color=INK)
        if parameters:
            axis.text(place, -0.75, f"{parameters:,}", ha="center", va="top", fontsize=7.5, rotation=90, color=INK)
    axis.text(len(stages) / 2 - 0.5, -1.5, "numbers below: parameters of the stage", ha="center", fontsize=8, color=INK)


def _stages(rows: list[dict[str, object]]) -> list[tuple[tuple[int, ...], int, str, str]]:
    """(shape, parameters, label, colour) wherever the shape changes; the two heads are one stage."""
    stages: list[tuple[tuple[int, ...], int, str, str]] = []
    for row in rows:
        name, shape, parameters = str(row["name"]), tuple(row["shape"]), int(row["parameters"])  # type: ignore[call-overload]
        decoder = name.startswith("decoder")
        head = not decoder and "body" not in name
        label, colour = ("μ, log σ²", PLAIN) if head else ("", GREEN if decoder else VIOLET)
        if stages and (stages[-1][0] == shape or "shuffle" in str(row["kind"]) or row["kind"] == "view"):
            before = stages.pop()
            shape, parameters = shape, parameters + before[1]
            label = before[2]
        stages.append((shape, parameters, label, colour))
    first, last = stages[0], stages[-1]
    stages[0], stages[-1] = (*first[:2], "x", PLAIN), (*last[:2], "η", last[3])
    return stages


def _box(
    axis: Axes, x: float, y: float, width: float, height: float, text: str, colour: str, rounding: float = 1.2
) -> None:
    style = f"round,pad=0,rounding_size={rounding}"
    axis.add_patch(FancyBboxPatch((x, y), width, height, style, facecolor=colour, edgecolor=INK, linewidth=0.8))
    axis.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=8.5, color=INK)


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color=INK, linewidth=0.9))
