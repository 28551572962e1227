"""The doctor names every illness when it is really there, with a cure that can be typed, and lets the healthy be."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shlex
import signal
import sys

import numpy as np
import pytest
import torch

from betabloom import data
from betabloom.cli.main import COMMANDS
from betabloom.cli.main import command as command_named
from betabloom.config import Config
from betabloom.errors import BetabloomError
from betabloom.metrics import latent
from betabloom.system import hardware
from betabloom.training import checkup, doctor, loop, recovery, setup, validate
from betabloom.training import step as one_step
from betabloom.training.state import learning_rate

SETTINGS = {
    "height": 16, "width": 16, "family": "conv", "widths": "8,16", "latents": 6, "batch": 16, "steps": 200,
    "warmup_steps": 20, "validations": 4, "ema": 0.95, "device": "cpu", "precision": "fp32",
}  # fmt: skip


@pytest.fixture(scope="module")
def flowers():
    """Four hundred drawn flowers at 16×16, in memory."""
    source, pipeline = data.Drawn(400, seed=3, size=32), data.Pipeline.named("square", (16, 16))
    return data.Store.from_array(np.stack([pipeline(source.read(i)) for i in range(400)]))


@pytest.fixture(autouse=True)
def _room(monkeypatch):
    """The machine that runs the tests may be full; that is another matter."""
    monkeypatch.setattr(checkup, "free_disk", lambda path: None)
    monkeypatch.setattr(checkup, "free_memory", lambda device: None)


def ill(pictures, out, **settings):
    """Train a little, and return the advice that is left in the run: illness → advice."""
    loop.train(pictures, Config.preset("tiny", **{**SETTINGS, **settings}), out)
    return {each.illness: each for each in checkup.read_advice(out)}


def check_command(command):
    """A cure can be typed: its options exist, and its values can be."""
    words = shlex.split(command)
    if words[0] == "betabloom":
        assert words[1] in COMMANDS or " ".join(words[1:3]) in COMMANDS
        return
    known = command_named("train").options
    for option, value in zip(words[::2], words[1::2], strict=True):
        assert option in known, command
        key, value = value.split("=", 1) if option == "--set" else (option.removeprefix("--"), value)
        Config.preset("tiny").replace({key: value})


@pytest.mark.parametrize("settings", [
    {}, {"likelihood": "bernoulli"}, {"beta": 4.0}, {"posterior": "point"},
    {"beta_schedule": "cyclical", "beta_warmup": 0.5}, {"family": "residual"},
], ids=str)  # fmt: skip
def test_a_healthy_run_gets_no_advice(settings, flowers, tmp_path, caplog):
    assert ill(flowers, tmp_path, **settings) == {}
    assert "Type:" not in caplog.text  # not on the way either
    assert json.loads((tmp_path / "advice.json").read_text()) == []


@pytest.mark.parametrize(("illness", "cure", "settings"), [
    ("posterior-collapse", "--beta 1", {"beta": 1e4}),
    ("posterior-collapse", "--set likelihood=gaussian-optimal", {"likelihood": "gaussian", "beta": 1.0, "steps": 120}),
    ("vanishing-rate", "--beta 1", {"beta": 200.0, "steps": 300}),
    ("exploding-rate", "--beta 1", {"beta": 1e-9, "steps": 300}),
    ("learning-rate-too-high", "--set learning_rate=0.001", {"learning_rate": 10.0}),
    ("learning-rate-too-low", "--set learning_rate=0.001", {"learning_rate": 1e-9}),
], ids=str)  # fmt: skip
def test_illnesses_of_settings_are_named(illness, cure, settings, flowers, tmp_path, caplog, monkeypatch):
    if settings.get("likelihood") == "gaussian":  # squared error with a far too large σ: β = 1 is too much for it
        from betabloom.vae import likelihood

        monkeypatch.setitem(likelihood.LIKELIHOODS, "gaussian", lambda: likelihood.Gaussian(scale=30.0))
    found = ill(flowers, tmp_path, **settings)
    assert set(found) == {illness}  # the illness, and not what follows from it
    assert found[illness].command == cure
    check_command(cure)
    begins = found[illness].sentence.split(":")[0]
    assert caplog.text.count(begins) == 1  # once, though it was seen again and again


def test_a_few_pictures_and_a_large_model(tmp_path):
    source, pipeline = data.Drawn(20, seed=3, size=32), data.Pipeline.named("square", (16, 16))
    few = data.Store.from_array(np.stack([pipeline(source.read(i)) for i in range(20)]))
    found = ill(few, tmp_path, widths="32,64", holdout=0.4, steps=600)
    assert set(found) == {"too-few-pictures", "overfitting"}
    for each in found.values():
        check_command(each.command)
    config = Config.preset("tiny", **SETTINGS)
    smaller = config.replace(dict([found["too-few-pictures"].command.removeprefix("--set ").split("=")]))
    run = setup.set_up(setup.make_task(few, smaller.replace({"holdout": 0.4}), None))
    assert "too-few-pictures" not in {each.illness for each in checkup.checkup(run)}


def test_augmented_pictures_that_are_memorised_all_the_same_mean_stop_earlier():
    losses = [(200, 50.0, 60.0), (400, -300.0, -200.0), (600, -500.0, -250.0), (800, -600.0, 0.0)]
    records = [{"step": 1, "split": "train", "distortion": 100.0, "rate": 1.0, "beta": 1.0, "seconds": 0.0}]
    for step, learned, held_out in losses:
        for split, value in (("train", learned), ("validation", held_out)):
            line = {"step": step, "split": split, "distortion": value, "rate": 9.0, "beta": 1.0, "active_units": 6}
            records.append(line)
    facts = healthy_facts(shift=0.1, steps=800)
    (only,) = doctor.diagnose(records, facts)
    assert (only.illness, only.command) == ("overfitting", "--steps 600")


def test_a_dead_decoder(flowers, tmp_path, monkeypatch):
    make = setup.make_vae

    def dead(config):
        vae = make(config)
        for parameter in vae.decoder.parameters():
            parameter.requires_grad_(False).zero_()
        return vae

    monkeypatch.setattr(setup, "make_vae", dead)
    found = ill(flowers, tmp_path)
    assert set(found) == {"dead-decoder"}
    check_command(found["dead-decoder"].command)


@pytest.mark.parametrize("settings", [
    {"preset": "tiny"}, {**SETTINGS, "warmup_steps": 0}, SETTINGS, {**SETTINGS, "posterior": "point"},
], ids=len)  # fmt: skip
def test_twenty_steps_are_no_training(settings, tmp_path, caplog):
    """What `betabloom train drawn:200 --preset tiny --steps 20` leaves: flat pictures."""
    settings = {name: value for name, value in settings.items() if name != "preset"} | {"steps": 20}
    config = Config.preset("tiny", **settings)
    pictures = data.prepare(data.open_source("drawn:200"), data.Pipeline.named("square", config.shape[1:]))
    loop.train(pictures, config, tmp_path / "run")
    (only,) = checkup.read_advice(tmp_path / "run")
    assert (only.illness, only.command) == ("undertrained", "--steps 200")
    check_command(only.command)
    assert "20 steps" in only.sentence
    assert "passes over the pictures" in only.sentence
    assert caplog.text.count("too short") == 1


def finished(spread, distortions, **facts):
    """What the doctor says of a finished run with these validations, 100 steps apart."""
    first = {"step": 1, "split": "train", "distortion": 100.0, "rate": 1.0, "beta": 1.0}
    records = [first]
    for step, value in enumerate(distortions, 1):
        for split in ("train", "validation"):
            records.append(first | {"step": 100 * step, "split": split, "distortion": value, "rate": 9.0})
            records[-1] |= {"active_units": 6, "spread": spread, "images": 1600 * step}
    return doctor.diagnose(records, dataclasses.replace(healthy_facts(**facts), progress=1.0))


def test_a_run_that_ends_flat_while_it_learns_fast_was_too_short_and_more_of_what_ended_it_is_the_cure():
    falling, standing = [80.0, 50.0, 20.0], [80.0, 20.5, 20.0]
    (only,) = finished(0.1, falling, steps=300)
    assert (only.illness, only.command) == ("undertrained", "--steps 3000")
    assert "300 steps and 12.0 passes" in only.sentence
    (only,) = finished(0.1, falling, steps=0, budget=20.0)
    assert only.command == "--budget 4m"
    check_command(only.command)
    assert finished(0.1, standing) == []  # a large β: more steps would not help
    assert finished(0.8, falling) == []


def test_a_run_is_not_too_short_before_it_has_ended():
    line = {"step": 20, "distortion": 90.0, "rate": 9.0, "beta": 1.0, "spread": 0.04, "images": 320}
    records = [line | {"split": split, "active_units": 6} for split in ("train", "validation")]
    facts = healthy_facts(steps=20)
    assert doctor.diagnose(records, dataclasses.replace(facts, progress=0.99)) == []
    assert [each.illness for each in doctor.diagnose(records, facts)] == ["undertrained"]
    later = records[0] | {"step": 40}
    assert doctor.diagnose([*records, later], facts) == []  # the last validation is still to come


def test_a_full_disk_and_a_full_memory(flowers, tmp_path, monkeypatch):
    monkeypatch.setattr(checkup, "free_disk", lambda path: 1000.0)
    monkeypatch.setattr(checkup, "free_memory", lambda device: (100e6, 16e9))
    found = ill(flowers, tmp_path, steps=20)
    assert set(found) == {"disk-full", "memory-full", "undertrained"}
    assert "0 MB are free" in found["disk-full"].sentence
    assert "100 MB of 16,000 MB" in found["memory-full"].sentence
    assert found["memory-full"].command == "--set batch=8"
    for each in found.values():
        check_command(each.command)


def test_a_disk_that_really_fills_up(flowers, small_disk, monkeypatch, caplog):
    """What the checkpoints leave of 680 KB is not enough for two more."""
    monkeypatch.setattr(checkup, "free_disk", hardware.free_disk)
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 0.0)
    found = ill(flowers, small_disk / "run", steps=20)
    assert set(found) == {"disk-full", "undertrained"}
    assert caplog.text.count("The disk is nearly full: 0 MB are free") == 1


def spoil(monkeypatch, *steps):
    """Make the noise of some steps infinite, so that their loss is not a finite number; return how often it was."""
    batch, spoiled = one_step.batch, []

    def spoiling(run):
        x, noise = batch(run)
        if run.state.step in steps:
            spoiled.append(run.state.step)
            noise = noise / 0
        return x, noise

    monkeypatch.setattr(one_step, "batch", spoiling)
    return spoiled


def test_a_step_that_is_not_finite_is_left_out_and_the_run_goes_back_and_on(flowers, tmp_path, monkeypatch):
    spoiled = spoil(monkeypatch, 70, 121)
    model = loop.train(flowers, Config.preset("tiny", **SETTINGS), tmp_path)
    found = {each.illness: each for each in checkup.read_advice(tmp_path)}
    assert spoiled == [70, 121]
    assert set(found) == {"not-finite"}
    assert "twice" in found["not-finite"].sentence
    assert found["not-finite"].command == "--set learning_rate=0.0001"
    check_command(found["not-finite"].command)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    rates = {line["step"]: line["learning_rate"] for line in lines if line["split"] == "train"}
    for step, factor in ((50, 1), (100, 3), (150, 9)):
        assert rates[step] == pytest.approx(learning_rate(at(flowers, step)) / factor)
    assert all(np.isfinite([line["loss"], line["distortion"], line["rate"]]).all() for line in lines)
    assert model.training["validation"]["distortion"] < -100  # it has learned


@pytest.mark.parametrize("ema", [0.0, 0.95])
def test_after_a_setback_the_run_stands_at_its_averaged_weights_without_momentum(ema, flowers):
    run = setup.set_up(setup.make_task(flowers, Config.preset("tiny", **{**SETTINGS, "ema": ema}), None))
    for run.state.step in range(5):
        loop.train_step(run)
    before = {name: value.clone() for name, value in run.state.vae.state_dict().items()}
    run.state.vae.decoder.body[0].bias.register_hook(lambda gradient: gradient / 0)
    loop.train_step(run)
    assert all(bool((value == before[name]).all()) for name, value in run.state.vae.state_dict().items())  # left out
    assert run.state.sums.count == 6
    recovery.recover(run)
    assert (run.state.rollbacks, run.state.sums.count, run.state.sums.skipped_steps.item()) == (1, 5, 0)
    for mine, average in zip(run.state.vae.parameters(), run.state.averaged.parameters(), strict=True):
        assert mine.equal(average)
        assert mine.isfinite().all()
    assert all(not value.any() for moments in run.state.optimiser.state.values() for value in moments.values())


def test_a_run_that_is_resumed_after_a_setback_is_the_uninterrupted_one(flowers, tmp_path, monkeypatch):
    spoil(monkeypatch, 20, 45)
    spoil_average(monkeypatch, 27)  # seen by the validation after step 30
    config = Config.preset("tiny", **{**SETTINGS, "steps": 60})
    whole = loop.train(flowers, config, tmp_path / "whole")
    step = loop.train_step

    def step_and_stop(run):
        step(run)
        if run.state.step + 1 == 33:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", step_and_stop)
        with pytest.raises(loop.Interrupted):
            loop.train(flowers, config, tmp_path / "stopped")
    resumed = loop.train(flowers, config, tmp_path / "stopped", resume=True)
    for name, value in whole.vae.state_dict().items():
        assert value.equal(resumed.vae.state_dict()[name]), name
    told = [(tmp_path / name / "advice.json").read_text() for name in ("whole", "stopped")]
    assert told[0] == told[1]
    assert "3 times" in told[0]


def spoil_average(monkeypatch, *steps):
    """Have the averaged weights become infinite in some steps, so that validations of them are not finite."""
    step = loop.train_step

    def spoiling(run):
        step(run)
        if run.state.step in steps:
            with torch.no_grad():
                next(run.state.averaged.parameters()).fill_(math.inf)

    monkeypatch.setattr(loop, "train_step", spoiling)


def test_averaged_weights_that_are_lost_are_averaged_anew_and_the_run_goes_on(flowers, tmp_path, monkeypatch, caplog):
    """A validation shows it: in the middle of the run, and after the last step, when they are to become the model."""
    spoil_average(monkeypatch, 37, 199)
    model = loop.train(flowers, Config.preset("tiny", **SETTINGS), tmp_path)
    messages = [record.getMessage() for record in caplog.records]
    restarts = [message.split(":")[0] for message in messages if "restarting the average" in message]
    assert restarts == ["step 50", "step 200"]
    (only,) = checkup.read_advice(tmp_path)
    assert (only.illness, only.command) == ("not-finite", "--set learning_rate=0.0001")
    assert caplog.text.count(only.command.replace("0.0001", "0.0003")) == 1  # said when it happened first
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["split"] == "validation"] == [50, 100, 150, 200]
    assert all(np.isfinite([line["loss"], line["distortion"], line["rate"]]).all() for line in lines)
    rates = {line["step"]: line["learning_rate"] for line in lines if line["split"] == "train"}
    for step, factor in ((50, 1), (100, 3), (150, 3)):
        assert rates[step] == pytest.approx(learning_rate(at(flowers, step)) / factor)
    assert all(value.isfinite().all() for value in model.vae.state_dict().values())
    assert model.training["validation"]["distortion"] < -100


@pytest.mark.parametrize(("validations", "step", "often"), [(8, 100, "3 times"), (1, 200, "once")])
def test_when_held_out_pictures_never_have_a_finite_loss_it_gives_up_and_the_doctor_says_why(
    validations, step, often, flowers, tmp_path, monkeypatch
):
    to_tensor = validate.inference.to_tensor
    monkeypatch.setattr(validate.inference, "to_tensor", lambda *arguments: to_tensor(*arguments) / 0)
    config = Config.preset("tiny", **{**SETTINGS, "validations": validations})
    with pytest.raises(BetabloomError, match=rf"at step {step}, and smaller steps did not help \({often}\).*rate="):
        loop.train(flowers, config, tmp_path)
    assert {each.illness for each in checkup.read_advice(tmp_path)} == {"not-finite"}


def at(pictures, step):
    """A run that stands at a step."""
    run = setup.set_up(setup.make_task(pictures, Config.preset("tiny", **SETTINGS), None))
    run.state.step = step
    run.state.plan.advance(step, 0)
    return run


def test_after_three_setbacks_it_gives_up(flowers, tmp_path, monkeypatch):
    spoiled = spoil(monkeypatch, *range(40, 300))
    with pytest.raises(BetabloomError, match=r"step 44, and smaller steps did not help \(3 times\).*=1e-05"):
        loop.train(flowers, Config.preset("tiny", **SETTINGS), tmp_path)
    assert spoiled == [40, 41, 42, 43]
    assert {each.illness for each in checkup.read_advice(tmp_path)} == {"not-finite"}


def healthy_facts(**settings):
    config = Config.preset("tiny", **{**SETTINGS, **settings}).to_dict()
    flat = {name: value for section in config.values() for name, value in section.items()}
    return doctor.RunFacts(flat, numbers=768, images=400, held_out=40, parameters=10_000, progress=1.0)


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.19])
def test_nothing_that_is_learned_is_judged_at_the_beginning(progress):
    records = [
        {"step": step, "split": "train", "distortion": 1e6, "rate": 0.0, "beta": 1.0} for step in (1, 100, 200)
    ] + [{"step": 200, "split": "validation", "distortion": 1e6, "rate": 0.0, "beta": 1.0, "active_units": 0}]
    facts = dataclasses.replace(healthy_facts(), progress=progress)
    assert doctor.diagnose(records, facts) == []
    assert doctor.diagnose(records, dataclasses.replace(facts, progress=0.3)) != []


def test_a_validation_from_before_there_was_evidence_is_not_judged_by_later_steps():
    """Seen with `--budget 60s`: the validation after step 34 was all there was when step 100 came."""
    records = [
        {"step": step, "split": "train", "distortion": 80.0 - step, "rate": 9.0, "beta": 1.0} for step in (1, 50, 103)
    ]
    early = {"step": 34, "split": "validation", "distortion": 69.0, "rate": 1.2, "beta": 1.0, "active_units": 6}
    facts = dataclasses.replace(healthy_facts(), progress=0.4)
    assert doctor.diagnose([*records, {**early, "spread": 0.025}], facts) == []
    (only,) = doctor.diagnose([*records, {**early, "step": 103, "spread": 0.025}], facts)
    assert only.illness == "dead-decoder"


def test_a_divergence_after_a_good_start_is_a_step_too_large_but_not_the_price_of_a_rising_beta():
    def records(betas):
        values = [100.0, -200.0, -400.0, -100.0]
        return [
            {"step": 50 * i + 1, "split": "train", "distortion": value, "rate": 1.0, "beta": beta}
            for i, (value, beta) in enumerate(zip(values, betas, strict=True))
        ]

    (only,) = doctor.diagnose(records([1.0] * 4), healthy_facts(beta_schedule="constant"))
    assert only.illness == "learning-rate-too-high"
    assert doctor.diagnose(records([0.0, 0.1, 1.0, 9.0]), healthy_facts()) == []


def test_spread_is_the_ratio_of_standard_deviations():
    real = np.random.default_rng(0).standard_normal((500, 12)).astype(np.float32)
    assert latent.spread(0.25 * real + 3, real) == pytest.approx(0.25, rel=1e-4)
    assert latent.spread(np.ones_like(real), real) == 0
    assert latent.spread(real, np.ones_like(real)) == 1


def test_the_real_readings_are_possible(tmp_path):
    assert hardware.free_disk(tmp_path) > 0
    assert hardware.free_disk(tmp_path / "nowhere") is None
    memory = hardware.free_memory(torch.device("cpu"))
    assert memory is None or 0 < memory[0] <= memory[1]
    assert (memory is not None) == (sys.platform == "linux")


def test_on_an_accelerator_the_host_looks_now_and_then_and_at_the_end(flowers):
    run = setup.set_up(setup.make_task(flowers, Config.preset("tiny", **SETTINGS), None))
    run.state.sums.add(torch.tensor(False), *torch.full((4,), math.nan))
    run = dataclasses.replace(
        run, task=dataclasses.replace(run.task, device=torch.device("cuda"))
    )  # nothing is computed
    for run.state.step in (2, 20, 49):
        recovery.recover(run)
        assert run.state.rollbacks == 0
    run.state.step = recovery.LOOK_EVERY
    recovery.recover(run)
    assert (run.state.rollbacks, run.state.sums.count) == (1, 0)
    assert run.state.sums.values.isfinite().all()


def test_held_out_pictures_that_happen_to_be_harder_are_no_overfitting():
    """Seen with β = 10⁴ on 180 drawn flowers: a model that draws one picture for all memorises none."""
    records = [{"step": 1, "split": "train", "distortion": 40.0, "rate": 0.0, "beta": 1e4}]
    for step in (100, 200, 300):
        for split, value in (("train", -22.0), ("validation", 60.0)):
            records.append({
                "step": step, "split": split, "distortion": value, "rate": 0.0, "beta": 1e4, "active_units": 0,
            })  # fmt: skip
    (only,) = doctor.diagnose(records, healthy_facts(beta=1e4))
    assert only.illness == "posterior-collapse"
    easy = [{**line, "rate": 9.0, "active_units": 6, "beta": 1.0} for line in records]
    assert doctor.diagnose(easy, healthy_facts()) == []


def test_a_validation_of_the_first_steps_says_nothing_about_memorising():
    """Seen on icons: held out at step 2, those learned from at step 100."""
    records = []
    for step, split, value in ((1, "train", -8886.0), (1, "validation", -6638.0), (2, "validation", 7333.0)):
        records.append({"step": step, "split": split, "distortion": value, "rate": 1e3, "beta": 1.0, "active_units": 6})
    late = {"split": "train", "distortion": -12434.0, "rate": 9.0, "beta": 1.0}
    records += [{"step": step, **late} for step in (50, 100)]
    facts = dataclasses.replace(healthy_facts(), progress=0.4)
    assert "overfitting" not in {each.illness for each in doctor.diagnose(records, facts)}


def test_a_run_whose_first_steps_were_left_out_is_judged_without_them():
    held_out = {"step": 200, "split": "validation", "distortion": 1e6, "rate": 0.0, "beta": 1.0, "active_units": 0}
    assert doctor.diagnose([held_out], dataclasses.replace(healthy_facts(), progress=0.3)) == []
