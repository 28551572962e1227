"""Training: it learns, it repeats itself, a resumed run is the uninterrupted one, and it leaves what it promises."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from betabloom import data
from betabloom.config import Config
from betabloom.data import Store
from betabloom.errors import BetabloomError, UsageError
from betabloom.imaging.output import read_record
from betabloom.networks.spec import FAMILIES
from betabloom.training import checkpoints, loop, setup
from betabloom.training import step as one_step
from betabloom.training.state import learning_rate
from betabloom.vae.likelihood import LIKELIHOODS
from betabloom.vae.objective import REGULARISERS
from betabloom.vae.posterior import POSTERIORS
from betabloom.vae.prior import PRIORS


def weights(model) -> dict[str, torch.Tensor]:
    return model.vae.state_dict()


def same(one, other) -> bool:
    return weights(one).keys() == weights(other).keys() and all(
        torch.equal(value, weights(other)[name]) for name, value in weights(one).items()
    )


def metrics(folder) -> list[dict]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def test_training_learns(small_store, tiny_config):
    losses = []
    for steps in (1, 120):
        model = loop.train(small_store, tiny_config.replace({"steps": steps, "ema": 0.9}))
        losses.append(model.training["validation"]["loss"])
    assert losses[1] < losses[0] - 200  # nats per image, of 768 numbers


def test_same_seed_same_weights_other_seed_others(small_store, tiny_config):
    assert same(loop.train(small_store, tiny_config), loop.train(small_store, tiny_config))
    assert not same(loop.train(small_store, tiny_config), loop.train(small_store, tiny_config.replace({"seed": 1})))


@pytest.mark.parametrize("at", [1, 7, 13])
def test_a_run_that_is_resumed_at_any_step_is_the_uninterrupted_one(
    at, small_store, tiny_config, tmp_path, monkeypatch
):
    folders = [tmp_path / "whole", tmp_path / "stopped"]
    for folder in folders:
        folder.mkdir()
    whole = loop.train(small_store, tiny_config, folders[0])

    step = loop.train_step

    def step_and_stop(r):
        step(r)
        if r.state.step + 1 == at:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", step_and_stop)
        with pytest.raises(loop.Interrupted, match=f"step {at}.*--resume {folders[1]}"):
            loop.train(small_store, tiny_config, folders[1])
    resumed = loop.train(small_store, tiny_config, folders[1], resume=True)
    assert same(whole, resumed)
    assert metrics(folders[0]) == metrics(folders[1])
    assert np.array_equal(whole.generate(9, seed=3), resumed.generate(9, seed=3))


def test_a_damaged_newest_checkpoint_is_noticed_and_the_one_before_is_used(
    small_store, tiny_config, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 0.0)  # after every step
    whole = loop.train(small_store, tiny_config, tmp_path)
    kept = sorted((tmp_path / "checkpoints").iterdir())
    assert [path.name for path in kept] == ["step-000000019", "step-000000020"]
    tensors = kept[1] / "state.safetensors"
    damaged = bytearray(tensors.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    tensors.write_bytes(damaged)
    with caplog.at_level("WARNING", logger="betabloom"):
        resumed = loop.train(small_store, tiny_config, tmp_path, resume=True)
    assert "step-000000020 is damaged" in caplog.text
    assert same(whole, resumed)


def test_what_a_run_leaves(small_store, tiny_config, tmp_path):
    model = loop.train(small_store, tiny_config, tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {
        "config.yaml", "metrics.jsonl", "log.txt", "curves.png", "reconstructions.png", "model/model.safetensors",
        "model/sampler-parzen.safetensors", "model/config.json", "model/README.md", "model/samples.png",
    } <= left  # fmt: skip
    assert any(name.startswith("samples/step-") for name in left)
    assert not [name for name in left if "part" in name]
    assert Config.from_dict(yaml.safe_load((tmp_path / "config.yaml").read_text())) == model.config
    record = read_record(tmp_path / "model" / "samples.png")
    assert (record["verb"], record["model"], record["n"]) == ("generate", model.fingerprint, 64)
    assert "no code" not in (tmp_path / "log.txt").read_text()
    assert (
        "48 pictures" in (tmp_path / "log.txt").read_text()
        or "pictures to learn from" in (tmp_path / "log.txt").read_text()
    )


def test_metrics_have_the_terms_apart(small_store, tiny_config, tmp_path):
    loop.train(small_store, tiny_config.replace({"likelihood": "bernoulli", "beta": 4.0}), tmp_path)
    lines = metrics(tmp_path)
    assert {line["split"] for line in lines} == {"train", "validation"}
    for line in lines:
        assert line["loss"] == pytest.approx(line["distortion"] + line["beta"] * line["rate"], rel=1e-3)
        assert line["beta_normalised"] == pytest.approx(line["beta"] * 6 / 768)
        assert 0 < line["distortion_floor"] < line["distortion"]
    last = lines[-1]
    assert sum(last["rate_per_dimension"]) == pytest.approx(last["rate"], abs=1e-4)
    assert 0 <= last["active_units"] <= 6
    assert (last["step"], last["images"]) == (20, 320)


def test_every_picture_is_seen_once_an_epoch(small_store, tiny_config):
    run = setup.set_up(setup.make_task(small_store, tiny_config.replace({"flip": False, "batch": 7}), None))
    images = len(run.task.train_rows)
    seen = []
    while len(seen) < 2 * images:
        x, _ = one_step.batch(run)
        seen += [hash(picture.numpy().tobytes()) for picture in (x * 255).round().to(torch.uint8)]
        run.state.step += 1
    whole = sorted(hash(p.transpose(2, 0, 1).tobytes()) for p in small_store.pictures[run.task.train_rows])
    assert sorted(seen[:images]) == whole
    assert sorted(seen[images : 2 * images]) == whole
    assert seen[:images] != seen[images : 2 * images]


def test_mirroring_mirrors_about_half(small_store, tiny_config):
    plain = setup.set_up(setup.make_task(small_store, tiny_config.replace({"flip": False, "batch": 40}), None))
    mirrored = setup.set_up(setup.make_task(small_store, tiny_config.replace({"flip": True, "batch": 40}), None))
    x, y = one_step.batch(plain)[0], one_step.batch(mirrored)[0]
    same_way = (x == y).flatten(1).all(1)
    assert torch.equal(y[~same_way], x[~same_way].flip(3))
    assert 8 < same_way.sum() < 32


def test_the_average_of_weights_is_what_is_saved(small_store, tiny_config):
    """With a decay of d the average follows a_t = d a_{t−1} + (1 − d) w_t."""
    run = setup.set_up(setup.make_task(small_store, tiny_config.replace({"ema": 0.5}), None))
    expected = [p.clone() for p in run.state.averaged.parameters()]
    for step in range(5):
        decay = min(0.5, (1 + step) / (10 + step))
        loop.train_step(run)
        run.state.step += 1
        expected = [
            decay * a + (1 - decay) * w.detach() for a, w in zip(expected, run.state.vae.parameters(), strict=True)
        ]
    for a, b in zip(expected, run.state.averaged.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_learning_rate_rises_stays_and_falls(small_store, tiny_config):
    run = setup.set_up(
        setup.make_task(
            small_store, tiny_config.replace({"steps": 200, "warmup_steps": 10, "learning_rate": 1.0}), None
        )
    )
    rates = []
    for run.state.step in range(200):
        run.state.plan.advance(run.state.step, seconds=0)
        rates.append(learning_rate(run))
    assert rates[:10] == pytest.approx([i / 10 for i in range(1, 11)])
    assert set(rates[9:100]) == {1.0}
    assert rates[150] == pytest.approx(0.5, abs=0.01)
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[-1] < 1e-3


def test_clipping_limits_the_gradient(small_store, tiny_config, monkeypatch):
    run = setup.set_up(setup.make_task(small_store, tiny_config.replace({"clip": 1e-3}), None))
    norms = []
    monkeypatch.setattr(
        run.state.optimiser,
        "step",
        lambda: norms.append(sum(p.grad.square().sum() for p in run.state.vae.parameters()).sqrt()),
    )
    loop.train_step(run)
    assert norms[0].item() == pytest.approx(1e-3 * 768, rel=1e-3)


def test_a_budget_ends_in_time_with_the_schedule_complete(small_store, tiny_config, tmp_path):
    loop.train(small_store, tiny_config.replace({"steps": 0, "budget": 6.0}), tmp_path)
    last = metrics(tmp_path)[-1]
    assert last["learning_rate"] == pytest.approx(0, abs=1e-8)
    assert last["beta"] == 1
    assert last["step"] > 1  # how many, and in what time, is for a clock that is not the wall's: test_budget.py


@pytest.mark.parametrize("name", ["family", "likelihood", "prior", "regulariser", "posterior"])
def test_every_choice_trains(name, small_store, tiny_config):
    choices = {
        "family": FAMILIES, "likelihood": LIKELIHOODS, "prior": PRIORS, "posterior": POSTERIORS,
        "regulariser": REGULARISERS,
    }[name]  # fmt: skip
    for choice in choices:
        settings = {name: choice, "steps": 3, "prior_components": 3, "beta_warmup": 0.0}
        model = loop.train(small_store, tiny_config.replace(settings))
        assert np.isfinite(model.training["validation"]["loss"]), choice
        assert model.generate(2).shape == (2, 16, 16, 3)


@pytest.mark.parametrize("shape", [(16, 32, 3), (32, 16, 1)])
def test_grey_and_non_square_pictures_train(shape, tiny_config):
    pictures = np.random.default_rng(0).integers(0, 256, (20, *shape), dtype=np.uint8)
    model = loop.train(Store.from_array(pictures), tiny_config)
    assert model.generate(3).shape == (3, *shape)
    assert model.reconstruct(pictures[:2]).shape == (2, *shape)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_very_few_pictures_are_enough_to_run(count, tiny_config):
    pictures = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    model = loop.train(Store.from_array(pictures), tiny_config)
    assert model.generate(2).shape == (2, 16, 16, 3)


def test_a_loss_that_is_not_finite_ends_with_advice(small_store, tiny_config, tmp_path, monkeypatch):
    batch = one_step.batch

    def spoiled(run):
        x, noise = batch(run)
        return x, noise / (run.state.step < 7)

    monkeypatch.setattr(one_step, "batch", spoiled)
    with pytest.raises(BetabloomError, match=r"no longer a finite number.*--set learning_rate=1e-05") as error:
        loop.train(small_store, tiny_config, tmp_path)
    assert not isinstance(error.value, UsageError)


def test_nothing_to_resume_and_other_pictures_are_refused(small_store, tiny_config, tmp_path):
    with pytest.raises(UsageError, match="no checkpoint and no config"):
        loop.train(small_store, tiny_config, tmp_path, resume=True)
    loop.train(small_store, tiny_config, tmp_path)
    other = Store.from_array(np.zeros((30, 16, 16, 3), np.uint8))
    with pytest.raises(UsageError, match="not those that the run"):
        loop.train(other, tiny_config, tmp_path, resume=True)


def test_a_checkpoint_holds_two_generations_and_no_leftovers(small_store, tiny_config, tmp_path):
    tensors = {"a": torch.arange(3.0)}
    for step in (5, 40, 300):
        checkpoints.save_checkpoint(tmp_path / "c", step, tensors, {"note": step})
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["step-000000040", "step-000000300"]
    found, state, complaints = checkpoints.latest_checkpoint(tmp_path / "c", tensors)
    assert torch.equal(found["a"], tensors["a"])
    assert state["note"] == 300
    assert complaints == []


def test_a_finished_run_that_is_resumed_stays_what_it_is(small_store, tiny_config, tmp_path):
    finished = loop.train(small_store, tiny_config, tmp_path)
    again = loop.train(small_store, tiny_config, tmp_path, resume=True)
    assert again.fingerprint == finished.fingerprint


def test_a_stream_trains_resumes_and_needs_an_end(tiny_config, tmp_path, monkeypatch):
    stream = data.Streamed(Memory(90), data.Pipeline.named("square", (16, 16)))
    with pytest.raises(UsageError, match=r"--steps 20000 or --budget 1h"):
        loop.train(stream, tiny_config.replace({"steps": 0}))
    with pytest.raises(UsageError, match="number of pictures"):
        loop.train(stream, tiny_config.replace({"regulariser": "total-correlation"}))
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 0.0)
    whole = loop.train(stream, tiny_config, tmp_path)
    shutil.rmtree(tmp_path / "checkpoints" / "step-000000020")
    resumed = loop.train(stream, tiny_config, tmp_path, resume=True)
    assert same(whole, resumed)
    assert whole.training["images"] is None
    assert whole.training["images_seen"] == 320


class Memory(data.Stream):
    """PNGs in memory."""

    name = "memory"

    def __init__(self, count):
        super().__init__()
        self.count = count

    def files(self):
        for i in range(self.count):
            file = io.BytesIO()
            Image.fromarray(np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(file, "PNG")
            file.seek(0)
            yield str(i), file, None

    def shard(self, rank, world):
        raise AssertionError
