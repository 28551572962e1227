"""Anomalies: how often other kinds of pictures score higher than held-out ones of the kind that a model learned.

    python benchmarks/anomaly.py FLOWERS102 [--other emoji=FOLDER ...] [-n 200] [--features lite0]

FLOWERS102 is the folder of the Oxford flowers, whose validation split the bundled model was not trained on. Half of
n + n of its pictures are the normal ones that p-values are from, the others are judged, and so are n pictures of each
other kind: those of --other, drawn flowers, noise, and the judged flowers themselves blurred, with a grey square over
the middle, and with their 8×8 blocks in random order. Prints the AUROC of each score with its 95 % interval. An
AUROC of ½ is guessing; below it, the other kind looks more normal. And, of all pictures of that split, how many have
p ≤ 0.05 and ≤ 0.1 when some, at random, are the normal ones: the mean of 400 such divisions, and their 95 % range.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

import betabloom
from betabloom.data.sources.drawn import Drawn
from betabloom.latent import anomaly_scores, auroc, code_space, p_values
from betabloom.metrics import features, open_extractor
from betabloom.model.prepared import load_pictures

if TYPE_CHECKING:
    from collections.abc import Callable

    from betabloom.model.model import Model

NEIGHBOUR = 5
BLOCK = 8
DIVISIONS = 400


def main() -> None:
    options = argparse.ArgumentParser(description="Measure how well scores tell other kinds of pictures.")
    options.add_argument("flowers")
    options.add_argument("--other", action="append", default=[], metavar="NAME=SOURCE")
    options.add_argument("-n", type=int, default=200)
    options.add_argument("--features", default="lite0")
    given = options.parse_args()
    model, begun = betabloom.load(), time.perf_counter()
    held_out, *_ = load_pictures(model, [given.flowers], split="val")
    chosen = held_out[np.random.default_rng(0).permutation(len(held_out))[: 2 * given.n]]
    known, normal = chosen[: given.n], chosen[given.n :]
    kinds = others(model, normal, given.n, given.other)
    rows: dict[str, dict[str, list[float]]] = {name: {} for name in kinds}
    result: dict[str, object] = {"known": len(known), "normal": len(normal), "auroc": rows}
    of_all = anomaly_scores(model, code_space(model), held_out)
    result["calibration"] = {n: calibration(of_all, n) for n in (19, 100, len(of_all) // 2)}
    for name, score in scores(model, known, given.features).items():
        usual = score(normal)
        for kind, pictures in kinds.items():
            rows[kind][name] = [round(each, 3) for each in auroc(usual, score(pictures))]
    result["seconds"] = round(time.perf_counter() - begun, 1)
    print(json.dumps(result, indent=1))


def calibration(scores: np.ndarray, known: int) -> dict[str, list[float]]:
    """The share of normal pictures with p ≤ 0.05 and 0.1, when so many others are known: mean and range."""
    rng, found = np.random.default_rng(0), []
    for _ in range(DIVISIONS):
        order = rng.permutation(len(scores))
        p = p_values(scores[order[known:]], scores[order[:known]])
        found.append([(p <= 0.05).mean(), (p <= 0.1).mean()])
    summary = np.concatenate([np.mean(found, 0)[None], np.percentile(found, [2.5, 97.5], 0)]).T.round(3)
    return {"p ≤ 0.05": summary[0].tolist(), "p ≤ 0.1": summary[1].tolist()}


def others(model: Model, normal: np.ndarray, n: int, named: list[str]) -> dict[str, np.ndarray]:
    """Pictures of other kinds, prepared."""
    rng = np.random.default_rng(1)
    kinds = {}
    for each in named:
        name, _, source = each.partition("=")
        pictures, *_ = load_pictures(model, [source])
        kinds[name] = pictures[np.sort(rng.permutation(len(pictures))[:n])]
    drawn = Drawn(n, seed=3)
    kinds["drawn flowers"] = model.prepare(drawn.read(i) for i in range(n))
    kinds["noise"] = rng.integers(0, 256, normal.shape, np.uint8)
    kinds["blurred"] = np.stack([blurred(picture) for picture in normal])
    kinds["grey square"] = normal.copy()
    side = normal.shape[1] // 3
    kinds["grey square"][:, side:-side, side:-side] = 128
    kinds["blocks in another order"] = np.stack([shuffled(picture, rng) for picture in normal])
    return kinds


def blurred(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(2)))


def shuffled(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same blocks of pixels at other places."""
    height, width, channels = picture.shape
    rows, columns = height // BLOCK, width // BLOCK
    blocks = picture.reshape(rows, BLOCK, columns, BLOCK, channels).swapaxes(1, 2).reshape(-1, BLOCK, BLOCK, channels)
    mixed = rng.permutation(blocks).reshape(rows, columns, BLOCK, BLOCK, channels)
    return mixed.swapaxes(1, 2).reshape(picture.shape)


def scores(model: Model, known: np.ndarray, extractor: str) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Scores by name; the higher, the less like what was learned."""
    space, eye = code_space(model), open_extractor(extractor)
    seen, codes = features(known, eye), model.encode(known)[0]

    def code(x: np.ndarray) -> np.ndarray:
        return 0.5 * np.square(space.whiten(model.encode(x)[0])).sum(1)

    def energy(x: np.ndarray) -> np.ndarray:
        return anomaly_scores(model, space, x, corrected=False)

    return {
        "energy": energy,
        "reconstruction": lambda x: energy(x) - code(x),
        "code": code,
        "energy less PNG": lambda x: anomaly_scores(model, space, x),
        "neighbours of codes": lambda x: apart(model.encode(x)[0], codes),
        "neighbours of features": lambda x: apart(features(x, eye), seen),
    }


def apart(some: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The distance to the fifth nearest of those that are known."""
    square = np.square(some).sum(1)[:, None] + np.square(known).sum(1)[None] - 2 * some @ known.T
    return np.sort(square, axis=1)[:, NEIGHBOUR - 1]


if __name__ == "__main__":
    main()
