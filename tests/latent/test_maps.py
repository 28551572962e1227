"""Maps keep neighbours together; every picture gets a cell of its own."""

from __future__ import annotations

import numpy as np
import pytest

from betabloom.errors import UsageError
from betabloom.latent import map_rows, on_grid, picture_map, project

RNG = np.random.default_rng(0)
CLUSTERS = np.repeat(np.eye(3) * 20, 20, axis=0) + RNG.standard_normal((60, 3))
LABELS = np.repeat([0, 1, 2], 20)


@pytest.mark.parametrize("method", ["pca", "tsne", pytest.param("umap", marks=pytest.mark.slow)])
def test_clusters_stay_apart(method):
    pytest.importorskip({"pca": "numpy", "tsne": "sklearn", "umap": "umap"}[method])
    places = project(CLUSTERS, method, seed=1)
    assert places.min() >= 0
    assert places.max() <= 1
    distance = np.linalg.norm(places[:, None] - places[None], axis=2) + 9 * np.eye(60)
    assert (LABELS[distance.argmin(1)] == LABELS).all()
    assert np.array_equal(places, project(CLUSTERS, method, seed=1))


def test_codes_of_one_dimension_have_a_map_too():
    assert project(np.arange(5.0)[:, None]).shape == (5, 2)


def test_impossible_maps_are_refused():
    with pytest.raises(UsageError, match="at least 3 pictures, not 2"):
        project(CLUSTERS[:2])
    with pytest.raises(UsageError, match="pca, tsne, umap, not 'atlas'"):
        project(CLUSTERS, "atlas")
    with pytest.raises(UsageError, match="grid or scatter"):
        picture_map(np.zeros((3, 4, 4, 3), np.uint8), np.zeros((3, 2)), "spiral")


def test_a_grid_gives_each_picture_a_cell_and_keeps_a_grid_as_it_is():
    cells, rows, columns = on_grid(RNG.random((23, 2)))
    assert (rows, columns) == (5, 5)
    assert len({tuple(cell) for cell in cells.tolist()}) == 23
    y, x = np.divmod(np.arange(16), 4)
    kept, _, _ = on_grid(np.stack([x, y], 1) / 3 + 1e-6 * RNG.random((16, 2)))
    assert np.abs(kept - np.stack([y, x], 1)).max() <= 1


def test_pictures_stand_at_their_places():
    pictures = np.zeros((3, 4, 4, 1), np.uint8) + np.array([10, 20, 30], np.uint8)[:, None, None, None]
    sheet = np.asarray(picture_map(pictures, np.array([[0, 0], [1, 0], [0, 1.0]]), "scatter", side=20))
    assert [int(sheet[p][0]) for p in ((0, 0), (0, 19), (19, 0), (10, 10))] == [10, 20, 30, 255]


def test_a_map_as_data_names_every_picture():
    rows = map_rows(["a", "b"], np.array([[0, 1], [0.5, 0.25]]), np.array([3, 4]))
    assert rows[1] == {"name": "b", "x": 0.5, "y": 0.25, "label": 4}
