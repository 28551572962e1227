"""From Python: prepare and fit in two lines."""

from __future__ import annotations

import json
import random
import threading

import numpy as np
import pytest
import torch
from PIL import Image

import betabloom
from betabloom import data
from betabloom.errors import SourceError, UsageError
from betabloom.system import console
from betabloom.system.signals import Interrupted


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


QUICK = {"height": 16, "width": 16, "widths": (4, 8), "latents": 3, "steps": 3, "device": "cpu"}


def weights(model):
    return {name: value.tolist() for name, value in model.vae.state_dict().items()}


def test_whatever_has_pictures_can_be_learned_from(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    images = [Image.fromarray(picture) for picture in array]
    for i, image in enumerate(images):
        image.save(tmp_path / f"{i}.png")
    made = [betabloom.fit(each, "tiny", progress=False, **QUICK) for each in (array, images, tmp_path, str(tmp_path))]
    assert weights(made[0]) == weights(made[1])
    assert weights(made[2]) == weights(made[3])
    assert np.array_equal(betabloom.prepare(images, size=16).pictures, array)


@pytest.mark.parametrize("nothing", [7, [1, 2], {"a": 1}, object()])
def test_what_has_no_pictures_is_refused_with_what_to_pass(nothing):
    for call in (betabloom.prepare, betabloom.fit):
        with pytest.raises(UsageError, match="Pass a folder"):
            call(nothing)


def test_a_script_shows_a_bar_that_can_be_turned_off(capfd, monkeypatch):
    monkeypatch.setattr(console, "LINE_EVERY", 0.0)
    betabloom.fit("drawn:20", "tiny", **QUICK)
    assert "training  3/3 steps" in capfd.readouterr().err
    betabloom.fit("drawn:20", "tiny", progress=False, **QUICK)
    assert "3/3 steps" not in capfd.readouterr().err
    seen = []
    betabloom.fit("drawn:20", "tiny", progress=lambda *state: seen.append(state[:2]), **QUICK)
    assert seen[-3:] == [(1, 3), (2, 3), (3, 3)]


def test_training_leaves_the_random_numbers_of_the_caller_alone(tmp_path):
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002  (the global state is what is looked at)
    random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    one = betabloom.fit("drawn:20", "tiny", tmp_path / "run", progress=False, **QUICK)
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    torch.manual_seed(6)
    assert weights(betabloom.fit("drawn:20", "tiny", progress=False, **QUICK)) == weights(one)


def test_a_stop_is_asked_for_from_any_thread_and_the_run_goes_on_later(tmp_path):
    settings = QUICK | {"steps": 30}
    whole = betabloom.fit("drawn:40", "tiny", progress=False, **settings)
    stop, raised = threading.Event(), []

    def ask(step, *_):
        if step == 7:
            stop.set()

    def work():
        with pytest.raises(Interrupted, match="Stopped at step 8 and saved"):
            betabloom.fit("drawn:40", "tiny", tmp_path / "run", progress=ask, stop=stop, **settings)
        raised.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert raised
    assert weights(betabloom.resume(tmp_path / "run", progress=False)) == weights(whole)
    with pytest.raises(Interrupted, match="step 1 without a folder"):
        betabloom.fit("drawn:40", "tiny", progress=False, stop=lambda: True, **settings)
    with pytest.raises(UsageError, match=r"'stop' must be a threading.Event or a function, not int"):
        betabloom.fit("drawn:40", "tiny", progress=False, stop=7, **settings)


def test_a_finished_run_is_trained_for_longer(tmp_path):
    """From where it stood, with the schedule of the longer training; a second resumption needs no more to be told."""
    betabloom.fit("drawn:40", "tiny", tmp_path / "run", progress=False, **QUICK)
    model = betabloom.resume(tmp_path / "run", progress=False, steps=9)
    assert model.training["steps"] == 9
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines)
    assert lines[-1]["learning_rate"] == pytest.approx(0, abs=1e-8)
    assert betabloom.load(tmp_path / "run").fingerprint == model.fingerprint
    assert betabloom.resume(tmp_path / "run", progress=False).fingerprint == model.fingerprint
    assert betabloom.resume(tmp_path / "run", progress=False, epochs=10).training["steps"] > 9
    with pytest.raises(UsageError, match="The new length counts from its beginning"):
        betabloom.resume(tmp_path / "run", progress=False, steps=5)
    with pytest.raises(UsageError, match="beta cannot be changed"):
        betabloom.resume(tmp_path / "run", progress=False, beta=4)


def test_a_run_goes_on_with_pictures_that_have_moved(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    for i, picture in enumerate(array):
        (tmp_path / "here").mkdir(exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "here" / f"{i}.png")
    betabloom.fit(tmp_path / "here", "tiny", tmp_path / "run", progress=False, **QUICK)
    (tmp_path / "here").rename(tmp_path / "there")
    with pytest.raises(SourceError):
        betabloom.resume(tmp_path / "run", progress=False, steps=6)
    model = betabloom.resume(tmp_path / "run", tmp_path / "there", progress=False, steps=6)
    assert model.config.data.source == str(tmp_path / "there")
    with pytest.raises(UsageError, match="not those that the run"):
        betabloom.resume(tmp_path / "run", "drawn:30", progress=False, steps=9)


def test_no_pictures_no_store(tmp_path):
    with pytest.raises(SourceError, match="nowhere"):
        betabloom.prepare(tmp_path / "nowhere")
