"""Schedules: known values at known places, and nothing outside."""

from __future__ import annotations

import pytest

from betabloom.errors import UsageError
from betabloom.vae.schedule import SCHEDULES, Constant, Cosine, Cyclical, LinearSchedule, make_schedule

GRID = [i / 200 for i in range(201)]


def test_constant_is_constant():
    assert {Constant(3.0)(t) for t in GRID} == {3.0}


@pytest.mark.parametrize("kind", [LinearSchedule, Cosine])
def test_warm_up_rises_from_start_to_end_and_stays(kind):
    schedule = kind(1.0, 5.0, until=0.4)
    values = [schedule(t) for t in GRID]
    assert values == sorted(values)
    assert schedule(0) == 1
    assert schedule(0.2) == pytest.approx(3)
    assert {schedule(t) for t in (0.4, 0.7, 1.0, 2.0)} == {5.0}


def test_cosine_is_flat_at_both_ends():
    schedule, linear = Cosine(0, 1), LinearSchedule(0, 1)
    assert schedule(0.01) < 0.1 * linear(0.01)
    assert 1 - schedule(0.99) < 0.1 * (1 - linear(0.99))


def test_cyclical_repeats_and_ends_at_its_value():
    schedule = Cyclical(2.0, cycles=4, ramp=0.5)
    for t in GRID[:40]:
        assert schedule(t) == pytest.approx(schedule(t + 0.25), abs=1e-9)
    assert schedule(0) == 0
    assert schedule(0.0625) == pytest.approx(1)
    assert schedule(0.2) == schedule(1) == 2


@pytest.mark.parametrize("kind", SCHEDULES)
def test_every_kind_ends_at_its_value_and_never_exceeds_it(kind):
    schedule = make_schedule(kind, 4.0, warmup=0.3)
    assert schedule(1.0) == 4
    assert all(0 <= schedule(t) <= 4 for t in GRID)


def test_no_warm_up_is_the_value_at_once():
    assert make_schedule("linear", 4.0, 0.0)(0.0) == 4


def test_unknown_kind_names_the_known_ones():
    with pytest.raises(UsageError, match="constant, linear, cosine, cyclical"):
        make_schedule("sawtooth", 1.0, 0.1)
