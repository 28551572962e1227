"""Training that starts from a model begins where the model is, and goes on from there."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import yaml

import betabloom
from betabloom.cli.main import run
from betabloom.config import Config
from betabloom.errors import UsageError
from betabloom.system.signals import Interrupted
from betabloom.training import loop
from betabloom.training.setup import make_task, set_up
from betabloom.training.warm_start import warm_start, with_initial_model


def drawn(size, channels=3):
    return betabloom.prepare(betabloom.data.Drawn(40, seed=1, size=64), size=size, channels=channels)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small residual network that has learned a little, for pictures of 32 px."""
    made = betabloom.fit(
        drawn(32), "tiny", steps=30, latents=5, family="residual", widths=(6, 8, 8), batch=8, prior="normal-learned"
    )
    path = tmp_path_factory.mktemp("start") / "model"
    made.save(path)
    return path


def begun(model, size, **settings):
    store = drawn(size)
    config = Config.preset("tiny", height=size, width=size, init_from=str(model), **settings)
    run = set_up(make_task(store, with_initial_model(config), None))
    warm_start(run.state.vae, run.task.config)
    return run, store


@pytest.mark.parametrize("size", [64, 128])
def test_the_posterior_of_larger_pictures_is_that_of_the_model_for_smaller_ones(model, size):
    run, store = begun(model, size)
    x = betabloom.vae.inference.to_tensor(store.pictures[:6])
    smaller = torch.nn.functional.avg_pool2d(x, size // 32)
    with torch.no_grad():
        for mine, theirs in zip(run.state.vae.encoder(x), betabloom.load(model).vae.encoder(smaller), strict=True):
            torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-4)


def test_the_decoder_has_the_levels_that_both_have(model):
    run, _ = begun(model, 64)
    mine, theirs = run.state.vae.decoder.body, betabloom.load(model).vae.decoder.body
    z = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(mine[:9](z), theirs[:9](z))  # up to the last block before the pixels
    assert run.task.config.model.widths == (6, 6, 8, 8)
    assert torch.equal(run.state.vae.prior.mean, betabloom.load(model).vae.prior.mean)


def test_a_prior_whose_components_are_pictures_is_that_of_the_model(tmp_path):
    network = {"family": "residual", "widths": (6, 8), "latents": 5, "prior": "vamp", "prior_components": 3}
    model = betabloom.fit(drawn(32), "tiny", steps=5, batch=8, **network)
    model.save(tmp_path / "vamp")
    run, _ = begun(tmp_path / "vamp", 64)
    z = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(run.state.vae.prior.log_prob(z), model.vae.prior.log_prob(z), atol=1e-3, rtol=1e-4)


def test_pictures_of_the_same_size_start_from_all_weights(model):
    run, _ = begun(model, 32)
    theirs = betabloom.load(model).vae.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in run.state.vae.state_dict().items())


def test_it_knows_more_than_an_untrained_one_from_the_first_step_on(model):
    store = drawn(32)
    known = betabloom.fit(store, "tiny", init_from=str(model), steps=1, learning_rate=0.0, beta_schedule="constant")
    network = {"family": "residual", "widths": (6, 8, 8), "latents": 5, "prior": "normal-learned"}
    new = betabloom.fit(store, "tiny", steps=1, learning_rate=0.0, beta_schedule="constant", **network)
    assert known.training["validation"]["loss"] < new.training["validation"]["loss"]
    assert np.array_equal(known.decode(np.ones((2, 5))), betabloom.load(model).decode(np.ones((2, 5))))


def test_everything_is_trained_on_and_the_run_can_be_stopped_and_resumed(model, tmp_path):
    theirs = shutil.copytree(model, tmp_path / "theirs")
    settings = {"start": str(theirs), "steps": 12, "batch": 8, "validations": 3}
    store = drawn(64)
    whole = betabloom.fit(store, "tiny", tmp_path / "whole", **settings)
    begun_with = begun(theirs, 64)[0].state.vae.state_dict()
    changed = [name for name, value in whole.vae.state_dict().items() if not torch.equal(value, begun_with[name])]
    assert len(changed) >= len(list(whole.vae.parameters()))

    def stop(step, *_):
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        betabloom.fit(store, "tiny", tmp_path / "parts", stop, **settings)
    again = betabloom.training.loop.train(
        store, Config.from_dict(whole.config.to_dict()), tmp_path / "parts", resume=True
    )
    assert again.fingerprint == whole.fingerprint  # from the beginning: there was no checkpoint yet
    theirs.rename(tmp_path / "gone")  # what is saved needs it no longer
    assert (
        betabloom.training.loop.train(store, whole.config, tmp_path / "whole", resume=True).fingerprint
        == whole.fingerprint
    )


