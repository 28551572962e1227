"""Make the figures of the book: `python tools/figures.py [NAME …]`, all of them without a name.

Pictures go to docs/book/figures, what the live figures read to docs/book/live. Two small models of drawn flowers are
trained for it on first use, and kept in build/figures (two minutes each on one core).
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from diagrams import architecture, parts
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import betabloom
from betabloom.data import Drawn
from betabloom.imaging.sheets import grid
from betabloom.seeds import base_noise

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

ROOT = Path(__file__).parents[1]
FIGURES, LIVE, MODELS = (ROOT / each for each in ("docs/book/figures", "docs/book/live", "build/figures"))
TRAIN = "drawn:2000 --preset tiny --beta 1 --set widths=16,32,64 --steps 1500 --seed 1 --set validations=2 --device cpu"
LATENTS = {"plane": 2, "flowers": 16}  # of the models
PLANE, STEPS = 3.2, 21  # half the side of the map, pictures along it
VIOLET, GREEN, RED, GREY = "#6a3d9a", "#1b7837", "#c2410c", "#6b7280"
# From docs/atlas.md: rate and squared error for β = 1, 4, 8, means over three seeds with 95 % intervals
ATLAS = {
    1: (41.5, 15.9, (40.0, 43.0), (15.6, 16.1)),
    4: (29.8, 16.0, (29.6, 29.9), (15.9, 16.1)),
    8: (25.2, 16.1, (24.9, 25.5), (15.9, 16.2)),
}
mpl.rcParams.update(
    {"svg.fonttype": "path", "svg.hashsalt": "betabloom", "font.size": 9, "axes.grid": True, "grid.alpha": 0.25}
)


def axes(width: float = 6.4, height: float = 2.9, columns: int = 1) -> tuple[Figure, Any]:
    """A figure of the book's size, and its axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns)


def save(figure: Figure, name: str) -> None:
    """Write it as SVG, without date, so that the same command writes the same file."""
    figure.savefig(FIGURES / f"{name}.svg", metadata={"Date": None})


def trained(name: str) -> betabloom.Model:
    """One of the two small models, trained when it is not there."""
    folder = MODELS / name
    if not (folder / "model").is_dir():
        words = [*TRAIN.split(), "--latents", str(LATENTS[name]), "-o", str(folder)]
        subprocess.run([sys.executable, "-m", "betabloom", "train", *words], check=True)
    return betabloom.load(folder)


def flowers(count: int = 2000) -> np.ndarray:
    """Drawn flowers as rows of numbers in [0, 1]."""
    source = Drawn(count, seed=0, size=32)
    return np.stack([np.asarray(source.read(i)) for i in range(count)]).reshape(count, -1) / 255


@functools.cache
def spectrum() -> np.ndarray:
    """Variances of drawn flowers along their principal axes, largest first."""
    rows = flowers()
    return np.square(np.linalg.svd(rows - rows.mean(0), compute_uv=False)) / (len(rows) - 1)


def kl() -> None:
    figure, axis = axes()
    sigma = np.linspace(0.02, 2.2, 400)
    axis.plot(sigma, 0.5 * (sigma**2 - 1 - np.log(sigma**2)), color=VIOLET, label="½ (μ² + σ² − 1 − log σ²)")
    axis.plot(sigma, sigma**2 + np.log(sigma) - 1, "--", color=RED, label="μ² + σ² + log σ − 1 (wrong)")
    axis.set(xlabel="σ, at μ = 0", ylabel="nats", ylim=(-5, 4.5))
    axis.legend()
    save(figure, "kl")


def log_normal(x: np.ndarray, mean: float | np.ndarray, std: float) -> np.ndarray:
    """Logarithm of the normal density."""
    return -0.5 * (np.log(2 * np.pi * std**2) + np.square((x - mean) / std))


def elbo() -> None:
    z, x, noise, std = np.linspace(-5, 5, 4001), 1.5, 0.5, 0.25
    joint = log_normal(z, 0, 1) + log_normal(x, z**2, noise)
    step = z[1] - z[0]
    evidence = np.log(np.exp(joint).sum() * step)
    means = np.linspace(-2, 2, 201)
    log_q = [log_normal(z, mean, std) for mean in means]
    bound = [(np.exp(q) * (joint - q)).sum() * step for q in log_q]
    figure, (left, right) = axes(columns=2)
    left.plot(z, np.exp(joint - evidence), color=GREY, label="p(z | x)")
    best = int(np.argmax(bound))
    left.plot(z, np.exp(log_q[best]), color=VIOLET, label=f"q, μ = {means[best]:.2f}")
    left.set(xlabel="z", xlim=(-2.5, 2.5), title="posterior of x = 1.5 for the decoder z²")
    left.legend()
    right.axhline(evidence, color=GREY, label="log p(x)")
    right.plot(means, bound, color=VIOLET, label="ELBO, σ = 0.25")
    right.set(xlabel="μ", ylabel="nats", ylim=(-9, 0), title="the bound")
    right.legend(loc="lower center")
    save(figure, "elbo")


