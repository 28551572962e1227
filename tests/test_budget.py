"""A time budget: kept whatever the machine's pace, and what is chosen by it is written down."""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
import yaml

from betabloom.errors import BetabloomError
from betabloom.networks.spec import FAMILIES
from betabloom.samplers.choose import samplers_of
from betabloom.training import budget, finish, loop, resume, setup
from betabloom.training.state import learning_rate


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def takes(self, monkeypatch, module, name, seconds):
        """Have a function take `seconds(run)` on this clock; training steps and the fit of samplers do nothing else."""
        instead = {"train_step": lambda run: None, "fit_sampler": lambda *given: ({}, "prior", {})}
        function = instead.get(name, getattr(module, name))

        def slow(run, *rest):
            self.now += seconds(run, *rest) if name == "fit_sampler" else seconds(run)
            return function(run, *rest)

        for each in {module, budget} if name == "train_step" else {module}:  # steps are tried in the one as well
            monkeypatch.setattr(each, name, slow)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in (loop, budget, finish):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


PACES = {
    "steady": lambda step, seconds: seconds / 200,
    "slower": lambda step, seconds: seconds / 200 * (1 if step < 80 else 3),
    "faster": lambda step, seconds: seconds / 200 * (3 if step < 20 else 1),
    "uneven": lambda step, seconds: seconds / 200 * (1 + step % 5),
}


@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize(
    ("seconds", "spent", "after"), [(60, 0, 8), (60, 20, 3), (600, 2, 25)], ids=["short", "prepared", "long"]
)
def test_a_budget_is_kept_within_a_twentieth_with_all_that_comes_before_and_after(
    pace, seconds, spent, after, small_store, tiny_config, tmp_path, clock, monkeypatch
):
    """`after` is what the sampler takes; its fit on a quarter of the pictures foretells it."""
    clock.takes(monkeypatch, finish, "fit_sampler", lambda run, vae, portion: after * portion)
    for module in (loop, budget):
        clock.takes(monkeypatch, module, "save", lambda r: seconds / 100)
    clock.takes(monkeypatch, loop, "validate", lambda r: seconds / 100)
    clock.takes(monkeypatch, loop, "train_step", lambda r: PACES[pace](r.state.step, seconds))
    begun = clock.now - spent
    settings = {"steps": 0, "budget": seconds, "batch": 16, "validations": 10}
    model = loop.train(small_store, tiny_config.replace(settings), tmp_path, spent=spent)
    assert clock.now - begun == pytest.approx(seconds, rel=0.05)
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["learning_rate"] == pytest.approx(0, abs=1e-8)
    assert last["beta"] == 1
    assert model.training["steps"] > 20


def test_the_learning_rate_and_beta_rise_from_the_first_step_however_much_of_the_time_is_gone(
    small_store, tiny_config, tmp_path, clock, monkeypatch
):
    """As in the stages of a run, where a model to start from would otherwise be thrown off by the first full steps."""
    seen = []

    def step(run):
        seen.append((learning_rate(run), run.task.objective.beta(run.state.plan.t)))
        return 0.5

    clock.takes(monkeypatch, loop, "train_step", step)
    settings = {"steps": 0, "budget": 100, "batch": 16, "warmup_steps": 10**6, "beta_warmup": 0.5}
    loop.train(small_store, tiny_config.replace(settings), tmp_path, spent=50)
    (rate, beta), (full, _) = seen[1], max(seen)
    assert rate == pytest.approx(0.1 * full, rel=0.1)  # a hundredth of the training; the rate rises for a tenth
    assert beta < 0.1


@pytest.mark.parametrize(("seconds", "steps"), [(0, 100), (2, 55), (6, 35)])
def test_what_a_validation_takes_is_no_reason_for_the_next(
    seconds, steps, small_store, tiny_config, clock, monkeypatch
):
    """Where each makes the next one due, 6 of 100 seconds leave time for 22 steps."""
    validated = []

    def validate(run):
        validated.append(run.state.step)
        return seconds

    clock.takes(monkeypatch, loop, "train_step", lambda run: 1)
    clock.takes(monkeypatch, loop, "validate", validate)
    model = loop.train(small_store, tiny_config.replace({"steps": 0, "budget": 100, "batch": 16, "validations": 20}))
    assert model.training["steps"] >= steps
    assert validated[-1] == model.training["steps"]  # the last step is validated in any case


