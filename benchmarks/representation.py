"""Codes as features: PCA, factor analysis, UMAP, an auto-encoder and β-VAEs at the same number of dimensions.

    python benchmarks/representation.py FLOWERS102 [--latents 16,64] [--betas 0,1,4] [--steps 400] [--train 3000]

FLOWERS102 is the folder of the Oxford flowers. All are fitted to the same pictures of the official training and test
splits, and measured on the official validation split, 10 pictures of each of 102 kinds:

- squared error of reconstructions a picture, pixels from 0 to 1, summed;
- accuracy of 10 nearest neighbours, learned from the codes of the pictures that were fitted to, on the 102 kinds;
- trustworthiness and continuity of neighbourhoods of 10 pictures (Venna & Kaski 2001): whether neighbours by codes are
  neighbours by pixels, and the other way round.

The estimators have four levels of 16 to 128 channels and batches of 32. With --bundled the bundled model
and PCA of as many dimensions, fitted to all the pictures that the model was trained on, are measured too. Intervals are
95 %, over the held-out pictures; none is over trainings. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.neighbors import KNeighborsClassifier

import betabloom
from betabloom import BetaVAE
from betabloom.model.prepared import load_pictures

if TYPE_CHECKING:
    from collections.abc import Iterator

NEIGHBOURS = 10
WIDTHS = (16, 32, 64, 128)


def main() -> None:
    options = argparse.ArgumentParser(description="Compare codes as features.")
    options.add_argument("flowers")
    options.add_argument("--latents", default="16,64")
    options.add_argument("--betas", default="0,1,4")
    options.add_argument("--steps", type=int, default=400)
    options.add_argument("--train", type=int, default=3000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--without", default="", help="umap,factor to leave them out")
    options.add_argument("--bundled", action="store_true")
    given = options.parse_args()
    model = betabloom.load()
    parts = {split: load_pictures(model, [given.flowers], split=split) for split in ("train", "test", "val")}
    learned, labels = (np.concatenate([parts["train"][i], parts["test"][i]]) for i in (0, 2))
    held_out, _, kinds, _ = parts["val"]
    some = np.random.default_rng(given.seed).permutation(len(learned))[: given.train]
    flat, fresh, ranks = rows(learned[some]), rows(held_out), Ranks(rows(held_out))
    print("| dimensions | how | squared error | accuracy, % | trustworthiness | continuity | seconds |")
    print("|---|---|---|---|---|---|---|")
    for latents in map(int, given.latents.split(",")):
        for name, fitted in candidates(latents, given):
            begun = time.process_time()
            codes = fitted.fit(flat).transform(flat)
            spent, new = time.process_time() - begun, fitted.transform(fresh)
            back = fitted.inverse_transform(new) if hasattr(fitted, "inverse_transform") and name != "UMAP" else None
            show(latents, name, codes, labels[some], new, kinds, back, fresh, ranks, spent)
    if given.bundled:
        latents, flat = model.vae.latents, rows(learned)
        pca = PCA(latents, svd_solver="randomized", random_state=given.seed).fit(flat)
        new = pca.transform(fresh)
        show(latents, "PCA", pca.transform(flat), labels, new, kinds, pca.inverse_transform(new), fresh, ranks, 0)
        new = model.encode(held_out)[0]
        back = rows(model.decode(new))
        show(latents, "bundled", model.encode(learned)[0], labels, new, kinds, back, fresh, ranks, 0)


def rows(pictures: np.ndarray) -> np.ndarray:
    return pictures.reshape(len(pictures), -1).astype(np.float32) / 255


def candidates(latents: int, given: Any) -> Iterator[tuple[str, Any]]:
    """Names and estimators that are not fitted."""
    yield "PCA", PCA(latents, svd_solver="randomized", random_state=given.seed)
    if "factor" not in given.without:
        yield "FactorAnalysis", Factors(latents, max_iter=20, random_state=given.seed)
    if "umap" not in given.without:
        from umap import UMAP

        yield "UMAP", UMAP(n_components=latents, random_state=given.seed, n_jobs=1)
    for beta in map(float, filter(None, given.betas.split(","))):
        settings: dict[str, Any] = {"beta": beta, "max_iter": given.steps, "random_state": given.seed}
        name = "auto-encoder, β = 0" if beta == 0 else f"β-VAE, β = {beta:g}"
        yield name, BetaVAE(latents, image_shape=(64, 64, 3), widths=WIDTHS, batch_size=32, **settings)


class Factors(FactorAnalysis):
    """Factor analysis that draws rows again: the mean of p(x|z)."""

    def fit(self, X: np.ndarray, y: Any = None) -> Factors:  # noqa: N803
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # twenty iterations are not always the last
            super().fit(X)
        return self

    def inverse_transform(self, X: np.ndarray) -> np.ndarray:  # noqa: N803
        return X @ self.components_ + self.mean_


class Ranks:
    """The ranks of all pictures seen from each of them, by pixels."""

    def __init__(self, x: np.ndarray) -> None:
        self.near, self.rank = nearness(x)

    def trustworthiness(self, near: np.ndarray, rank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Trustworthiness and continuity of each picture, whose means are those of all."""
        n, k = len(near), NEIGHBOURS
        scale = 2 / (k * (2 * n - 3 * k - 1))
        both = [(self.rank, near), (rank, self.near)]
        trust, continuity = (1 - scale * np.maximum(np.take_along_axis(r, few, 1) - k, 0).sum(1) for r, few in both)
        return trust, continuity


def nearness(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest neighbours (N, k) of each row, and the rank of every row seen from it, 1 for the nearest."""
    square = np.square(x).sum(1)
    distance = square[:, None] + square[None] - 2 * x @ x.T
    np.fill_diagonal(distance, -np.inf)
    order = distance.argsort(1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(len(x))[None], 1)
    return order[:, 1 : NEIGHBOURS + 1], rank


def show(
    latents: int, name: str, codes: np.ndarray, labels: Any, new: np.ndarray, kinds: Any, back: np.ndarray | None,
    fresh: np.ndarray, ranks: Ranks, seconds: float,
) -> None:  # fmt: skip
    """One row of the table."""
    right = KNeighborsClassifier(NEIGHBOURS, weights="distance").fit(codes, labels).predict(new) == kinds
    trust, continuity = ranks.trustworthiness(*nearness(np.asarray(new, np.float32)))
    error = "–" if back is None else with_interval(np.square(back - fresh).sum(1, dtype=np.float64), 1)
    cells = [error, with_interval(100 * right, 1), with_interval(trust, 3), with_interval(continuity, 3)]
    print(f"| {latents} | {name} | {' | '.join(cells)} | {seconds:.0f} |", flush=True)


def with_interval(values: np.ndarray, digits: int) -> str:
    mean, half = float(np.mean(values)), 1.96 * float(np.std(values)) / np.sqrt(len(values))
    return f"{mean:.{digits}f} [{mean - half:.{digits}f}, {mean + half:.{digits}f}]"


if __name__ == "__main__":
    main()