def gradients() -> None:
    rng = np.random.default_rng(0)
    dimensions = [1, 2, 4, 8, 16, 32, 64, 128, 256]
    pathwise, score = [], []
    for latents in dimensions:
        noise = rng.standard_normal((20_000, latents), np.float32)
        z = 1 + noise
        pathwise.append(z[:, 0].std())
        score.append((0.5 * np.square(z).sum(1) * noise[:, 0]).std())
    figure, axis = axes()
    axis.loglog(dimensions, score, "o-", color=RED, label="score function: f(z) ε₁")
    axis.loglog(dimensions, pathwise, "o-", color=VIOLET, label="pathwise: ∂f/∂z₁")
    axis.set(xlabel="latents l", ylabel="standard deviation of one draw")
    axis.legend()
    save(figure, "gradients")


def bce() -> None:
    grey, share = 0.3, np.linspace(0.005, 0.995, 400)
    cross = -grey * np.log(share) - (1 - grey) * np.log1p(-share)
    floor = -grey * np.log(grey) - (1 - grey) * np.log(1 - grey)
    away = np.where(np.abs(share - 0.5) < 1e-6, 0.5 + 1e-6, share)
    normaliser = np.log(2 * np.arctanh(1 - 2 * away) / (1 - 2 * away))
    figure, axis = axes()
    for values, colour, name in (
        (cross, VIOLET, "cross-entropy"),
        (cross - floor, GREEN, "cross-entropy − entropy"),
        (cross - normaliser, RED, "continuous Bernoulli, −log p"),
    ):
        axis.plot(share, values, color=colour, label=name)
        axis.plot(share[values.argmin()], values.min(), "o", color=colour)
    axis.axvline(grey, color=GREY, linewidth=0.8, linestyle=":")
    axis.set(xlabel="λ, for a pixel x = 0.3", ylabel="nats", ylim=(-0.6, 2))
    axis.legend()
    save(figure, "bce")


def camouflage() -> None:
    model = betabloom.load()
    rows = [model.generate(n=10, seed=7, sampler=sampler) for sampler in ("prior", "auto")]
    grid(np.concatenate(rows), columns=10).save(FIGURES / "camouflage.png", optimize=True)


def code_statistics() -> dict[str, Any]:
    """What chapter 5 says of the codes of the bundled model, from the normal distribution that was fitted to them."""
    gaussian = betabloom.load().samplers["gaussian"]
    mean, factor = gaussian.mean[0].double().numpy(), gaussian.factor[0].double().numpy()
    covariance = factor @ factor.T
    variances, diagonal = np.linalg.eigvalsh(covariance)[::-1], np.diag(covariance)
    gaps = [0.5 * (v.sum() + mean @ mean - len(v) - np.log(v).sum()) for v in (variances, diagonal)]
    return {
        "mean": mean,
        "factor": factor,
        "variances": variances,
        "diagonal": diagonal,
        "gap": gaps[0],
        "marginal": gaps[1],
    }


def aggregate() -> None:
    import torch

    facts = code_statistics()
    noise, choice = base_noise(1, 2000, len(facts["mean"]))
    parzen = betabloom.load().samplers["parzen"]
    codes = parzen.sample(torch.from_numpy(noise), torch.from_numpy(choice)).double().numpy()
    figure, (left, right) = axes(columns=2)
    left.semilogy(facts["variances"], color=VIOLET, label="codes")
    left.axhline(1, color=RED, linestyle="--", label="N(0, I)")
    left.set(xlabel="principal axis", ylabel="variance")
    left.legend()
    for drawn, colour, name in ((codes, VIOLET, "codes"), (noise, RED, "N(0, I)")):
        white = np.linalg.solve(facts["factor"], (drawn - facts["mean"]).T)
        distance = np.square(white).mean(0)
        print(
            f"{name}: {distance.mean():.2f} ± {distance.std():.2f}; length {np.linalg.norm(drawn, axis=1).mean():.1f}"
        )
        right.hist(distance, 60, range=(0, 4), color=colour, alpha=0.6, label=name)
    right.set(xlabel="squared distance per dimension", ylabel="of 2,000 codes")
    right.legend()
    save(figure, "aggregate")
    print(f"gap {facts['gap']:.1f} nats, of which single dimensions {facts['marginal']:.1f}")