def test_a_rehearsal_takes_a_part_of_the_pictures_and_of_the_steps_of_a_flow(
    small_store, tiny_config, clock, monkeypatch, tmp_path
):
    asked = []

    def samplers(vae, known, held_out, noise, judge, seed, flow):
        asked.append((len(known), len(held_out), flow))
        return samplers_of(vae, known, held_out, noise, judge, seed, flow)

    monkeypatch.setattr(finish, "samplers_of", samplers)
    clock.takes(monkeypatch, loop, "train_step", lambda run: 1)
    model = loop.train(small_store, tiny_config.replace({"steps": 0, "budget": 60, "batch": 16, "flow": 6}), tmp_path)
    learned, held_out = (len(rows) for rows in small_store.split("auto", 0.1))
    assert asked == [(learned // 4, max(1, held_out // 4), 2), (learned, held_out, 6)]
    assert model.config.train.flow == 6
    assert "flow" in model.samplers
    assert not list(tmp_path.glob(".rehearsal*"))


@pytest.mark.parametrize("validations", [1, 2])
def test_a_budget_with_few_validations_is_kept_too(validations, small_store, tiny_config, tmp_path, clock, monkeypatch):
    clock.takes(monkeypatch, finish, "fit_sampler", lambda run, vae, portion: 15 * portion)
    clock.takes(monkeypatch, loop, "validate", lambda r: 4)
    clock.takes(monkeypatch, loop, "train_step", lambda r: 1)
    begun = clock.now
    settings = {"steps": 0, "budget": 120, "batch": 16, "validations": validations}
    loop.train(small_store, tiny_config.replace(settings), tmp_path)
    assert clock.now - begun == pytest.approx(120, rel=0.05)


def test_with_steps_too_what_ends_first_ends_the_run(small_store, tiny_config, tmp_path, clock, monkeypatch):
    clock.takes(monkeypatch, loop, "train_step", lambda r: 1)
    model = loop.train(small_store, tiny_config.replace({"steps": 7, "budget": 3600, "batch": 16}), tmp_path)
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert model.training["steps"] == 7
    assert last["learning_rate"] == pytest.approx(0, abs=1e-8)


def chosen(store, config, pace, clock, monkeypatch, steps=0, seconds=60.0):
    """What is chosen where a step takes `pace(run)` seconds, and the first one twenty times that."""

    def step(run):
        clock.now += pace(run) * (1 if run.state.step else 20)

    config = config.replace({"steps": steps, "budget": 60})
    monkeypatch.setattr(budget, "train_step", step)
    return budget.choose(setup.make_task(store, config, None), seconds).config


@pytest.mark.parametrize(("pace", "batch"), [(0.02, 32), (0.19, 32), (0.25, 16), (9.0, 16)])
def test_short_budgets_take_smaller_batches(pace, batch, small_store, tiny_config, clock, monkeypatch):
    """60 s and steps of 0.2 s: 300 steps, below which batches are halved. The first step is not counted."""
    config = chosen(small_store, tiny_config.replace({"batch": 0}), lambda run: pace, clock, monkeypatch)
    assert config.train.batch == batch
    assert config.model.widths == tiny_config.model.widths


def test_a_budget_that_is_gone_already_takes_the_smallest_batches(small_store, tiny_config, clock, monkeypatch):
    config = chosen(small_store, tiny_config.replace({"batch": 0}), lambda run: 0.02, clock, monkeypatch, seconds=-5.0)
    assert config.train.batch == 16


def own(run) -> bool:
    """Whether a residual network has its own widths."""
    return run.task.config.model.widths in ((), FAMILIES["residual"].widths)


@pytest.mark.parametrize(("many", "widths"), [(1.01, (16, 32, 64, 128)), (0.99, (8, 16, 32, 64))])
def test_short_budgets_take_half_the_widths(many, widths, small_store, tiny_config, clock, monkeypatch):
    """By the pace of the network's own widths; batches by that of the network that is trained."""
    config = tiny_config.replace({"family": "residual", "widths": (), "batch": 0})
    steps = many * budget.HALF_BELOW
    found = chosen(small_store, config, lambda run: 60 / steps if own(run) else 60 / 299, clock, monkeypatch)
    assert found.model.widths == widths
    assert found.train.batch == (32 if many > 1 else 16)


@pytest.mark.parametrize(("steps", "widths", "batch"), [(200, (16, 32, 64, 128), 32), (400, (8, 16, 32, 64), 16)])
def test_steps_that_fit_in_the_budget_get_the_whole_network(
    steps, widths, batch, small_store, tiny_config, clock, monkeypatch
):
    """299 steps fit."""
    config = tiny_config.replace({"family": "residual", "widths": (), "batch": 0})
    found = chosen(small_store, config, lambda run: 60 / 299, clock, monkeypatch, steps)
    assert found.model.widths in (widths, () if batch == 32 else widths)
    assert found.train.batch == batch


def test_widths_and_batches_that_somebody_chose_stay(small_store, tiny_config, clock, monkeypatch):
    config = tiny_config.replace({"family": "residual", "widths": (), "batch": 24})
    assert chosen(small_store, config, lambda run: 5, clock, monkeypatch).train.batch == 24
    assert chosen(small_store, config, lambda run: 5, clock, monkeypatch).model.widths == (8, 16, 32, 64)
    config = config.replace({"widths": (24, 48, 64), "batch": 0})
    assert chosen(small_store, config, lambda run: 5, clock, monkeypatch).model.widths == (24, 48, 64)


@pytest.mark.parametrize("family", ["seed", "burgess", "conv"])
def test_networks_of_publications_keep_their_widths(family, small_store, tiny_config, clock, monkeypatch):
    config = tiny_config.replace({"family": family, "widths": ()})
    assert chosen(small_store, config, lambda run: 5, clock, monkeypatch).model.widths == ()


def test_a_run_that_goes_on_does_not_choose_again(small_store, tiny_config, tmp_path, clock, monkeypatch):
    clock.takes(monkeypatch, loop, "train_step", lambda r: 5)
    settings = {"steps": 0, "budget": 60, "batch": 0, "family": "residual", "widths": ()}
    model = loop.train(small_store, tiny_config.replace(settings), tmp_path)
    assert model.config.model.widths == (8, 16, 32, 64)
    monkeypatch.setattr(loop, "choose", None)
    again = loop.train(small_store, model.config, tmp_path, resume=True)
    assert again.config.model == model.config.model


def test_what_is_chosen_is_written_down(small_store, tiny_config, tmp_path, clock, monkeypatch):
    clock.takes(monkeypatch, loop, "train_step", lambda r: 5)
    model = loop.train(small_store, tiny_config.replace({"steps": 0, "budget": 60, "batch": 0}), tmp_path)
    assert model.config.train.batch == 16
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["train"]["batch"] == 16


def test_a_batch_that_somebody_chose_stays(small_store, tiny_config, clock, monkeypatch):
    clock.takes(monkeypatch, loop, "train_step", lambda r: 5)
    model = loop.train(small_store, tiny_config.replace({"steps": 0, "budget": 60, "batch": 24}))
    assert model.config.train.batch == 24
    assert loop.train(small_store, tiny_config.replace({"steps": 2, "batch": 0})).config.train.batch == setup.BATCH


def test_measuring_leaves_no_trace(small_store, tiny_config, clock, monkeypatch):
    """What is measured with is thrown away: the first step of the run starts from the seed."""
    first = []
    step = loop.train_step

    def watched(run):
        clock.now += 0.02
        if run.state.step == 0:
            first.append((torch.cat([p.flatten() for p in run.state.vae.parameters()]).clone(), run.task.batch))
        step(run)

    for module in (loop, budget):
        monkeypatch.setattr(module, "train_step", watched)
    loop.train(small_store, tiny_config.replace({"steps": 0, "budget": 2, "batch": 0}))
    assert len(first) == 2
    assert torch.equal(first[0][0], first[1][0])


def test_preparing_that_takes_most_of_a_budget_leaves_half_of_it_to_training(
    small_store, tiny_config, clock, monkeypatch, caplog
):
    clock.takes(monkeypatch, loop, "train_step", lambda r: 0.1)
    begun = clock.now
    with caplog.at_level(logging.WARNING, logger="betabloom"):
        loop.train(small_store, tiny_config.replace({"steps": 0, "budget": 20}), spent=100)
    assert "Preparing used 100 s of the 20 s budget. Training still gets 10 s." in caplog.text
    assert clock.now - begun == pytest.approx(10, rel=0.05)


def failing(run, monkeypatch, fits):
    """Let the network refuse batches of more than `fits` pictures, as a full memory does."""
    forward = run.state.vae.forward

    def limited(x, noise):
        if len(x) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(x, noise)

    monkeypatch.setattr(run.state.vae, "forward", limited)


def test_a_batch_that_does_not_fit_in_memory_is_worked_through_in_parts(small_store, tiny_config, monkeypatch, caplog):
    """Parts change no step but by rounding; one line says so."""
    config = tiny_config.replace({"likelihood": "bernoulli", "clip": 0.0})
    whole, parted = (
        setup.set_up(setup.make_task(small_store, config, None)),
        setup.set_up(setup.make_task(small_store, config, None)),
    )
    failing(parted, monkeypatch, fits=5)
    with caplog.at_level(logging.WARNING, logger="betabloom"):
        for run in (whole, parted):
            for run.state.step in range(3):
                loop.train_step(run)
    assert parted.state.micro_batches == 4
    assert [r.getMessage() for r in caplog.records] == [
        f"A batch of 16 does not fit in memory. It is split into {parts} parts." for parts in (2, 4)
    ]
    torch.testing.assert_close(parted.state.sums.values, whole.state.sums.values)
    for one, other in zip(parted.state.vae.parameters(), whole.state.vae.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_where_one_picture_does_not_fit_the_message_says_what_to_type(small_store, tiny_config, monkeypatch):
    run = setup.set_up(setup.make_task(small_store, tiny_config, None))
    failing(run, monkeypatch, fits=0)
    with pytest.raises(BetabloomError, match=r"not even with one picture.*--size"):
        loop.train_step(run)


def test_other_errors_are_no_lack_of_memory(small_store, tiny_config, monkeypatch):
    run = setup.set_up(setup.make_task(small_store, tiny_config, None))
    monkeypatch.setattr(run.state.vae, "forward", lambda x, noise: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        loop.train_step(run)
    assert run.state.micro_batches == 1


def test_memory_that_is_short_in_a_budget_makes_the_batch_smaller(small_store, tiny_config, clock, monkeypatch):
    def pace(run):
        run.state.micro_batches = 4
        return 0.01

    assert chosen(small_store, tiny_config.replace({"batch": 0}), pace, clock, monkeypatch).train.batch == 8


def test_parts_are_kept_by_a_checkpoint(small_store, tiny_config, tmp_path):
    (tmp_path / "metrics.jsonl").touch()
    run = setup.set_up(setup.make_task(small_store, tiny_config, tmp_path))
    loop.train_step(run)
    run.state.step, run.state.micro_batches = 1, 4
    resume.save(run)
    again = setup.set_up(setup.make_task(small_store, tiny_config, tmp_path))
    resume.restore(again)
    assert again.state.micro_batches == 4


@pytest.mark.slow
def test_a_minute_is_a_minute(tmp_path, monkeypatch):
    """In real time, from the command to its end, on drawn flowers that are prepared in it. A busy machine may miss it
    once, not three times."""
    monkeypatch.setenv("BETABLOOM_CACHE", str(tmp_path / "cache"))
    program = "from betabloom.cli.main import main; main()"
    missed = []
    for number in itertools.count():
        begun = time.monotonic()
        command = [sys.executable, "-c", program, "train", "drawn:1500", "--budget", "60s", "-o", str(number)]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        missed.append(time.monotonic() - begun - 60)
        if abs(missed[-1]) <= 3:
            break
        assert number < 2, missed


def test_what_is_tried_shares_the_pictures(monkeypatch, small_store, tiny_config):
    """They may take 2 GiB."""
    tried, make = [], budget.set_up
    monkeypatch.setattr(budget, "set_up", lambda task: (tried.append(task), make(task))[1])
    config = tiny_config.replace({"family": "residual", "widths": (), "batch": 0, "steps": 0, "budget": 60})
    task = setup.make_task(small_store, config, None)
    chosen = budget.choose(task, 0.5)
    assert len(tried) >= 2
    assert all(each.pictures is task.pictures for each in (*tried, chosen))


def test_a_gpu_gets_whole_widths_and_large_batches_without_trying(monkeypatch, small_store, tiny_config):
    config = tiny_config.replace({"family": "residual", "widths": (), "batch": 0, "budget": 60})
    task = dataclasses.replace(setup.make_task(small_store, config, None), device=torch.device("cuda"))
    monkeypatch.setattr(budget, "set_up", None)  # nothing is tried
    chosen = budget.choose(task, 60.0).config
    assert (chosen.model.widths, chosen.train.batch) == ((), setup.BATCH_ON_GPU)
    assert budget.choose(task.changed({"batch": 48}), 60.0).config.train.batch == 48
