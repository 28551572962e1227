"""Drawn flowers: each factor moves one reading, measured from the picture alone, and leaves the others alone."""

from __future__ import annotations

import colorsys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates

from betabloom.data.sources.drawn import FACTORS, VERSION, Drawn, Factor, draw, sample_factors
from betabloom.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = [factor.name for factor in FACTORS]
BY_NAME = {factor.name: factor for factor in FACTORS}
CIRCULAR = {factor.name for factor in FACTORS if factor.kind == "circular"}
BASES = (
    dict(zip(NAMES, (6, 0.4, 0.30, 0.90, 0.20, 0.00, 0.00, 0.40), strict=True)),
    dict(zip(NAMES, (9, 0.8, 0.25, 0.02, 0.75, 0.07, -0.1, 0.05), strict=True)),
    dict(zip(NAMES, (4, 0.1, 0.33, 0.66, 0.50, -0.1, 0.05, 0.90), strict=True)),
)
# How far a reading may move while another factor sweeps its whole range, in the units of the reading.
TOLERANCE = {
    "petals": 0,
    "petal_shape": 0.06,
    "radius": 0.010,
    "hue": 0.01,
    "rotation": 0.03,
    "x": 0.004,
    "y": 0.004,
    "background": 0.02,
}
# Mean brightness of the first base at 64 pixels, in 4 × 4 blocks.
GOLDEN = [
    [181.2, 178.9, 176.1, 181.2],
    [169.1, 140.5, 145.3, 166.7],
    [157.1, 140.6, 136.4, 158.9],
    [156.2, 147.6, 148.1, 156.2],
]


def flower(picture: np.ndarray) -> np.ndarray:
    """How much each pixel is not the (shaded) background at the picture's left and right edge; about 1 on petals."""
    image = picture / 255
    edge = (image[:, :1] + image[:, -1:]) / 2
    shade = ((image * edge).sum(2) / (edge**2).sum(2)).clip(0, 1.1)
    rest = np.linalg.norm(image - shade[..., None] * edge, axis=2)
    return rest / np.median(rest[rest > 0.12])


def outline(mask: np.ndarray, row: float, column: float) -> np.ndarray:
    """The flower's extent in pixels along 720 directions, clockwise from the right."""
    angle = np.arange(720) * (2 * np.pi / 720)
    reach = np.arange(0, len(mask) * 0.6, 0.25)
    where = [row + np.outer(reach, np.sin(angle)), column + np.outer(reach, np.cos(angle))]
    inside = map_coordinates(mask, where, order=1) > 0.5
    return reach[len(reach) - 1 - inside[::-1].argmax(0)]


def readings(picture: np.ndarray) -> dict[str, float]:
    """One number for each factor, in its own unit where that is possible, from the picture alone."""
    side = len(picture)
    mask = flower(picture)
    rows, columns = np.mgrid[:side, :side]
    weight = (mask > 0.5).astype(float)
    row, column = (rows * weight).sum() / weight.sum(), (columns * weight).sum() / weight.sum()
    extent = outline(mask, row, column)
    waves = np.fft.rfft(extent - extent.mean())
    petals = 3 + int(np.abs(waves[3:13]).argmax())
    tips = extent.reshape(-1)[np.argsort(extent)[-24:]].mean()
    distance = np.hypot(rows - row, columns - column) / tips
    colours = picture[(distance > 0.62) & (distance < 0.8) & (mask > 0.8)] / 255
    hues = np.array([colorsys.rgb_to_hsv(*colour)[0] for colour in colours])
    corners = np.concatenate([picture[:4, :4], picture[:4, -4:], picture[-4:, :4], picture[-4:, -4:]])
    return {
        "petals": petals,
        "petal_shape": 1 - float((extent > 0.8 * tips).mean()),
        "radius": tips / side,
        "hue": float(np.angle(np.exp(2j * np.pi * hues).mean()) / (2 * np.pi)) % 1,
        "rotation": float(-np.angle(waves[petals]) / (2 * np.pi) + petals / 4) % 1,
        "x": (column + 0.5) / side - 0.5,
        "y": (row + 0.5) / side - 0.5,
        "background": 1 - float(corners.mean()) / 255,
    }


def gap(name: str, a: float, b: float) -> float:
    """The difference of two readings, around the circle where the factor is circular."""
    return (a - b + 0.5) % 1 - 0.5 if name in CIRCULAR else a - b


