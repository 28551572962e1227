"""Progress: the time left is told rightly, and each kind of screen gets what it can show."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from betabloom.system import console


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def estimates(moments):
    """(time since the start, ETA, true time left) at every step of a piece of work whose steps end at `moments`."""
    clock = Clock()
    pace, total, told = console.Pace(clock), len(moments), []
    for done, moment in enumerate(moments, 1):
        clock.now = 1000.0 + moment
        told.append((moment, pace.left(done, total), moments[-1] - moment))
    return told


def steady(seconds, pace, jitter=0.0):
    rng = np.random.default_rng(0)
    steps = np.full(round(seconds / pace), pace)
    return steps * rng.uniform(1 - jitter, 1 + jitter, len(steps))


def with_pauses(steps, pause):
    """A validation after each tenth."""
    steps = steps.copy()
    steps[len(steps) // 10 :: len(steps) // 10] += pause
    return steps


RUNS = {
    "ten minutes": (steady(600, 0.1), 0.0),
    "slow steps": (steady(1200, 7.0), 0.0),
    "a day": (steady(86400, 30.0), 0.0),
    "uneven steps": (steady(600, 0.2, jitter=0.9), 0.0),
    "a slow first step": (np.r_[45.0, steady(600, 0.1)], 0.0),
    "pauses to validate": (with_pauses(steady(600, 0.2), 6.0), 6.0),
    "an hour with pauses": (with_pauses(steady(3600, 0.5), 30.0), 30.0),
}


@pytest.mark.parametrize("name", RUNS)
def test_after_the_first_minute_the_time_left_is_told_within_a_fifth(name):
    steps, pause = RUNS[name]
    told = [each for each in estimates(np.cumsum(steps)) if each[0] > 60 + steps[0]]
    assert len(told) > 50
    for _, left, true in told:
        assert abs(left - true) <= 0.2 * true + max(pause, 1), (left, true)  # the next pause is not foreseen


def test_when_the_pace_changes_the_time_left_follows():
    moments = np.cumsum(np.r_[steady(300, 0.1), steady(1200, 0.3)])
    told = estimates(moments)
    for moment, left, true in told:
        if moment > 2 * 300 + 1:  # the newer half of the time is all at the new pace
            assert left == pytest.approx(true, rel=0.02)


def test_nobody_knows_before_something_is_done():
    clock = Clock()
    pace = console.Pace(clock)
    assert pace.left(5, 100) is None  # a resumed run begins somewhere
    clock.now += 10
    assert pace.left(5, 100) is None
    assert pace.left(15, 0) is None
    assert pace.left(15, 100) == pytest.approx(85)


def test_a_pipe_gets_plain_lines(capsys, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(console.time, "monotonic", clock)
    monkeypatch.setattr(console.Pace.__init__, "__defaults__", (clock,))
    with console.progress("training") as report:
        for step in range(1, 101):
            clock.now += 1
            report(step, 100, "distortion 5")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[4] == "training  50/100 steps  50%  ETA 50s  distortion 5"
    assert not any("\x1b" in line or "\r" in line for line in lines)


def test_a_terminal_gets_a_bar(monkeypatch):
    import io

    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(console, "_shared", [])
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with console.progress("training") as report:
        for step in (1, 50, 100):
            report(step, 100, "distortion 5")
    assert "training" in screen.getvalue()
    assert "100%" in screen.getvalue()
    assert "━" in screen.getvalue()


def test_a_notebook_gets_a_bar_that_ends_full(monkeypatch):
    shown = []

    class Handle:
        def update(self, html):
            shown.append(html)

    def display(html, display_id):
        shown.append(html)
        return Handle()

    ipython, module = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    module.HTML, module.display = str, display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    with console.progress("training") as report:
        for step in range(1, 1001):
            report(step, 1000, "a < b")
    assert 1 <= len(shown) < 100  # not a thousand redrawings
    assert 'value="1000" max="1000"' in shown[-1]
    assert "a &lt; b" in shown[-1]
    ipython.get_ipython = lambda: None  # IPython is imported, but this is no notebook
    assert not console.in_notebook()
