"""Several cores at a training step: the same step as of one, and every one the same."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from betabloom.config import Config
from betabloom.networks import large_linear
from betabloom.training import accumulate, loop
from betabloom.training import step as one_step
from betabloom.training import threads as module
from betabloom.training.setup import make_task, set_up
from betabloom.training.step import gradients
from betabloom.training.threads import ThreadTeam, thread_team
from betabloom.vae.build import build_vae

CHOICES = {
    "optimal": {},
    "bernoulli, with a floor": {"likelihood": "bernoulli"},
    "a learned scale": {"likelihood": "gaussian-learned"},
    "total correlation": {"regulariser": "total-correlation"},
    "a learned prior": {"prior": "mixture"},
    "pseudo-pictures": {"prior": "vamp"},
    "a point": {"posterior": "point"},
    "residual": {"family": "residual", "optimiser": "muon"},
}


@pytest.fixture(params=[2, 3])
def threads(request):
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(1)


def prepared(store, config, **settings):
    run = set_up(make_task(store, config.replace({"batch": 26, **settings}), None))
    run.state.vae.train()
    return run


@pytest.mark.parametrize("name", CHOICES)
def test_the_gradient_is_that_of_the_whole_batch(name, threads, small_store, tiny_config):
    together, alone = (prepared(small_store, tiny_config, **CHOICES[name]) for _ in range(2))
    assert together.tools.team
    assert together.tools.team.size == threads
    alone.tools.gradients = accumulate.micro_batched(gradients)
    one, other = (run.tools.gradients(run, *one_step.batch(run)) for run in (together, alone))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)
    weights = zip(together.state.vae.named_parameters(), alone.state.vae.parameters(), strict=True)
    for (place, mine), theirs in weights:
        assert (mine.grad is None) == (theirs.grad is None), place
        if mine.grad is not None and theirs.grad is not None:
            assert mine.grad.stride() == mine.stride(), place
            size = max(1.0, theirs.grad.abs().max().item())
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5 * size)
    for mine, theirs in zip(together.state.vae.buffers(), alone.state.vae.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_run_of_several_cores_that_is_resumed_is_the_uninterrupted_one(threads, small_store, tiny_config, tmp_path):
    config = tiny_config.replace({"batch": 24, "optimiser": "muon", "family": "residual"})
    whole = loop.train(small_store, config, tmp_path / "whole")
    assert loop.train(small_store, config).fingerprint == loop.train(small_store, config).fingerprint
    steps = 0

    def stop(step: int, *_: object) -> None:
        nonlocal steps
        steps = step
        if step == 7:
            raise KeyboardInterrupt

    run = set_up(make_task(small_store, config, None))
    assert run.tools.team
    with pytest.raises(KeyboardInterrupt):
        loop.train(small_store, config, tmp_path / "parts", progress=stop)
    assert steps == 7
    resumed = loop.train(small_store, config, tmp_path / "parts", resume=True)
    for one, other in zip(whole.vae.state_dict().values(), resumed.vae.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_torch_has_its_threads_again_after_a_step(threads, small_store, tiny_config):
    run = prepared(small_store, tiny_config)
    with run.tools.team.at_work():
        assert run.tools.team.map(lambda _: torch.get_num_threads(), range(threads)) == [1] * threads
    loop.train_step(run)
    assert torch.get_num_threads() == threads


def test_parts_work_at_the_same_time_and_errors_come_out_when_all_have_ended():
    torch.set_num_threads(2)
    pair, met, ended = ThreadTeam(2), threading.Barrier(2, timeout=10), []
    assert pair.map(lambda part: (met.wait(), part)[1], [3, 4]) == [3, 4]

    def fails(part: int) -> None:
        met.wait()
        ended.append(part)
        if part == failing:
            raise ValueError(str(part))

    for failing in (0, 1):
        ended.clear()
        with pytest.raises(ValueError, match=str(failing)):
            pair.map(fails, [0, 1])
        assert sorted(ended) == [0, 1]
    torch.set_num_threads(1)


def test_what_is_shared_is_done_once_each():
    torch.set_num_threads(2)
    done: list[int] = []
    ThreadTeam(2).share(done.append, list(range(100)))
    assert sorted(done) == list(range(100))
    torch.set_num_threads(1)


def test_there_is_no_crew_where_it_would_change_the_step_or_not_pay():
    processor = torch.device("cpu")
    vae = build_vae((3, 16, 16), 4, "conv", (8, 16))
    assert thread_team(vae, 32, processor) is None  # one thread
    torch.set_num_threads(4)
    assert thread_team(vae, 32, processor).size == 4
    assert thread_team(vae, 16, processor).size == 2
    assert thread_team(vae, 15, processor) is None
    assert thread_team(vae, 32, torch.device("meta")) is None
    for joined in (nn.BatchNorm2d(16), nn.Dropout(0.1)):
        other = build_vae((3, 16, 16), 4, "conv", (8, 16))
        other.encoder.body.append(joined)
        assert thread_team(other, 32, processor) is None
    torch.set_num_threads(1)


def test_a_part_for_which_memory_is_too_small_halves_the_batch(threads, small_store, tiny_config, monkeypatch):
    run = prepared(small_store, tiny_config)

    def too_large(*_: object) -> None:
        raise torch.OutOfMemoryError

    assert len(accumulate.micro_batched(too_large)(run, *one_step.batch(run))) == 3
    assert run.state.micro_batches == 2


def test_the_network_of_the_flowers_has_a_crew_and_the_seeds_whose_gradients_take_memory_has_none():
    torch.set_num_threads(2)
    found = []
    for name in ("flowers64", "seed"):
        config = Config.preset(name)
        m = config.model
        with torch.device("meta"):
            vae = build_vae(config.shape, m.latents, m.family, m.widths)
        found.append(thread_team(vae, 32, torch.device("cpu")))
    torch.set_num_threads(1)
    assert found[0] is not None
    assert found[1] is None


def test_a_network_with_a_large_layer_gets_no_team(threads):
    """A team adds up whole gradients, which such a layer never makes: the two limits must not overlap."""
    assert module.LARGEST < large_linear.LARGE
    with torch.device("meta"):
        smallest = nn.Sequential(large_linear.LargeLinear(large_linear.LARGE, 1, bias=False))
        almost = nn.Sequential(nn.Linear(module.LARGEST, 1, bias=False))
    assert large_linear.large_layers(smallest)
    assert thread_team(smallest, 64, torch.device("cpu")) is None
    assert thread_team(almost, 64, torch.device("cpu"))
