"""From Python: prepare and fit in two lines."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import betabloom
from betabloom import data
from betabloom.errors import SourceError, UsageError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BETABLOOM_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(("size", "shape"), [(16, (16, 16)), ("24x16", (16, 24)), ((8, 16), (8, 16))])
def test_sizes_as_people_write_them(size, shape):
    store = betabloom.prepare("drawn:3", size=size)
    assert store.pictures.shape == (3, *shape, 3)


def test_folders_sources_and_arrays_are_all_pictures(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    array = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    for i, picture in enumerate(array):
        Image.fromarray(picture).save(folder / f"{i}.png")
    from_folder = betabloom.prepare(folder, size=16)
    from_source = betabloom.prepare(data.Arrays(array), size=16)
    assert np.array_equal(from_folder.pictures, array)
    assert np.array_equal(from_source.pictures, array)
    assert betabloom.prepare(folder, size=16, channels=1).pictures.shape == (5, 16, 16, 1)


def test_fit_takes_settings_by_name_and_leaves_a_run_where_it_is_told(tmp_path):
    store = betabloom.prepare("drawn:20", size=16)
    settings = {"widths": (4, 8), "latents": 3, "beta": 2.0, "device": "cpu"}
    model = betabloom.fit(store, "tiny", out=tmp_path / "run", steps=3, **settings)
    assert model.config.objective.beta == 2
    assert betabloom.load(tmp_path / "run").fingerprint == model.fingerprint
    with pytest.raises(UsageError, match="exists already"):
        betabloom.fit(store, "tiny", out=tmp_path / "run", steps=3, **settings)
    with pytest.raises(UsageError, match="Unknown setting 'bata'"):
        betabloom.fit(store, "tiny", bata=2)
    with pytest.raises(UsageError, match="Unknown regulariser"):
        betabloom.fit(store, "tiny", out=tmp_path / "other", regulariser="magic")
    assert not (tmp_path / "other").exists()


def test_no_pictures_no_store(tmp_path):
    with pytest.raises(SourceError, match="nowhere"):
        betabloom.prepare(tmp_path / "nowhere")
