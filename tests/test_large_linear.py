"""Large linear layers: what is learned from the factors of a gradient is what is learned from the gradient."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from betabloom.networks import large_linear
from betabloom.networks.large_linear import LargeLinear, adam_, large_layers, moments, stochastic_round_, together
from betabloom.training import loop
from betabloom.training.optimiser import make_optimiser
from betabloom.vae.build import build_vae

SHAPES = [(3, 40), (40, 3), (7, 7)]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def layer_of(outputs: int, inputs: int, factors: bool = True) -> LargeLinear:
    layer = LargeLinear(inputs, outputs)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(outputs, inputs, generator=rng(1)))
        layer.bias.copy_(torch.randn(outputs, generator=rng(9)))
    layer.factors = [] if factors else None
    return layer


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("part", [1 << 21, 80])
def test_factors_multiply_to_the_gradient_and_all_else_is_that_of_a_linear_layer(shape, part, monkeypatch):
    monkeypatch.setattr(large_linear, "PART", part)  # so small that matrices are worked through in many
    plain, other = (layer_of(*shape, factors=False) for _ in range(2))
    left, right = layer_of(*shape), layer_of(*shape)
    for one, twin in ((left, plain), (right, other)):
        one.load_state_dict(twin.state_dict())
    x = torch.randn(5, shape[1], generator=rng(2))
    slopes = torch.randn(5, shape[0], generator=rng(3)), torch.randn(5, shape[0], generator=rng(4))
    gradients = []
    for layers in ((plain, other), (left, right)):
        given = x.clone().requires_grad_()
        made = together(given, layers)
        sum((y * slope).sum() for y, slope in zip(made, slopes, strict=True)).backward()
        gradients.append((*(y.detach() for y in made), given.grad, *(layer.bias.grad for layer in layers)))
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-5)
    for one, twin in ((left, plain), (right, other)):
        assert one.weight.grad is None
        ((delta, given),) = one.factors
        torch.testing.assert_close(delta.T @ given, twin.weight.grad, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_norm_of_the_gradient_and_of_the_sum_of_several(shape):
    layer, plain = layer_of(*shape), layer_of(*shape, factors=False)
    for seed in (5, 6):
        x = torch.randn(4, shape[1], generator=rng(seed))
        for each in (layer, plain):
            each(x).square().sum().backward()
    torch.testing.assert_close(layer.gradient_norm(), plain.weight.grad.norm(), atol=0, rtol=1e-4)
    layer.scale_gradient(torch.tensor(0.25))
    torch.testing.assert_close(layer.gradient_norm(), plain.weight.grad.norm() / 4, atol=0, rtol=1e-4)


def test_a_gradient_that_is_no_number_has_a_norm_that_is_none():
    layer = layer_of(4, 6)
    x = torch.randn(2, 6, generator=rng())
    x[0, 3] = torch.inf
    layer(x).sum().backward()
    assert not layer.gradient_norm().isfinite()


def steps(shape, count: int, weight_decay: float = 0.0) -> tuple[LargeLinear, nn.Parameter]:
    """So many steps of both, ours and torch's AdamW, with the same gradients, some of whose numbers are 0."""
    layer = layer_of(*shape)
    reference = nn.Parameter(layer.weight.detach().clone())
    adam = torch.optim.AdamW([reference], lr=0.01, weight_decay=weight_decay, fused=True)
    state = moments(layer.weight)
    for step in range(count):
        delta, x = (torch.randn(3, side, generator=rng(step + 50 * place)) for place, side in enumerate(shape))
        x[:, 0] = 0.0
        layer.factors = [(delta, x)]
        reference.grad = delta.T @ x
        adam_(layer, state, 0.01, weight_decay)
        adam.step()
    return layer, reference


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("block", [1 << 18, 24])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_the_first_step_is_that_of_adamw(shape, block, weight_decay, monkeypatch):
    monkeypatch.setattr(
        large_linear, "BLOCK", block
    )  # so small that matrices are worked through in many, the last smaller
    layer, reference = steps(shape, 1, weight_decay)
    torch.testing.assert_close(layer.weight, reference, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_many_steps_with_moments_of_16_bits_go_where_adamw_goes(shape):
    layer, reference = steps(shape, 200)
    begun = layer_of(*shape).weight
    way = reference - begun
    assert (layer.weight - reference).norm() < 0.03 * way.norm()


@pytest.mark.parametrize("value", [0.0, 1e-30, 0.3, 1.0, 3.1415, 7e8])
def test_rounding_at_random_is_right_on_average_and_never_leaves_the_numbers(value):
    noise = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32)  # all there is, each once
    rounded = stochastic_round_(torch.full((1 << 16,), value), noise).bfloat16().double()
    assert rounded.isfinite().all()
    assert rounded.unique().numel() <= 2
    assert rounded.mean().item() == pytest.approx(torch.tensor(value).item(), rel=1e-6)


@pytest.fixture
def everything_is_large(monkeypatch):
    monkeypatch.setattr(large_linear, "LARGE", 0)
    monkeypatch.setattr(
        "betabloom.training.threads.LARGEST", 0
    )  # nobody works side by side on networks that have such layers


SETTINGS = {"family": "seed", "widths": (3, 4), "kernel": 5, "optimiser": "adam", "likelihood": "bernoulli"}


