"""Directions are found once: then they are read, and what is damaged is found again."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest

from betabloom.latent import stored_directions as module
from betabloom.latent.directions import Direction, strongest
from betabloom.latent.space import Space, code_space
from betabloom.latent.stored_directions import BUNDLED, COUNT, stored_directions
from betabloom.model.directory import MODELS, read_description
from betabloom.model.without_torch import open_without_torch

LATENTS = 5


@dataclasses.dataclass
class Named:
    """As much of a model as finding directions again needs."""

    fingerprint: str = "0123456789abcdef"

    @property
    def config(self):
        return self

    @property
    def model(self):
        return self

    latents: int = LATENTS


@pytest.fixture
def found(monkeypatch, tmp_path):
    """How often directions were found, with a cache of their own."""
    monkeypatch.setenv("BETABLOOM_CACHE", str(tmp_path / "cache"))
    calls = []

    def find(model, space, n):
        calls.append(n)
        vectors = np.random.default_rng(1).normal(size=(n, LATENTS))
        return [Direction("pca", vector, f"way {i}", 0.5, {"hue": 1.0}) for i, vector in enumerate(vectors)]

    monkeypatch.setattr(module, "strongest", find)
    return calls


SPACE = Space(np.zeros((2, LATENTS)), np.zeros(LATENTS), np.eye(LATENTS))


def test_they_are_found_once_and_read_as_they_were(found):
    first = stored_directions(Named(), SPACE)
    again = stored_directions(Named(), SPACE)
    assert len(found) == 1
    assert [each.name for each in again] == [f"way {i}" for i in range(COUNT)]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.vector, other.vector)
        assert dataclasses.replace(one, vector=0) == dataclasses.replace(other, vector=0)
    stored_directions(Named("another"), SPACE)
    assert len(found) == 2


@pytest.mark.parametrize("damage", ["", "{}", '{"directions": [{"kind": "pca", "vector": [1, 2]}]}', "\x00"])
def test_what_is_damaged_is_found_again(found, tmp_path, damage):
    stored_directions(Named(), SPACE)
    (file,) = (tmp_path / "cache" / "directions").iterdir()
    file.write_text(damage)
    assert len(stored_directions(Named(), SPACE)) == COUNT
    assert len(found) == 2
    stored_directions(Named(), SPACE)
    assert len(found) == 2


def test_a_cache_that_cannot_be_written_is_done_without(found, tmp_path):
    (tmp_path / "cache").write_text("a file, no folder")
    assert len(stored_directions(Named(), SPACE)) == COUNT


def test_the_oldest_are_let_go(found, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 3)
    for i in range(6):
        stored_directions(Named(f"model{i}"), SPACE)
        os.utime(tmp_path / "cache" / "directions" / f"model{i}-{COUNT}.json", (i, i))
    names = sorted(file.name for file in (tmp_path / "cache" / "directions").iterdir())
    assert names == [f"model{i}-{COUNT}.json" for i in (3, 4, 5)]


def bundled():
    return sorted(path.name for path in MODELS.iterdir() if (path / "config.json").is_file())


@pytest.mark.parametrize("name", bundled())
def test_those_of_the_bundled_models_come_with_the_package(name):
    assert (BUNDLED / f"{read_description(name).fingerprint}-{COUNT}.json").is_file()


@pytest.mark.slow
def test_those_that_come_with_the_package_are_those_that_are_found():
    model = open_without_torch("flowers64")
    for one, other in zip(strongest(model, code_space(model), COUNT), stored_directions(model), strict=True):
        assert one.name == other.name
        assert one.vector @ other.vector > 0.99 * np.linalg.norm(one.vector) * np.linalg.norm(other.vector)
