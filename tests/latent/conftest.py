"""A model whose codes are understood: discs on a ground, with four numbers each."""

from __future__ import annotations

import numpy as np
import pytest

from betabloom.latent import Space

SIDE = 32


class Discs:
    """z = (size, lightness of the ground, green to red, blue to yellow), each standard normal."""

    fingerprint = "0123456789abcdef"
    first_layer = np.diag([1.0, 3.0, 2.0, 0.5]).astype(np.float32)

    def draw(self, n, seed=0, temperature=1.0, start=0, sampler="auto"):
        rows = [np.random.default_rng([seed, i]).standard_normal(4) for i in range(start, start + n)]
        return temperature * np.array(rows, np.float32)

    def decode(self, codes):
        y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
        inside = np.hypot(x, y)[None] - (9 + 1.5 * codes[:, 0, None, None])
        inside = np.clip(0.5 - inside, 0, 1)[..., None]
        ground = np.broadcast_to((0.3 + 0.06 * codes[:, 1])[:, None, None, None], (len(codes), 1, 1, 3))
        red, yellow = 0.07 * codes[:, 2], 0.07 * codes[:, 3]
        disc = np.stack([0.6 + red + yellow, 0.6 - red + yellow, 0.6 - 2 * yellow], -1)[:, None, None]
        return np.rint(255 * np.clip(inside * disc + (1 - inside) * ground, 0, 1)).astype(np.uint8)


@pytest.fixture(scope="session")
def discs():
    return Discs()


@pytest.fixture(scope="session")
def space(discs):
    return Space.of(discs.draw(1024, 1))
