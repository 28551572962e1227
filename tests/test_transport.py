"""The way from one Gaussian to another: where it leads, how long it is, and its gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from betabloom.metrics.fidelity import frechet_distance
from betabloom.refine.transport import REACH, Projection, Transport

KEPT = 0.99  # of moments and of the trailing student


def cloud(seed, count=4000, size=5, spread=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((count, size)) @ rng.normal(size=(size, size)) * spread + shift
    return torch.from_numpy(mixed.astype(np.float32))


def led(real, drawn):
    transport = Transport(real)
    transport.observe(drawn, 0.0)
    transport.solve()
    return transport


def test_the_transport_takes_one_gaussian_to_the_other():
    real, drawn = cloud(0), cloud(1, spread=0.5, shift=2.0)
    transport = led(real, drawn)
    moved = transport.aim + (drawn - transport.start) @ transport.map.T
    torch.testing.assert_close(moved.mean(0), real.mean(0), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(torch.cov(moved.T), torch.cov(real.T), atol=0.02, rtol=0.02)
    torch.testing.assert_close(transport.map, transport.map.T, atol=1e-5, rtol=1e-4)
    assert (torch.linalg.eigvalsh(transport.map) > 0).all()  # the gradient of a convex function


def test_its_mean_squared_length_is_the_frechet_distance():
    real, drawn = cloud(0), cloud(1, spread=0.5, shift=2.0)
    transport = led(real, drawn)
    expected = frechet_distance(real.numpy(), drawn.numpy()).value
    assert transport.distance.item() == pytest.approx(expected, rel=0.02)
    assert 2 / REACH * transport.loss(drawn, drawn).item() == pytest.approx(expected, rel=0.02)


def test_the_gradient_of_its_loss_is_that_of_half_the_distance():
    real, drawn = cloud(0), cloud(1, count=500, shift=0.5)
    transport = led(real, drawn)
    z = drawn.clone().requires_grad_()
    transport.loss(z, drawn).backward()
    direction = cloud(2, count=500)
    step = 1e-3
    ends = [led(real, drawn + sign * step * direction).distance.item() for sign in (1, -1)]
    slope = 0.5 * (ends[0] - ends[1]) / (2 * step)
    assert (z.grad * direction).sum().item() == pytest.approx(slope, rel=0.02)


def test_real_pictures_are_not_led_anywhere():
    real = cloud(0)
    transport = led(real, real)
    assert transport.distance.item() < 1e-4
    assert transport.loss(real, real).item() < 1e-4 * REACH


@pytest.mark.parametrize("reach", [1.0, REACH])
def test_a_picture_is_led_so_many_times_the_way_from_where_an_earlier_student_has_it(reach):
    transport = led(cloud(0), cloud(1, spread=0.5, shift=2.0))
    before, z = cloud(2, count=50), cloud(3, count=50).requires_grad_()
    transport.loss(z, before, reach).backward()
    way = transport.aim + (before - transport.start) @ transport.map.T - before
    torch.testing.assert_close(z.grad * reach * len(z), z.detach() - (before + reach * way), atol=1e-3, rtol=1e-3)


def farthest(with_trailing):
    """How far beyond its aim a student gets that moves points by what it learns, with moments that lag.

    The reach is 1: more is for those that follow slowly.
    """
    points = cloud(0, count=500, size=1)
    transport, shift = Transport(points), torch.full((1,), -3.0)
    trailing, beyond = shift.clone(), 0.0
    for step in range(600):
        transport.observe(points + shift, min(KEPT, step / (step + 1)))
        transport.solve()
        z = (points + shift).requires_grad_()
        transport.loss(z, points + trailing if with_trailing else z.detach(), 1.0).backward()
        shift = shift - 0.1 * z.grad.sum(0)
        trailing = trailing.lerp(shift, 1 - KEPT)
        beyond = max(beyond, shift.item())
    assert not with_trailing or abs(shift.item()) < 0.05
    return beyond


def test_a_student_that_is_led_from_where_an_earlier_one_was_does_not_swing_beyond_its_aim():
    assert farthest(with_trailing=False) > 0.5
    assert farthest(with_trailing=True) < 0.01


def test_components_have_a_mean_squared_length_of_one_and_keep_what_varies_most():
    features = cloud(0, size=8) * torch.tensor([9.0, 1, 1, 1, 1, 1, 1, 1])
    project = Projection(features, 3)
    parts = project(features)
    assert parts.shape == (4000, 3)
    assert parts.square().sum(1).mean().item() == pytest.approx(1, rel=1e-3)
    assert (parts.var(0).diff() < 0).all()
    assert project(features[:1]).shape == (1, 3)
