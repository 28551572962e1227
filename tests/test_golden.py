"""Golden files: a model of every format version that was released loads for ever, and draws what it drew."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

import betabloom
from betabloom.model.directory import FORMAT_VERSION

GOLDEN = Path(__file__).parent / "golden"
RUN = GOLDEN / "run-version-1"
VERSIONS = sorted(path for path in GOLDEN.glob("version-*") if path.is_dir())


def test_there_is_a_golden_model_of_every_version():
    assert [path.name for path in VERSIONS] == [f"version-{number}" for number in range(1, FORMAT_VERSION + 1)]


@pytest.mark.parametrize("folder", VERSIONS, ids=lambda path: path.name)
def test_a_golden_model_loads_and_draws_what_it_drew(folder):
    model = betabloom.load(folder)
    with np.load(folder / "pictures.npz", allow_pickle=False) as file:
        stored = dict(file)
    drawn = {
        "generated": model.generate(len(stored["generated"]), seed=7),
        "from_prior": model.generate(len(stored["from_prior"]), seed=7, sampler="prior"),
        "reconstructed": model.reconstruct(stored["originals"]),
    }
    for name, pictures in drawn.items():
        difference = np.abs(pictures.astype(int) - stored[name])
        assert difference.max() <= 2, name  # other processors round otherwise
        assert pictures.std() > 10, name
    mean, log_var = model.encode(stored["originals"])
    np.testing.assert_allclose(mean, stored["mean"], atol=1e-3)
    np.testing.assert_allclose(log_var, stored["log_var"], atol=1e-3)


def test_a_golden_run_that_was_interrupted_goes_on_to_the_model_that_it_would_have_become(tmp_path):
    """Half of its steps were taken by the version before, with the former names of settings and numbers."""
    shutil.copytree(RUN, tmp_path / "run")
    assert "start" in yaml.safe_load((RUN / "config.yaml").read_text(encoding="utf-8"))["train"]
    store = betabloom.prepare("drawn:60", size=16)
    model = betabloom.resume(tmp_path / "run", store, progress=False)
    with np.load(RUN / "expected.npz", allow_pickle=False) as file:
        expected = dict(file)
    assert model.training["steps"] == 20
    drawn = {"generated": model.generate(8, seed=7), "reconstructed": model.reconstruct(store.pictures[:4])}
    for name, pictures in drawn.items():
        assert np.abs(pictures.astype(int) - expected[name]).max() <= 3, name  # other processors round otherwise
        assert pictures.std() > 3, name


def test_golden_files_are_small():
    assert sum(path.stat().st_size for path in GOLDEN.rglob("*") if path.is_file()) < 200_000 * len(VERSIONS)
