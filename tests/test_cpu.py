"""What is computed in another way on a CPU is the same function, with the same gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from betabloom.networks.cpu_layers import Transposed, View, flat, in_blocks, steady, to_last

CASES = [  # channels in and out, side, kernel, stride, padding, output padding, whether it is drawn in blocks
    (32, 3, 8, 4, 2, 1, 0, True),
    (16, 3, 10, 5, 1, 0, 0, True),
    (8, 3, 9, 5, 1, 1, 0, False),
    (8, 3, 10, 5, 1, 1, 0, True),
    (8, 1, 7, 6, 2, 2, 0, True),
    (8, 3, 8, 2, 2, 0, 0, True),
    (8, 3, 9, 3, 1, 1, 0, False),
    (4, 3, 8, 3, 3, 1, 0, False),
    (8, 3, 8, 5, 2, 2, 1, False),
    (8, 16, 7, 3, 2, 1, 1, False),
]


def both(
    case: tuple[int, ...], dtype: torch.dtype = torch.float64
) -> tuple[Transposed, nn.ConvTranspose2d, torch.Tensor]:
    before, after, side, *how = case[:7]
    torch.manual_seed(0)
    ours, theirs = Transposed(before, after, *how), nn.ConvTranspose2d(before, after, *how)
    theirs.load_state_dict(ours.state_dict())  # the same names
    return ours.to(dtype), theirs.to(dtype), torch.randn(3, before, side, side + 2, dtype=dtype)


@pytest.mark.parametrize("case", CASES)
def test_a_transposed_convolution_is_torchs_with_its_gradients(case):
    ours, theirs, x = both(case)
    mine, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    a, b = ours(mine), theirs(other)
    torch.testing.assert_close(a, b)
    slope = torch.randn_like(b)
    a.backward(slope)
    b.backward(slope)
    torch.testing.assert_close(mine.grad, other.grad)
    for name, weight in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name).grad, weight.grad)


@pytest.mark.parametrize("case", CASES)
def test_blocks_are_taken_where_they_fill_the_output(case):
    ours, _, x = both(case)
    if case[6] == 0:
        assert (in_blocks(x, ours.weight, ours.bias, case[4], case[5]) is not None) == case[7]


def test_autocast_reaches_into_a_transposed_convolution():
    ours, theirs, x = both(CASES[0], torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        a, b = ours(x), theirs(x)
    assert a.dtype == b.dtype == torch.bfloat16
    torch.testing.assert_close(a, b, atol=2e-2, rtol=1.6e-2)  # without bf16 units sums are rounded in another order
    a.float().sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in ours.parameters())


def test_maps_keep_their_numbers_and_their_layout():
    torch.manual_seed(0)
    rows = torch.randn(2, 32 * 64 * 64, requires_grad=True)
    h = View((32, 64, 64))(rows)
    assert torch.equal(h, rows.view(2, 32, 64, 64))
    assert h.is_contiguous(memory_format=torch.channels_last)
    inner = steady(2 * h)
    slopes: list[torch.Tensor] = []
    inner.register_hook(slopes.append)
    again = flat(inner)
    assert torch.equal(again, 2 * rows)
    slope = torch.randn_like(again)
    again.backward(slope)
    assert slopes[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(rows.grad, 2 * slope)


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (2, 32, 70, 66), (0, 3, 4, 4)])
def test_channels_last_is_the_same_map(shape):
    x = torch.randn(shape)
    assert torch.equal(to_last(x), x)
    assert to_last(x).is_contiguous(memory_format=torch.channels_last)