@pytest.mark.parametrize(
    ("size", "settings", "words"),
    [
        (48, {}, "with --size 32x32, 64x64, 128x128 …, not with coloured pictures of 48x48"),
        (16, {}, "not with coloured pictures of 16x16"),
        (32, {"channels": 1}, "not with grey pictures of 32x32"),
        (32, {"latents": 7}, "leave out 'latents'"),
        (32, {"model.widths": (4, 4)}, "leave out 'widths'"),
    ],
)
def test_what_a_model_cannot_start_is_refused(model, size, settings, words):
    with pytest.raises(UsageError, match=r"draws coloured pictures of 32x32 pixels|leave out") as error:
        with_initial_model(Config.preset("tiny", height=size, width=size, init_from=str(model), **settings))
    assert words in str(error.value)


def test_networks_of_other_families_start_the_same_size_only(tmp_path):
    model = betabloom.fit(drawn(32), "tiny", steps=2, batch=8).save(tmp_path / "m")
    settings = {"start": str(tmp_path / "m"), "steps": 1, "learning_rate": 0.0}
    same = betabloom.fit(drawn(32), "tiny", **settings)
    assert np.array_equal(same.generate(3, sampler="prior"), model.generate(3, sampler="prior"))
    with pytest.raises(UsageError, match="with --size 32x32, not"):
        betabloom.fit(drawn(64), "tiny", **settings)


def test_the_command_line_starts_from_the_model_that_comes_along(tmp_path):
    words = ["train", "drawn:40", "--from", "flowers64", "--steps", "1", "-o", str(tmp_path / "run"), "--json"]
    run(words)
    made, theirs = betabloom.load(tmp_path / "run"), betabloom.load()
    assert made.config.train.init_from == "flowers64"
    assert made.config.model == theirs.config.model
    about = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert about["config"]["train"]["init_from"] == "flowers64"
    with pytest.raises(UsageError):
        run(["train", "drawn:40", "--from", str(tmp_path / "none"), "-o", str(tmp_path / "r")])
    assert not (tmp_path / "r").exists()


def test_a_decoder_that_is_kept_stays_while_the_encoder_learns_and_a_resumed_run_keeps_it_too(
    model, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 0.0)
    store, before = drawn(32), betabloom.load(model).vae.state_dict()
    settings = {"start": str(model), "keep_decoder": True, "steps": 12, "batch": 8, "validations": 2}
    whole = betabloom.fit(store, "tiny", tmp_path / "whole", **settings)
    for name, value in whole.vae.state_dict().items():
        same = torch.equal(value, before[name])
        if name.startswith(("encoder.", "decoder.")):
            assert same == name.startswith("decoder."), name

    def stop(step: int, *_: object) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        betabloom.fit(store, "tiny", tmp_path / "parts", progress=stop, **settings)
    config = Config.from_dict(yaml.safe_load((tmp_path / "parts" / "config.yaml").read_text(encoding="utf-8")))
    resumed = loop.train(store, config, tmp_path / "parts", resume=True)
    for name, value in resumed.vae.state_dict().items():
        assert torch.equal(value, whole.vae.state_dict()[name]), name


def test_a_decoder_is_kept_only_where_there_is_one_that_fits(model, tmp_path):
    with pytest.raises(UsageError, match="--from flowers64"):
        betabloom.fit(drawn(32), "tiny", keep_decoder=True, steps=1)
    with pytest.raises(UsageError, match="Leave out --size"):
        betabloom.fit(drawn(64), "tiny", init_from=str(model), keep_decoder=True, steps=1)


def test_a_run_that_is_stopped_at_once_leaves_no_empty_folder_and_another_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begin = ["train", "drawn:40", "--preset", "tiny", "--steps", "2", "--set", "widths=4,8"]
    kept = []

    def stopped(store, config, folder, *others):
        if kept:
            train(store, config, folder, *others)
        raise KeyboardInterrupt

    train = loop.train
    monkeypatch.setattr(loop, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(begin)
    assert not list((tmp_path / "runs").iterdir())
    kept.append(True)
    with pytest.raises(
        Interrupted, match=r"saved as it was at step 2\. To go on, type: betabloom train --resume runs/"
    ):
        run(begin)
