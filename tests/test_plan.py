"""Progress: from 0 to 1, in steps or in seconds, never back."""

from __future__ import annotations

import pytest

from betabloom.training.plan import Plan


def test_steps_are_progress():
    plan = Plan(steps=50)
    values = []
    for step in range(60):
        plan.advance(step, seconds=1e6)
        values.append(plan.t)
    assert values == [min(1, step / 50) for step in range(60)]
    assert plan.expected_steps(3) == 50


@pytest.mark.parametrize(
    "pace",
    [lambda step: 0.1, lambda step: 0.1 if step < 300 else 0.5, lambda step: 0.2 - step / 1e4],
    ids=["steady", "slower", "faster"],
)
def test_a_budget_ends_in_time_whatever_the_pace(pace):
    plan, step, now = Plan(budget=120), 0, 0.0
    seen = []
    while plan.t < 1:
        now += pace(step)
        step += 1
        plan.advance(step, now)
        seen.append(plan.t)
        if step == 100:
            plan.reserve = 10
    assert now == pytest.approx(110, abs=0.6)
    assert seen == sorted(seen)
    assert plan.expected_steps(step) == step


@pytest.mark.parametrize(("pace", "ends"), [(1, 50), (4, 25)], ids=["steps are done first", "time is over first"])
def test_of_steps_and_a_budget_the_first_ends_it(pace, ends):
    plan, step = Plan(steps=50, budget=100), 0
    seen = []
    while plan.t < 1:
        step += 1
        plan.advance(step, seconds=pace * step)
        seen.append(plan.t)
        assert plan.expected_steps(step) == ends
    assert step == ends
    assert seen == pytest.approx([i / ends for i in range(1, ends + 1)])


def test_a_reserve_that_grows_does_not_turn_progress_back():
    plan = Plan(budget=100)
    plan.advance(1, 50)
    plan.reserve = -100
    plan.advance(2, 51)
    assert plan.t == 0.5


def test_a_steady_pace_foretells_the_steps():
    plan = Plan(budget=100)
    assert plan.expected_steps(0) == 0
    plan.advance(30, 10)
    assert plan.expected_steps(30) == 300


def test_what_came_before_the_first_step_is_not_the_pace_of_steps():
    """Forty seconds of preparing, then a step a second."""
    plan = Plan(budget=100)
    expected = []
    for step in range(1, 61):
        plan.advance(step, 40 + step)
        expected.append(plan.expected_steps(step))
    assert expected[1:] == [60] * 59
    again = Plan(**vars(plan))
    again.advance(61, 101)
    assert again.expected_steps(61) == 61


def test_schedules_begin_with_the_first_step_however_much_of_the_time_is_gone():
    plan = Plan(budget=100, begun=60)
    seen = []
    for step in range(1, 41):
        plan.advance(step, 60 + step)
        seen.append(plan.t)
    assert seen == pytest.approx([step / 40 for step in range(1, 41)])


def test_a_budget_that_is_gone_before_the_first_step_ends_after_it():
    plan = Plan(budget=100, begun=120)
    plan.advance(1, 121)
    assert plan.t == 1
