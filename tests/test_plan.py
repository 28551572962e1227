"""Plans: progress from 0 to 1, continuous whatever is corrected; budgets that become steps."""

from __future__ import annotations

import pytest

from betabloom import plan as planning
from betabloom.plan import Clock, Plan


def test_progress_goes_from_zero_to_one():
    plan = Plan(total=50)
    values = [plan.progress(step) for step in range(60)]
    assert values == sorted(values)
    assert values[0] == 0
    assert values[25] == pytest.approx(0.5)
    assert values[50:] == [1.0] * 10


def test_a_correction_changes_the_pace_but_not_the_place():
    plan = Plan()
    assert plan.progress(7) == 0  # not known yet
    plan.correct(10, 110)
    assert plan.progress(10) == 0
    assert plan.progress(60) == pytest.approx(0.5)
    plan.correct(60, 85)
    assert plan.progress(60) == pytest.approx(0.5)
    assert plan.progress(85) == 1


class Time:
    """A clock that is set by hand."""

    now = 0.0

    @classmethod
    def monotonic(cls) -> float:
        return cls.now


@pytest.mark.parametrize(
    "pace", [lambda step: 0.1, lambda step: 0.1 if step < 300 else 0.3, lambda step: 0.2 - step / 1e4]
)
def test_a_budget_is_met_on_a_machine_that_changes_its_pace(pace, monkeypatch):
    monkeypatch.setattr(planning, "time", Time)
    Time.now = 0.0
    clock, plan, step = Clock(120.0, 0), Plan(), 0
    while not plan.total or step < plan.total:
        Time.now += pace(step)
        step += 1
        clock.plan(plan, step, Time.now)
        if step % 200 == 0:
            clock.pause(lambda: setattr(Time, "now", Time.now + 1.0))
    assert Time.now <= 120
    assert Time.now > 0.85 * 120
    assert plan.progress(step) == 1