def test_a_network_is_trained_as_it_is_with_whole_gradients(small_store, tiny_config, monkeypatch):
    config = tiny_config.replace({**SETTINGS, "steps": 6, "precision": "fp32", "clip": 0.5, "ema": 0.9})
    whole = loop.train(small_store, config)
    monkeypatch.setattr(large_linear, "LARGE", 0)
    monkeypatch.setattr("betabloom.training.threads.LARGEST", 0)
    made = loop.train(small_store, config)
    for name, weight in whole.vae.state_dict().items():
        torch.testing.assert_close(made.vae.state_dict()[name], weight, atol=2e-4, rtol=1e-3)
    assert made.training["validation"]["loss"] == pytest.approx(whole.training["validation"]["loss"], rel=1e-4)


@pytest.mark.usefixtures("everything_is_large")
def test_a_batch_in_parts_is_learned_from_as_a_whole(small_store, tiny_config, monkeypatch):
    config = tiny_config.replace({**SETTINGS, "steps": 4, "precision": "fp32"})
    whole = loop.train(small_store, config)
    set_up = loop.set_up

    def in_parts(task):
        run = set_up(task)
        run.state.micro_batches = 4
        return run

    monkeypatch.setattr(loop, "set_up", in_parts)
    parted = loop.train(small_store, config)
    for name, weight in whole.vae.state_dict().items():
        torch.testing.assert_close(parted.vae.state_dict()[name], weight, atol=1e-4, rtol=1e-3)


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.parametrize("optimiser", ["adam", "muon"])
def test_a_resumed_run_is_the_uninterrupted_one(optimiser, small_store, tiny_config, tmp_path, monkeypatch):
    config = tiny_config.replace({**SETTINGS, "steps": 12, "optimiser": optimiser})
    whole = loop.train(small_store, config)
    (tmp_path / "run").mkdir()
    step = loop.train_step

    def step_and_stop(run):
        step(run)
        kept = [
            value.dtype
            for layer in run.state.optimiser.large
            for value in run.state.optimiser.state[layer.weight].values()
        ]
        assert kept.count(torch.bfloat16) == 6  # of three layers
        if run.state.step + 1 == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", step_and_stop)
        with pytest.raises(loop.Interrupted):
            loop.train(small_store, config, tmp_path / "run")
    resumed = loop.train(small_store, config, tmp_path / "run", resume=True)
    for name, weight in whole.vae.state_dict().items():
        assert torch.equal(resumed.vae.state_dict()[name], weight), name


@pytest.mark.usefixtures("everything_is_large")
def test_the_layers_of_a_trained_model_are_as_any_others(small_store, tiny_config):
    model = loop.train(small_store, tiny_config.replace({**SETTINGS, "steps": 2}))
    model.vae.requires_grad_(True)
    model.vae.reconstruct(torch.rand(2, 3, 16, 16)).sum().backward()
    assert all(layer.weight.grad is not None for layer in (model.vae.encoder.mean, model.vae.decoder.body[0]))


@pytest.mark.usefixtures("everything_is_large")
def test_layers_that_are_kept_as_they_are_have_no_part_in_it():
    vae = build_vae((3, 16, 16), latents=4, family="conv", widths=(4, 8))
    assert large_layers(vae) == [vae.encoder.mean, vae.encoder.log_var, vae.decoder.body[0]]
    vae.decoder.requires_grad_(False)
    optimiser = make_optimiser("adam", vae, 1e-3, 0.0, fused=True)
    assert optimiser.large == [vae.encoder.mean, vae.encoder.log_var]
    assert vae.decoder.body[0].factors is None


@pytest.mark.usefixtures("everything_is_large")
def test_nothing_changes_in_a_step_that_is_left_out():
    vae = build_vae((3, 16, 16), latents=4, family="conv", widths=(4, 8))
    optimiser = make_optimiser("adam", vae, 1e-3, 0.0, fused=True)
    vae.reconstruct(torch.rand(2, 3, 16, 16)).sum().backward()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    optimiser.found_inf = torch.ones(())
    optimiser.step()
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    assert all(int(optimiser.state[layer.weight]["step"]) == 0 for layer in optimiser.large)
    optimiser.zero_grad()
    assert all(layer.factors == [] for layer in optimiser.large)


def test_small_networks_have_none():
    assert large_layers(build_vae((3, 64, 64), latents=256)) == []
    with torch.device("meta"):
        assert len(large_layers(build_vae((3, 136, 136), latents=64, family="seed"))) == 3


@pytest.mark.parametrize("optimiser", ["adam", "muon"])
def test_training_does_not_load_the_compiler_of_torch(optimiser, tmp_path):
    code = (
        "import sys, betabloom;"
        f"betabloom.fit(betabloom.prepare('drawn:40', size=16), 'tiny', r'{tmp_path / 'run'}', steps=2, "
        f"optimiser={optimiser!r});"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"


def test_preset_seed_keeps_to_the_memory_that_it_has(monkeypatch):
    """Moments take half of what the weights take, and no gradient of a large layer is ever made."""
    vae = build_vae((3, 24, 24), latents=8, family="seed")
    monkeypatch.setattr(large_linear, "LARGE", 1000)
    optimiser = make_optimiser("adam", vae, 1e-3, 0.0, fused=True)
    x = torch.from_numpy(np.random.default_rng(0).random((4, 3, 24, 24), np.float32))
    vae.reconstruct(x).sum().backward()
    optimiser.step()
    for layer in optimiser.large:
        kept = sum(value.nbytes for value in optimiser.state[layer.weight].values())
        assert kept == layer.weight.nbytes + 4
        assert layer.weight.grad is None
