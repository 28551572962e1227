"""The generator in the box: flowers without a training, a download or an argument."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import betabloom
from betabloom import colour
from betabloom.cli import app
from betabloom.modeldir import BUNDLED, MODELS

FOLDER = MODELS / BUNDLED


@pytest.fixture(scope="module")
def model():
    return betabloom.load()


def test_it_is_small_enough_for_a_wheel_and_says_where_it_comes_from():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) < 25e6
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for word in ("Nilsback", "limits", "near copies", "parzen"):
        assert word in card, word


def test_its_name_and_nothing_mean_the_same_model(model):
    assert betabloom.load(BUNDLED).fingerprint == model.fingerprint != ""


def test_its_pictures_are_colourful_and_all_different(model):
    pictures = model.generate(32, seed=1)
    assert pictures.shape == (32, 64, 64, 3)
    assert len({picture.tobytes() for picture in pictures}) == 32
    assert colour.colourfulness(pictures).mean() > 25
    flat = pictures.reshape(32, -1).astype(float)
    distance = np.sqrt(np.square(flat[:, None] - flat[None]).mean(2))
    assert np.median(distance[np.triu_indices(32, 1)]) > 40


def test_generate_needs_no_argument(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["generate", "-n", "4", "--json"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout.splitlines()[-1])
    assert (tmp_path / facts["made"][0]).is_file()
    assert CliRunner().invoke(app, ["info", BUNDLED]).exit_code == 0


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / BUNDLED).mkdir()
    with pytest.raises(betabloom.BetabloomError, match="not a model directory"):
        betabloom.load(BUNDLED)