def sweep(name: str) -> np.ndarray:
    factor = BY_NAME[name]
    if factor.kind == "integer":
        return np.arange(factor.low, factor.high + 1)
    return np.linspace(factor.low, factor.high, 13)


@pytest.mark.parametrize("base", BASES, ids=["middle", "pointed", "round"])
@pytest.mark.parametrize("name", NAMES)
def test_moving_one_factor_moves_only_that_reading(name: str, base: dict[str, float]) -> None:
    still = readings(draw(base))
    moved = [readings(draw({**base, name: value})) for value in sweep(name)]
    steps = np.array([gap(name, b[name], a[name]) for a, b in pairwise(moved)])
    assert (steps > 0).all(), f"the reading of {name} should rise at every step, got {steps}"
    if name in CIRCULAR:
        assert steps.sum() == pytest.approx(1, abs=1e-6), "once around the circle"
    for other in set(NAMES) - {name}:
        worst = max(abs(gap(other, reading[other], still[other])) for reading in moved)
        assert worst <= TOLERANCE[other], f"{other} moved by {worst:.4f} with {name}"


def test_readings_recover_the_factors_of_random_flowers() -> None:
    for row in sample_factors(40, seed=4):
        truth, found = dict(zip(NAMES, row, strict=True)), readings(draw(row))
        assert found["petals"] == truth["petals"], truth
        for name, tolerance in {"x": 0.005, "y": 0.005, "radius": 0.012, "rotation": 0.05}.items():
            assert abs(gap(name, found[name], truth[name])) < tolerance, (name, found[name], truth)


@pytest.mark.parametrize("petals", range(3, 13))
def test_a_flower_looks_the_same_after_one_petal_spacing(petals: int) -> None:
    picture = draw({**BASES[0], "petals": petals}).astype(float)
    angle, middle = 2 * np.pi / petals, (len(picture) - 1) / 2
    rows, columns = np.mgrid[: len(picture), : len(picture)] - middle
    where = [
        rows * np.cos(angle) + columns * np.sin(angle) + middle,
        columns * np.cos(angle) - rows * np.sin(angle) + middle,
    ]
    turned = np.stack([map_coordinates(picture[..., channel], where, order=3) for channel in range(3)], axis=2)
    mask = flower(picture)
    petal = (mask > 0.9) & (map_coordinates(mask, where) > 0.9)
    difference = np.abs(turned - picture)[petal]
    assert petal.sum() > 1500
    assert difference.mean() < 2
    assert np.quantile(difference, 0.99) < 16


@pytest.mark.parametrize("name", sorted(CIRCULAR))
def test_a_circular_factor_ends_where_it_began(name: str) -> None:
    first, last = (draw({**BASES[1], name: end}).astype(int) for end in (0.0, 1.0))
    assert np.abs(first - last).max() <= 1


