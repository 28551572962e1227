"""Augmentation: nothing by default, exact where it can be, each picture for itself."""

from __future__ import annotations

import pytest
import torch

from betabloom.training.augment import DRAWS, LUMA, augment


def pictures(count: int = 6, channels: int = 3, height: int = 16, width: int = 24) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, height, width), generator=generator) / 255


def draws(count: int = 6, **fixed: float) -> torch.Tensor:
    names = ("flip", "angle", "across", "down", "brightness", "saturation")
    values = torch.full((count, DRAWS), 0.5)
    for name, value in fixed.items():
        values[:, names.index(name)] = value
    return values


def test_nothing_switched_on_changes_nothing():
    x = pictures()
    assert torch.equal(augment(x, torch.rand(6, DRAWS), flip=False), x)


def test_the_middle_of_every_range_changes_nothing():
    x = pictures()
    unchanged = augment(x, draws(), shift=0.3, rotate=40, colour=0.5)
    torch.testing.assert_close(unchanged, x, atol=1e-6, rtol=0)


def test_mirroring_twice_is_nothing_and_mirrors_whom_the_draw_says():
    x = pictures()
    d = torch.rand(6, DRAWS)
    d[:, 0] = torch.tensor([0.1, 0.9, 0.4, 0.6, 0.49, 0.5])
    once = augment(x, d)
    assert torch.equal(augment(once, d), x)
    for row, mirrored in enumerate([True, False, True, False, True, False]):
        assert torch.equal(once[row], x[row].flip(2) if mirrored else x[row])


@pytest.mark.parametrize(("across", "down"), [(3, 0), (0, -2), (-4, 5)])
def test_a_shift_by_whole_pixels_is_exact(across, down):
    x = pictures()
    shift = 0.5  # of 24 and 16 pixels: 12 and 8 either way
    d = draws(across=0.5 + across / 24, down=0.5 + down / 16)
    moved = augment(x, d, flip=False, shift=shift)
    expected = torch.roll(x, (-down, -across), (2, 3))
    inside = (..., slice(max(0, -down), 16 - max(0, down)), slice(max(0, -across), 24 - max(0, across)))
    torch.testing.assert_close(moved[inside], expected[inside], atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(17, 17), (17, 25)])
def test_a_quarter_turn_about_the_centre_is_exact(size):
    """Also where pictures are not square: the turn is in pixels, not in parts of the sides."""
    height, width = size
    x = pictures(2, 3, height, width)
    turned = augment(x, draws(2, angle=1.0), flip=False, rotate=90)
    middle = (width - 17) // 2
    square = x[..., middle : middle + 17]
    torch.testing.assert_close(turned[..., middle : middle + 17], square.rot90(1, (2, 3)), atol=1e-5, rtol=0)


def test_tinting_follows_its_formula():
    x = pictures() * 0.6
    bright = augment(x, draws(brightness=1.0), flip=False, colour=0.5)
    torch.testing.assert_close(bright, (1.5 * x).clamp(0, 1), atol=1 / 510 + 1e-6, rtol=0)
    grey = augment(x, draws(saturation=0.0), flip=False, colour=1.0)
    luma = (x * torch.tensor(LUMA)[:, None, None]).sum(1, keepdim=True).expand_as(x)
    torch.testing.assert_close(grey, luma, atol=1 / 510 + 1e-6, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_stay_in_range_on_grey_levels_and_keep_to_themselves(channels):
    x, d = pictures(channels=channels), torch.rand(6, DRAWS)
    options = {"shift": 0.2, "rotate": 20, "colour": 0.4}
    y = augment(x, d, **options)
    assert y.shape == x.shape
    assert y.min() >= 0
    assert y.max() <= 1
    torch.testing.assert_close(y * 255, (y * 255).round(), atol=1e-3, rtol=0)
    alone = torch.cat([augment(x[i : i + 1], d[i : i + 1], **options) for i in range(6)])
    torch.testing.assert_close(alone, y)
