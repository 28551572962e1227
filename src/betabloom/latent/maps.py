"""Maps: codes laid out on a plane, so that pictures lie beside those like them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from betabloom.errors import UsageError
from betabloom.imaging.alpha import over

if TYPE_CHECKING:
    from betabloom.latent.space import Space

__all__ = ["LAYOUTS", "METHODS", "map_rows", "on_grid", "picture_map", "project"]

METHODS = ("pca", "tsne", "umap")
LAYOUTS = ("grid", "scatter")
LARGEST_GRID = 2500  # pictures that are assigned to places; the time grows with the cube


def project(codes: np.ndarray, method: str = "pca", seed: int = 0, space: Space | None = None) -> np.ndarray:
    """Places on a plane, float64 (N, 2), each coordinate from 0 to 1.

    Arguments:
        codes: (N, l), N ≥ 3.
        method: "pca" (linear, distances mean something), "tsne" (van der Maaten & Hinton 2008; needs scikit-learn) or
            "umap" (McInnes et al. 2018; needs umap-learn): neighbours stay together, distances mean little.
        seed: Of t-SNE and UMAP.
        space: Where the principal axes are taken from; from the codes themselves if None.

    Returns:
        float64 (N, 2).

    Raises:
        UsageError: There are too few codes, the method is another, or its package is missing.
    """
    if len(codes) < 3:
        raise UsageError(f"A map needs at least 3 pictures, not {len(codes)}.")
    if method not in METHODS:
        raise UsageError(f"The method of a map is one of {', '.join(METHODS)}, not {method!r}.")
    places = {"pca": _pca, "tsne": _tsne, "umap": _umap}[method](codes, seed, space)
    low, high = places.min(0), places.max(0)
    scaled: np.ndarray = (places - low) / np.maximum(high - low, 1e-12)
    return scaled


def _pca(codes: np.ndarray, seed: int, space: Space | None) -> np.ndarray:
    centred = codes - codes.mean(0)
    covariance = np.cov(centred.T).reshape(codes.shape[1], -1) if space is None else space.factor @ space.factor.T
    axes = np.linalg.eigh(covariance)[1][:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    places: np.ndarray = centred @ axes
    return places if places.shape[1] == 2 else np.column_stack([places, np.zeros(len(places))])


def _tsne(codes: np.ndarray, seed: int, space: Space | None) -> np.ndarray:
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise UsageError("A t-SNE map needs scikit-learn: pip install 'betabloom[sklearn]'.") from error
    perplexity = min(30.0, (len(codes) - 1) / 3)
    places: np.ndarray = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(codes)
    return places


def _umap(codes: np.ndarray, seed: int, space: Space | None) -> np.ndarray:
    try:
        from umap import UMAP
    except ImportError as error:
        raise UsageError("A UMAP map needs umap-learn: pip install 'betabloom[umap]'.") from error
    neighbours = min(15, len(codes) - 1)
    init = "spectral" if len(codes) > 10 else "random"
    places: np.ndarray = UMAP(n_neighbors=neighbours, init=init, random_state=seed, n_jobs=1).fit_transform(codes)
    return places


def on_grid(places: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Cells of a grid for places (N, 2), so that the sum of squared distances that they move is the smallest.

    Returns:
        (row, column) of each (N, 2), and the number of rows and of columns.
    """
    from scipy.optimize import linear_sum_assignment

    if len(places) > LARGEST_GRID:
        raise UsageError(f"A grid holds at most {LARGEST_GRID:,} pictures, not {len(places):,}: use --layout scatter.")
    columns = math.ceil(math.sqrt(len(places)))
    rows = math.ceil(len(places) / columns)
    ranks = (places.argsort(0).argsort(0) + 0.5) / len(places)  # evenly spread, so that no corner stays empty
    cells = np.stack(np.divmod(np.arange(rows * columns), columns), 1)
    middles = (cells[:, ::-1] + 0.5) / (columns, rows)
    cost = np.square(ranks[:, None] - middles[None]).sum(2)
    _, chosen = linear_sum_assignment(cost)
    return cells[chosen], rows, columns


def picture_map(pictures: np.ndarray, places: np.ndarray, layout: str = "grid", side: int = 1600) -> Image.Image:
    """One image with every picture at its place.

    Arguments:
        pictures: uint8 (N, H, W, C).
        places: (N, 2), each coordinate from 0 to 1, x to the right and y downwards.
        layout: "grid" (each in a cell near its place; nothing is covered) or "scatter" (at its very place).
        side: Of a scatter map, in pixels.

    Returns:
        The image.

    Raises:
        UsageError: The layout is another, or a grid would be too large.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"The layout of a map is {' or '.join(LAYOUTS)}, not {layout!r}.")
    height, width = pictures.shape[1:3]
    colours = np.broadcast_to(over(pictures), (*pictures.shape[:3], 3))
    if layout == "grid":
        cells, rows, columns = on_grid(places)
        corners, size = cells * (height, width), (columns * width, rows * height)
    else:
        size = (max(side, width), max(side, height))
        corners = np.rint(places[:, ::-1] * (size[1] - height, size[0] - width)).astype(int)
    sheet = np.full((size[1], size[0], 3), 255, np.uint8)
    for picture, (top, left) in zip(colours, corners, strict=True):
        sheet[top : top + height, left : left + width] = picture
    return Image.fromarray(sheet)


def map_rows(names: list[str], places: np.ndarray, labels: np.ndarray | None = None) -> list[dict[str, Any]]:
    """The map as data: name, x, y, and the label if there are any, of every picture.

    Arguments:
        names: Of the pictures, N.
        places: From `project`, (N, 2).
        labels: Class indices, (N,).

    Returns:
        One {name, x, y, label} for each picture.
    """
    rows: list[dict[str, Any]] = [
        {"name": name, "x": round(float(x), 6), "y": round(float(y), 6)}
        for name, (x, y) in zip(names, places, strict=True)
    ]
    if labels is not None:
        rows = [{**row, "label": int(label)} for row, label in zip(rows, labels, strict=True)]
    return rows
