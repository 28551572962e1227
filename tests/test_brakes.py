"""Snapshots of a decoder with a teacher: judged, the best kept, stopped when speckles rise, and resumed exactly."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

import betabloom
from betabloom.cli.main import run
from betabloom.errors import UsageError
from betabloom.metrics import Extractor
from betabloom.metrics.quality import COMB, Quality, QualityJudge
from betabloom.refine.brakes import Brakes, patience_with
from betabloom.refine.sharpen import decoder_trainer, sharpen
from betabloom.refine.student import train_student


@pytest.fixture(scope="module")
def store():
    return betabloom.prepare(betabloom.data.Drawn(70, seed=1, size=32), size=16)


@pytest.fixture(scope="module")
def model(store):
    return betabloom.fit(store, "tiny", progress=False, steps=10, latents=4, widths=(8, 8), batch=8)


def quality(distance, speckled=0.0, comb=0.0):
    measures = {"speckled": speckled, "near_copies": 0.0, "comb_1_4_x": 1.0 + comb}
    beyond = {"speckled": max(speckled - 0.04, 0.0), "near_copies": 0.0, "comb_1_4_x": max(comb - 0.3, 0.0)}
    return Quality(distance, measures, beyond)


class Scripted:
    """A trainer that only counts, and the qualities that are found one after the other."""

    def __init__(self, found):
        self.averaged, self.taken, self.found = torch.nn.Linear(1, 1), 0, list(found)

    def run(self, first, snapshots, teacher="patches"):
        brakes = Brakes(self, lambda: self.found.pop(0), first, snapshots, patience=patience_with(teacher))
        while self.taken < snapshots:
            self.taken += 1
            self.averaged.weight.data.fill_(float(self.taken))
            if brakes(self.taken / snapshots):
                break
        return brakes


def kept(first, *found):
    trainer = Scripted(found)
    brakes = trainer.run(first, len(found))
    return brakes, trainer


def test_the_nearest_snapshot_within_the_limits_is_kept():
    brakes, _ = kept(quality(50), quality(45), quality(40), quality(42))
    assert (brakes.kept, brakes.best.distance) == (2, 40)
    assert brakes.weights["weight"].item() == 2


def test_a_nearer_snapshot_beyond_a_limit_is_not_chosen():
    for harm in ({"speckled": 0.2}, {"comb": 0.6}):
        brakes, _ = kept(quality(50), quality(45), quality(30, **harm), quality(44))
        assert (brakes.kept, brakes.best.distance) == (3, 44)


def test_a_snapshot_within_the_limits_that_is_no_nearer_is_not_chosen():
    brakes, _ = kept(quality(50), quality(51), quality(50))
    assert brakes.kept == 0
    assert brakes.weights is None


def test_what_was_beyond_a_limit_before_may_stay_there_and_not_go_further():
    assert kept(quality(50, comb=0.5), quality(40, comb=0.5))[0].kept == 1
    assert kept(quality(50, comb=0.5), quality(40, comb=0.6))[0].kept == 0


def test_it_stops_when_speckles_rise_and_not_at_the_first_one():
    wild = quality(40, speckled=0.1)
    brakes, trainer = kept(quality(50), quality(45), wild, quality(44), wild, wild, quality(1))
    assert trainer.taken == 5
    assert brakes.ended
    assert brakes.kept == 3


def test_moments_may_begin_with_speckles_that_go_away():
    wild = quality(40, speckled=0.1)
    trainer = Scripted([wild, wild, wild, quality(30)])
    brakes = trainer.run(quality(50), 4, "moments")
    assert (brakes.ended, brakes.kept, brakes.best.distance) == (False, 4, 30)


def thumbs(pictures):
    return pictures[:, ::4, ::4].reshape(len(pictures), -1).astype(np.float32)


@pytest.fixture(scope="module")
def judge(store):
    return QualityJudge(store.pictures[:30], store.pictures[30:], Extractor("thumbs", thumbs))


def test_the_judge_sees_speckles_grids_copies_and_distance(judge, store):
    real = np.asarray(store.pictures[30:])
    same = judge(real)
    assert same.distance == pytest.approx(0, abs=1)
    assert not any(same.beyond.values())
    rng = np.random.default_rng(0)
    dots = real.copy()
    dots[rng.random(real.shape[:3]) < 0.08] = 255 * rng.integers(2)
    grid = np.clip(real.astype(int) + 40 * (np.arange(16) % 2)[None, None, :, None], 0, 255).astype(np.uint8)
    assert judge(dots).beyond["speckled"] > 0
    assert judge(grid).beyond["comb_1_2_x"] > 0
    assert judge(np.asarray(store.pictures[:30])).beyond["near_copies"] > 0
    assert judge(255 - real).distance > 10 * judge(real[::-1]).distance
    assert Quality.from_numbers(same.numbers()) == same


def test_a_grid_too_faint_to_be_seen_is_no_harm(judge, store):
    soft = np.stack([np.asarray(Image.fromarray(each).filter(ImageFilter.BoxBlur(2))) for each in store.pictures[30:]])
    grid = np.clip(soft.astype(int) + 2 * (np.arange(16) % 2)[None, None, :, None], 0, 255).astype(np.uint8)
    found = judge(grid)
    assert found.measures["comb_1_2_x"] > COMB[1]  # beside what little detail there is
    assert found.measures["band_x"] < 0.3
    assert not found.beyond["comb_1_2_x"]


def state(trainer):
    return {name: value.clone() for name, value in trainer.tensors().items()}, trainer.numbers()


def test_a_restored_trainer_goes_on_as_if_it_had_not_stopped(model, store):
    whole = decoder_trainer(model, store.pictures, 3)
    train_student(whole, 9, 0.0)
    half = decoder_trainer(model, store.pictures, 3)
    train_student(half, 9, 0.0, watch=lambda t: t >= 4 / 9)
    tensors, numbers = state(half)
    again = decoder_trainer(model, store.pictures, 3)
    assert set(tensors) <= set(again.tensors()) | set(again.memory())
    again.restore(tensors, numbers)
    train_student(again, 9, 0.0)
    expected, found = state(whole), state(again)
    assert found[0].keys() == expected[0].keys()
    assert all(torch.equal(value, expected[0][name]) for name, value in found[0].items())
    assert {**found[1], "seconds": 0} == {**expected[1], "seconds": 0}


def test_sharpen_keeps_the_best_snapshot_or_the_model_as_it_was(model, store, judge):
    pictures = np.asarray(store.pictures)
    harmed = dataclasses.replace(judge(pictures), distance=-1.0, beyond={"speckled": 9.0})
    assert sharpen(model, pictures, steps=2, judge=lambda made: harmed, snapshots=2) is model
    distances = iter([9.0, 5.0, 3.0, 7.0, 8.0])
    sharper = sharpen(model, pictures, steps=4, judge=lambda made: quality(next(distances)), snapshots=4)
    two = sharpen(model, pictures, steps=4, judge=lambda made: quality(2.0 if made is None else 1.0), snapshots=4)
    assert two is model
    facts = sharper.training["sharpened"]
    assert (facts["steps"], facts["kept_step"]) == (4, 2)
    assert (facts["before"]["distance"], facts["after"]["distance"]) == (9.0, 3.0)


def test_the_command_says_what_each_snapshot_is_like(model, tmp_path, monkeypatch, capfd):
    model.save(tmp_path / "model")
    distances = iter([9.0, 11.0, 10.0])
    monkeypatch.setattr("betabloom.stages.course.judge_of", lambda *given: lambda made: quality(next(distances)))
    words = ["drawn:70", "--steps", "4", "--snapshots", "2", "--teacher", "patches"]
    with pytest.raises(UsageError, match="nothing is written"):
        run(["sharpen", str(tmp_path / "model"), *words, "-o", str(tmp_path / "sharp")])
    said = capfd.readouterr().err
    assert all(
        f"{when}: distance {far}," in said for when, far in (("teacher", 9.0), ("step 2", 11.0), ("step 4", 10.0))
    )
    assert not (tmp_path / "sharp").exists()
