"""Make the pictures of the README and of the pages again, by the bundled models.

    python docs/images/make.py [NAME …]

Without a name all of them. `screenshots.py` makes those of the studio and of a shared page.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import betabloom
from betabloom import latent
from betabloom.cli.main import run
from betabloom.imaging.sheets import grid
from betabloom.latent.maps import picture_map, project
from betabloom.latent.mixing import crossed, recoloured
from betabloom.latent.restoration import box_mask, denoise, inpaint
from betabloom.latent.stored_directions import stored_directions
from betabloom.latent.traversal import traverse_along
from betabloom.samplers.neighbourhood import DRAWN, NEAREST, sisters

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

HERE = Path(__file__).parent
POINTS = ["seed:7/8", "seed:7/26", "seed:7/22"]  # of the picture generated.png
WIDE = 9  # pictures in a row
NOISE, HOLE = 30.0, (20, 20, 44, 44)


def varied() -> Image.Image:
    """A picture and its sisters, with three amounts."""
    model = betabloom.load()
    code = latent.points_of(model, POINTS[:1]).codes[0]
    noise = np.random.default_rng(1).standard_normal((WIDE - 1, NEAREST)).astype(np.float32)
    drawn = model.draw(DRAWN, 0)
    rows = [np.concatenate([code[None], sisters(code, drawn, noise, amount)]) for amount in (0.5, 1.0, 2.0)]
    return grid(model.decode(np.concatenate(rows)), columns=WIDE)


def morphed() -> Image.Image:
    """Frames of a loop through three pictures."""
    model = betabloom.load()
    codes = latent.points_of(model, POINTS).codes
    frames, _ = latent.morph(model, codes, n=2 * WIDE, loop=True, middle=latent.code_space(model).mean)
    return grid(frames, columns=WIDE)


def directions() -> Image.Image:
    """Four directions from one picture."""
    model = betabloom.load()
    vectors = np.stack([each.vector for each in stored_directions(model)[:4]])
    code = latent.points_of(model, POINTS[:1]).codes[0]
    pictures = traverse_along(model, code, vectors, np.linspace(-2, 2, WIDE).tolist())
    return grid(pictures.reshape(-1, *pictures.shape[2:]), columns=WIDE)


def mixed() -> Image.Image:
    """Two pictures, each with the colours of the other, and children of both."""
    model = betabloom.load()
    space, (one, other) = latent.code_space(model), latent.points_of(model, POINTS[:2]).codes
    swapped = np.stack([recoloured(model, space, one, other), recoloured(model, space, other, one)])
    children = crossed(space, one, other, WIDE - 4, 1)
    return grid(model.decode(np.concatenate([[one, other], swapped, children])), columns=WIDE)


def mapped() -> Image.Image:
    """400 new pictures by the principal axes of their codes."""
    model = betabloom.load()
    codes = model.draw(400, 7)
    return picture_map(model.decode(codes), project(codes), side=800)


def restored() -> Image.Image:
    """Holes and three completions each; noisy pictures and what is found behind the noise."""
    model = betabloom.load()
    pictures = model.decode(latent.points_of(model, POINTS).codes)
    mask, rng = box_mask(HOLE, *pictures.shape[1:3]), np.random.default_rng(0)
    rows = []
    for picture in pictures:
        hole = np.where(mask[:, :, None], np.uint8(128), picture)
        noisy = np.clip(np.rint(picture + rng.normal(0, NOISE, picture.shape)), 0, 255).astype(np.uint8)
        rows += [picture, hole, *inpaint(model, picture, mask, 3), noisy, denoise(model, noisy, NOISE)]
    return grid(np.stack(rows), columns=7)


GENERATED = {
    "generated.png": "flowers64 -n 64",
    "generated-128.png": "oxford128 -n 24 --columns 8",
    "generated-photos.png": "flowers128 -n 24 --columns 8",
}
PICTURES: dict[str, Callable[[], Image.Image]] = {
    "vary.webp": varied,
    "morph.webp": morphed,
    "directions.webp": directions,
    "mix.webp": mixed,
    "map.webp": mapped,
    "restored.webp": restored,
}


def main(names: list[str]) -> None:
    for name in names or [*GENERATED, *PICTURES]:
        file = HERE / name
        if name in GENERATED:
            run(["generate", *GENERATED[name].split(), "--seed", "7", "-o", str(file), "--force"])
        else:
            PICTURES[name]().save(file, quality=85, method=6)
            print(name)


if __name__ == "__main__":
    main(sys.argv[1:])