@pytest.mark.parametrize("base", BASES)
def test_small_and_large_pictures_agree(base: dict[str, float]) -> None:
    large = draw(base, 256).astype(float)
    for size, mean, most in [(128, 0.5, 4), (64, 1, 9), (32, 2, 20)]:
        shrunk = large.reshape(size, 256 // size, size, 256 // size, 3).mean((1, 3))
        difference = np.abs(shrunk - draw(base, size))
        assert difference.mean() < mean, size
        assert np.quantile(difference, 0.99) < most, size


def test_the_flower_never_touches_the_border() -> None:
    for petals, x, y in [(p, x, y) for p in (3, 4, 7, 12) for x in (-0.12, 0.12) for y in (-0.12, 0.12)]:
        picture = draw({**BASES[0], "petals": petals, "radius": 0.35, "x": x, "y": y}, 64).astype(int)
        frame = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        assert (frame.max(1) - frame.min(1)).max() < 60, "the background is pale, the petals are not"


def test_petal_shapes_differ_at_32_pixels() -> None:
    round_, pointed = (draw({**BASES[0], "petal_shape": end}, 32).astype(float) for end in (0, 1))
    assert np.abs(round_ - pointed).mean() > 5


def test_a_wide_picture_shows_the_same_flower() -> None:
    square, wide = draw(BASES[0], 64), draw(BASES[0], (64, 96))
    assert wide.shape == (64, 96, 3)
    assert np.abs(wide[16:48, 32:64].astype(int) - square[16:48, 16:48]).max() <= 3
    assert draw(BASES[0], 1).shape == (1, 1, 3)


def test_the_same_factors_give_the_same_bytes() -> None:
    row = np.array([BASES[1][name] for name in NAMES])
    assert draw(row, 48).tobytes() == draw(BASES[1], 48).tobytes() == draw(row, 48).tobytes()


def test_the_drawing_is_the_one_its_version_names() -> None:
    """If this fails because the drawing was changed on purpose, raise VERSION and put the new numbers here."""
    blocks = draw(BASES[0], 64).reshape(4, 16, 4, 16, 3).mean((1, 3, 4))
    assert VERSION == 1
    np.testing.assert_allclose(blocks, GOLDEN, atol=0.5)


def test_samples_fill_their_ranges_and_begin_alike() -> None:
    table = sample_factors(600, seed=5)
    assert table.shape == (600, 8)
    assert table.dtype == np.float64
    np.testing.assert_array_equal(table[:100], sample_factors(100, seed=5))
    np.testing.assert_array_equal(table[40:90], sample_factors(50, seed=5, start=40))
    assert not np.array_equal(table, sample_factors(600, seed=6))
    assert sample_factors(0, seed=5).shape == (0, 8)
    for factor, column in zip(FACTORS, table.T, strict=True):
        span = factor.high - factor.low
        assert factor.low <= column.min() < factor.low + 0.05 * span
        assert factor.high - 0.05 * span < column.max() <= factor.high
    assert set(table[:, 0]) == set(range(3, 13))
    assert np.abs(np.corrcoef(table.T) - np.eye(8)).max() < 0.15


@pytest.mark.parametrize("factor", FACTORS, ids=NAMES)
def test_a_factor_out_of_range_is_named_with_its_range(factor: Factor) -> None:
    for value in (factor.low - 0.01, factor.high + 0.01, float("nan")):
        with pytest.raises(UsageError, match=rf"'{factor.name}' should be .*from {factor.low:g} to {factor.high:g}"):
            draw({**BASES[0], factor.name: value})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw({**BASES[0], "petals": 4.5}), "'petals' should be a whole number from 3 to 12, got 4.5"),
        (lambda: draw({"hue": 0.5}), "missing or unknown: background, petal_shape"),
        (lambda: draw({**BASES[0], "scent": 1.0}), "missing or unknown: scent"),
        (lambda: draw(np.zeros(7)), r"shape \(8,\), got \(7,\)"),
        (lambda: draw(BASES[0], 0), "'size' should be"),
        (lambda: sample_factors(-1, seed=0), "'count' should be 0 or more, got -1"),
        (lambda: sample_factors(1, seed=-2), "'seed' should be 0 or more, got -2"),
        (lambda: Drawn(count=0), "'count' should be 1 or more, got 0"),
        (lambda: Drawn(size=-4), "'size' should be"),
    ],
)
def test_wrong_use_is_explained(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_the_source_draws_what_its_factors_say() -> None:
    source = Drawn(count=20, seed=7, size=(24, 32))
    assert (source.name, len(source), source.splits) == ("drawn", 20, {})
    assert list(source.names[:2]) == ["drawn-0000000", "drawn-0000001"]
    assert len(set(source.names)) == 20
    assert source.labels.dtype == np.int64
    assert [source.label_names[label] for label in source.labels] == [f"{int(n)} petals" for n in source.factors[:, 0]]
    picture = source.read(3)
    assert isinstance(picture, Image.Image)
    assert (picture.mode, picture.size) == ("RGB", (32, 24))
    np.testing.assert_array_equal(np.asarray(picture), draw(source.factors[3], (24, 32)))


def test_the_source_can_be_read_from_many_threads() -> None:
    source = Drawn(count=24, size=32)
    alone = [source.read(index).tobytes() for index in range(24)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda index: source.read(index).tobytes(), range(24)))
    assert together == alone


def test_the_fingerprint_tells_sources_apart() -> None:
    same = Drawn(count=5, seed=1, size=32).fingerprint()
    assert same == Drawn(count=5, seed=1, size=(32, 32)).fingerprint()
    others = [Drawn(6, 1, 32), Drawn(5, 2, 32), Drawn(5, 1, 64), Drawn(5, 1, (32, 64))]
    assert len({same, *(source.fingerprint() for source in others)}) == 5
