"""Inpainting and de-noising: PSNR of what the bundled model restores of pictures that it was not trained on.

    python benchmarks/restoration.py FLOWERS102 [-n 12] [--noise 30]

FLOWERS102 is the folder of the Oxford flowers, of whose validation split n pictures get a hole of 24×24 pixels in the
middle, and normal noise of that many grey levels. PSNR is in decibels, of the hole alone for inpainting, its mean over
pictures with a 95 % interval; beside it that of the mean colour around the hole, and of the noisy picture. Prints JSON.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

import betabloom
from betabloom.latent import box_mask, denoise, inpaint
from betabloom.model.prepared import load_pictures


def main() -> None:
    options = argparse.ArgumentParser(description="Measure inpainting and de-noising.")
    options.add_argument("flowers")
    options.add_argument("-n", type=int, default=12)
    options.add_argument("--noise", type=float, default=30.0)
    given = options.parse_args()
    model, rng = betabloom.load(), np.random.default_rng(5)
    held_out, *_ = load_pictures(model, [given.flowers], split="val")
    pictures = held_out[rng.permutation(len(held_out))[: given.n]]
    noisy = np.clip(pictures + rng.normal(0, given.noise, pictures.shape), 0, 255).round().astype(np.uint8)
    hole = box_mask((20, 20, 44, 44), *pictures.shape[1:3])
    filled = [inpaint(model, picture, hole)[0][hole] for picture in pictures]
    clean = [denoise(model, picture, given.noise) for picture in noisy]
    found = {
        "hole": psnr(filled, pictures[:, hole]),
        "mean colour": psnr([np.rint(picture[~hole].mean(0)) for picture in pictures], pictures[:, hole]),
        "without noise": psnr(clean, pictures),
        "with noise": psnr(noisy, pictures),
        "with noise, encoded and decoded": psnr(model.reconstruct(noisy), pictures),
        "without, encoded and decoded": psnr(model.reconstruct(pictures), pictures),
    }
    print(json.dumps(found, indent=1))


def psnr(made: np.ndarray | list[np.ndarray], true: np.ndarray) -> list[float]:
    """The mean, and its interval."""
    each = [10 * np.log10(255**2 / np.square(a - b.astype(float)).mean()) for a, b in zip(made, true, strict=True)]
    mean, half = np.mean(each), 1.96 * np.std(each, ddof=1) / np.sqrt(len(each))
    return [round(float(value), 2) for value in (mean, mean - half, mean + half)]


if __name__ == "__main__":
    main()
