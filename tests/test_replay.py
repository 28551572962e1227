"""Steps on a GPU: what is recorded and replayed is the step itself, whatever changes from one to the next."""

from __future__ import annotations

import pytest
import torch

from betabloom.training import loop, optimiser, step
from betabloom.training import step as one_step
from betabloom.training.cuda_graph import WARM_UP, from_memory
from betabloom.training.setup import make_task, set_up
from betabloom.training.state import learning_rate

CHOICES = {
    "muon": {"family": "residual", "optimiser": "muon", "beta_warmup": 1.0},
    "weight decay": {"family": "residual", "optimiser": "muon", "weight_decay": 0.1},
    "adam": {"optimiser": "adam", "beta_schedule": "cyclical"},
    "capacity": {"regulariser": "capacity", "beta": 10.0},
    "total correlation": {"regulariser": "total-correlation"},
    "bernoulli, with a floor": {"likelihood": "bernoulli"},
    "a learned prior": {"prior": "mixture"},
    "in parts": {"batch": 12},
}
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that CUDA knows")


def ready(store, config, name, **settings):
    run = set_up(make_task(store, config.replace({**CHOICES[name], **settings}), None))
    run.state.vae.train()
    run.state.micro_batches = 3 if name == "in parts" else 1
    run.state.plan.advance(run.state.step, 0)
    return run


def learn(run, steps):
    """Steps of the loop; what each told."""
    told = []
    for _ in range(steps):
        loop.train_step(run)
        run.state.step += 1
        run.state.plan.advance(run.state.step, 0)
        told.append(run.state.sums.values.clone())
        run.state.sums.clear()
    return torch.stack(told).cpu()


def same(one, other, **tolerance):
    for (name, mine), theirs in zip(
        one.state.vae.state_dict().items(), other.state.vae.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(mine, theirs, msg=lambda text, name=name: f"{name}: {text}", **tolerance)


@pytest.mark.parametrize("name", CHOICES)
def test_a_step_that_reads_its_schedules_from_memory_is_the_same_step(name, small_store, tiny_config):
    plain, reading = (ready(small_store, tiny_config, name) for _ in range(2))
    learn(plain, 6)
    for _ in range(6):
        for group in reading.state.optimiser.param_groups:
            group["lr"] = learning_rate(reading)
        with from_memory(reading) as (recorded, refresh):
            assert all(isinstance(group["lr"], torch.Tensor) for group in reading.state.optimiser.param_groups)
            refresh()
            step.update(recorded, *one_step.batch(reading))
        reading.state.step += 1
        reading.state.plan.advance(reading.state.step, 0)
    assert reading.state.optimiser.param_groups[0]["lr"] == plain.state.optimiser.param_groups[0]["lr"]
    same(plain, reading, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_weights_that_are_changed_together_are_changed_as_one_by_one(decay):
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 3), (4, 3, 2, 2), (6, 2), (4, 3), (4, 3, 2, 2)]
    one, other, gradients = ([torch.randn(shape, generator=generator) for shape in shapes] for _ in range(3))
    for mine, theirs in zip(one, other, strict=True):
        theirs.copy_(mine)
    optimiser._change_alike(one, gradients, 0.02, decay, torch.tensor(0.0))
    for weight, gradient in zip(other, gradients, strict=True):
        size = max(1.0, len(weight) / weight[0].numel()) ** 0.5
        direction = optimiser.orthogonal(gradient.flatten(1)).view(weight.shape)
        weight.mul_(1 - 0.02 * decay).sub_(0.02 * size * direction)
    torch.testing.assert_close(one, other)
    before = [weight.clone() for weight in one]
    optimiser._change_alike(one, gradients, 0.02, decay, torch.tensor(1.0))
    torch.testing.assert_close(one, before, rtol=0, atol=0)


@needs_gpu
@pytest.mark.parametrize("name", CHOICES)
def test_replayed_steps_are_those_that_would_have_been_taken(name, small_store, tiny_config):
    runs = [ready(small_store, tiny_config, name, device="cuda", ema=0.9) for _ in range(2)]
    told = [learn(runs[0], 12)]
    assert runs[0].tools.graphed_step
    assert runs[0].tools.graphed_step.graph
    told.append(plainly(runs[1], 12))
    torch.testing.assert_close(*told, rtol=1e-3, atol=1e-3)
    same(*runs, rtol=1e-3, atol=1e-4)


def plainly(run, steps):
    """The same, none of them recorded."""
    told = []
    for _ in range(steps):
        told.append(learn(run, 1))
        run.tools.graphed_step.taken = 0
    assert run.tools.graphed_step.graph is None
    return torch.cat(told)


@needs_gpu
def test_a_replayed_step_that_is_not_finite_changes_nothing(small_store, tiny_config):
    run = ready(small_store, tiny_config, "muon", device="cuda")
    learn(run, WARM_UP + 2)
    before = {name: value.clone() for name, value in run.state.vae.state_dict().items()}
    x, noise = one_step.batch(run)
    assert run.tools.graphed_step
    good, *_ = run.tools.graphed_step(x * float("nan"), noise)
    assert not good
    for name, value in run.state.vae.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert run.tools.graphed_step(x, noise)[0]


@needs_gpu
def test_a_run_on_a_gpu_that_is_resumed_goes_on_as_it_would_have(small_store, tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 0.0)
    config = tiny_config.replace({**CHOICES["muon"], "device": "cuda"})
    whole = loop.train(small_store, config, tmp_path / "whole")

    def stop(step: int, *_: object) -> None:
        if step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.train(small_store, config, tmp_path / "parts", progress=stop)
    assert list((tmp_path / "parts" / "checkpoints").iterdir())
    resumed = loop.train(small_store, config, tmp_path / "parts", resume=True)
    for one, other in zip(whole.vae.state_dict().values(), resumed.vae.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