def code_map() -> None:
    model = trained("plane")
    pictures = (flowers(1500) * 255).astype(np.uint8).reshape(-1, 32, 32, 3)
    codes, _ = model.encode(pictures)
    side = np.linspace(-PLANE, PLANE, STEPS)
    places = np.array([(x, y) for y in side[::-1] for x in side], np.float32)
    drawn = model.decode(places)
    sheet = grid(drawn, columns=STEPS, gap=0)
    sheet.save(LIVE / "map.webp", quality=80, method=6)
    points = [[round(float(x), 2), round(float(y), 2)] for x, y in codes]
    (LIVE / "map-data.js").write_text(f"const MAP = {json.dumps({'side': PLANE, 'steps': STEPS, 'codes': points})};\n")
    figure, (left, right) = axes(6.4, 3.2, 2)
    left.scatter(*codes.T, s=3, color=VIOLET, alpha=0.5, linewidths=0)
    for radius in (1, 2, 3):
        left.add_patch(mpl.patches.Circle((0, 0), radius, fill=False, color=GREY, linewidth=0.8))
    left.set(xlim=(-PLANE, PLANE), ylim=(-PLANE, PLANE), aspect="equal", xlabel="z₁", ylabel="z₂")
    every = drawn.reshape(STEPS, STEPS, 32, 32, 3)[::2, ::2].reshape(-1, 32, 32, 3)
    right.imshow(np.asarray(grid(every, columns=(STEPS + 1) // 2, gap=0)), extent=(-PLANE, PLANE, -PLANE, PLANE))
    right.grid(visible=False)
    figure.savefig(FIGURES / "map.png", dpi=150, metadata={"Software": None})


def linear(variances: np.ndarray, level: float, latents: int) -> tuple[float, float]:
    """Rate and squared error of the linear VAE at the water level θ = β s² (chapter 7)."""
    kept = variances[:latents]
    rate = 0.5 * np.log(np.maximum(kept / level, 1)).sum()
    return float(rate), float(np.minimum(kept, level).sum() + variances[latents:].sum())


def plane() -> None:
    variances = spectrum()
    noise = variances[10:].sum() / 3072
    curve = np.array([linear(variances, beta * noise, 10) for beta in np.geomspace(0.5, 300, 200)])
    figure, axis = axes()
    axis.plot(*curve.T, color=GREY, label="linear VAE, 10 latents (closed form)")
    for beta, (rate, error, across, along) in ATLAS.items():
        x, y = ([[m - a], [b - m]] for m, (a, b) in ((rate, across), (error, along)))
        axis.errorbar(rate, error, y, x, "o", color=VIOLET, capsize=2, label="VAE of the atlas" if beta == 1 else None)
        axis.annotate(f"β = {beta}", (rate, error), (2, 8), textcoords="offset points")
        axis.plot(*linear(variances, beta * noise, 10), "s", color=GREY, markersize=4)
        axis.annotate(
            f"β = {beta}", linear(variances, beta * noise, 10), (2, 5), textcoords="offset points", color=GREY
        )
    axis.set(xlabel="rate, nats", ylabel="squared error a picture", xlim=(8, 46), ylim=(13, 32))
    axis.legend()
    save(figure, "plane")


def water() -> None:
    variances = spectrum()
    noise = variances[10:].sum() / 3072
    text = json.dumps(
        {"variances": [float(f"{v:.4g}") for v in variances[:40]], "rest": float(f"{variances[40:].sum():.4g}")}
    )
    (LIVE / "beta-data.js").write_text(f"const SPECTRUM = {text};\n")
    figure, axis = axes()
    axis.bar(np.arange(1, 41), variances[:40], color=VIOLET, width=0.8)
    for beta, style in ((10, ":"), (100, "--"), (400, "-")):
        axis.axhline(beta * noise, color=RED, linestyle=style, label=f"θ at β = {beta}, s² = {noise:.4f}")
    axis.set(xlabel="principal axis", ylabel="variance", yscale="log")
    axis.legend()
    save(figure, "water")


def morph() -> None:
    from betabloom import latent

    model = betabloom.load()
    points = latent.points_of(model, ["seed:7/1", "seed:7/3"])
    frames, _ = latent.morph(model, points.codes, n=24, middle=latent.code_space(model).mean)
    grid(frames, columns=len(frames), gap=0).save(LIVE / "morph.webp", quality=85, method=6)


def share() -> None:
    from betabloom.reports.share import share as write

    facts = write(trained("flowers"), LIVE / "flowers.html", codes=64, title="Drawn flowers")
    print(facts["bytes"], "bytes")


def drawing(draw: Callable[[Axes], None], name: str, width: float, height: float) -> Callable[[], None]:
    """A diagram as a figure."""

    def make() -> None:
        figure, axis = axes(width, height)
        draw(axis)
        save(figure, name)

    return make


MAKE: dict[str, Callable[[], None]] = {
    "parts": drawing(parts, "parts", 6.4, 2.5),
    "kl": kl, "elbo": elbo, "gradients": gradients, "bce": bce, "camouflage": camouflage, "aggregate": aggregate,
    "map": code_map, "plane": plane, "water": water, "morph": morph, "share": share,
    "architecture": drawing(lambda axis: architecture(axis, betabloom.load().config), "architecture", 6.4, 3.4),
}  # fmt: skip


def main() -> None:
    """Make those that are named, or all."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or MAKE:
        print(name)
        MAKE[name]()


if __name__ == "__main__":
    main()
