"""Model directories: what is saved comes back bit for bit, and what is not a model is refused with a sentence."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import betabloom
from betabloom.config import Config
from betabloom.errors import FormatError, UsageError
from betabloom.model.card import model_card
from betabloom.training import loop


@pytest.fixture(scope="module")
def model(small_store, tmp_path_factory):
    from betabloom.config import Config

    settings = {
        "height": 16,
        "width": 16,
        "family": "residual",
        "widths": "8,16",
        "latents": 5,
        "batch": 16,
        "steps": 5,
        "flow": 4,
    }
    folder = tmp_path_factory.mktemp("run")
    return loop.train(small_store, Config.preset("tiny", **settings), folder), folder


def test_load_gives_back_what_was_saved_in_evaluation_mode(model, small_store):
    trained, folder = model
    loaded = betabloom.load(folder)
    assert not loaded.vae.training
    assert not any(parameter.requires_grad for parameter in loaded.vae.parameters())
    assert loaded.config == trained.config
    assert loaded.pipeline == trained.pipeline
    assert loaded.training == trained.training
    assert loaded.fingerprint == trained.fingerprint
    for name, value in trained.vae.state_dict().items():
        assert torch.equal(loaded.vae.state_dict()[name], value), name
    assert loaded.sampler == trained.sampler
    assert loaded.samplers.keys() == trained.samplers.keys() >= {"gaussian", "parzen", "flow"}
    for kind, density in trained.samplers.items():
        for name, value in density.state_dict().items():
            assert torch.equal(loaded.samplers[kind].state_dict()[name], value), (kind, name)
    pictures = np.asarray(small_store.pictures[:7])
    assert np.array_equal(loaded.generate(5, seed=2), trained.generate(5, seed=2))
    assert np.array_equal(loaded.reconstruct(pictures), trained.reconstruct(pictures))
    assert np.array_equal(loaded.encode(pictures)[1], trained.encode(pictures)[1])


def test_the_model_directory_and_the_run_directory_are_both_a_model(model):
    _, folder = model
    assert betabloom.load(folder / "model").fingerprint == betabloom.load(folder).fingerprint


def test_saving_over_a_model_replaces_it(model, tmp_path):
    trained, _ = model
    first = trained.save(tmp_path / "m")
    second = trained.save(tmp_path / "m")
    assert first.fingerprint == second.fingerprint == trained.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_the_card_names_the_measures(model):
    card = (model[1] / "model" / "README.md").read_text()
    assert model[0].fingerprint in card
    assert "| distortion |" in card


def test_the_card_says_where_pictures_come_from_and_asks_for_their_licence():
    card = model_card(Config.preset("tiny"), {}, 1, "f")
    assert "--licence TEXT" in card
    told = Config.preset("tiny", source_note="Photos of my garden.", licence="CC BY 4.0")
    card = model_card(told, {}, 1, "f")
    assert "Photos of my garden.\nLicence of the pictures: CC BY 4.0." in card


@pytest.fixture
def copy(model, tmp_path):
    trained, _ = model
    trained.save(tmp_path / "m")
    return tmp_path / "m"


def edit(folder, change):
    facts = json.loads((folder / "config.json").read_text())
    change(facts)
    (folder / "config.json").write_text(json.dumps(facts))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.update(format_version=99), "format version 99.*pip install --upgrade"),
        (lambda f: f.update(format="other"), "does not belong to a betabloom model"),
        (lambda f: f["config"]["model"].update(latents=6), "does not fit its settings"),
        (lambda f: f["config"]["model"].update(family="vgg"), "does not describe a model.*vgg"),
        (lambda f: f["config"]["model"].update(wings=2), "Unknown setting 'model.wings'"),
        (lambda f: f.update(config=None), "does not describe a model"),
        (lambda f: f.pop("sha256"), "does not describe a model"),
        (lambda f: f["sha256"].update(model="0" * 64), "hash differs"),
        (
            lambda f: f["samplers"].update(parzen={"kernels": 10**9, "neighbours": 8}),
            "a sampler with 1000000000 kernels",
        ),
        (lambda f: f["pipeline"].update(steps=[{"op": "rm"}]), "does not describe a model"),
    ],
)
def test_a_config_that_lies_is_refused_with_a_sentence(copy, change, message):
    edit(copy, change)
    with pytest.raises(FormatError, match=message):
        betabloom.load(copy)


def test_damaged_files_are_refused(copy):
    weights = copy / "model.safetensors"
    whole = weights.read_bytes()
    for damaged in (
        whole[: len(whole) // 2],
        b"",
        b"\xff" * 100,
        whole[:-1] + bytes([whole[-1] ^ 1]),
        pickle.dumps({"a": 1}),
    ):
        weights.write_bytes(damaged)
        with pytest.raises(FormatError, match="damaged"):
            betabloom.load(copy)
    weights.unlink()
    with pytest.raises(FormatError, match="missing"):
        betabloom.load(copy)
    for text in ("", "{", "[" * 100000, "x" * (2 << 20)):
        (copy / "config.json").write_text(text)
        with pytest.raises(FormatError):
            betabloom.load(copy)


def test_weights_that_are_not_finite_are_refused(copy):
    import hashlib

    weights = load_file(copy / "model.safetensors")
    weights["encoder.mean.bias"][0] = float("nan")
    save_file(weights, copy / "model.safetensors")
    digest = hashlib.sha256((copy / "model.safetensors").read_bytes()).hexdigest()
    edit(copy, lambda facts: facts["sha256"].update(model=digest))
    with pytest.raises(FormatError, match=r"'encoder\.mean\.bias'"):
        betabloom.load(copy)


def test_where_there_is_no_model_the_message_says_what_to_type(tmp_path):
    with pytest.raises(UsageError, match="betabloom train"):
        betabloom.load(tmp_path / "nothing")
    with pytest.raises(UsageError, match="not a model directory"):
        betabloom.load(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UsageError, match=f"--resume {tmp_path}"):
        betabloom.load(tmp_path)


def test_pictures_of_another_shape_are_refused(model):
    with pytest.raises(UsageError, match=r"\(N, 16, 16, 3\), not uint8 \(1, 8, 8, 3\).*model.prepare"):
        model[0].encode(np.zeros((1, 8, 8, 3), np.uint8))


def test_prepare_makes_any_picture_fit(model):
    from PIL import Image

    prepared = model[0].prepare([Image.new("RGB", (200, 90), "red"), Image.new("L", (5, 5))])
    assert prepared.shape == (2, 16, 16, 3)
    assert prepared[0].mean((0, 1)).tolist() == [255, 0, 0]


def test_half_the_space_is_hardly_a_grey_level(model, tmp_path):
    trained, _ = model
    trained.save(tmp_path / "whole")
    trained.save(tmp_path / "half", half=True)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.7 * sizes[0]
    whole, half = (betabloom.load(tmp_path / name) for name in ("whole", "half"))
    difference = np.abs(whole.generate(8, seed=1).astype(int) - half.generate(8, seed=1))
    assert difference.max() <= 2
    assert half.fingerprint != whole.fingerprint


def kept(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_saving_replaces_models_and_nothing_else(model, tmp_path):
    """A folder of a person's, a run, a file of a person's in a model, a config.json of another program: all stay."""
    made, folder = model
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "notes.txt").write_text("my thesis")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "config.json").write_text('{"model_type": "bert"}')
    made.save(tmp_path / "mine")
    (tmp_path / "mine" / "flowers.png").write_text("mine")
    shutil.copytree(folder, tmp_path / "run")
    before = kept(tmp_path)
    for name, what in (("results", "notes.txt"), ("foreign", "config.json"), ("mine", "flowers.png"), ("run", "model")):
        with pytest.raises(UsageError, match=f"{name} is not replaced.*{what}"):
            made.save(tmp_path / name)
    assert kept(tmp_path) == before
    made.save(tmp_path / "run" / "model")
    assert betabloom.load(tmp_path / "run").config == made.config
