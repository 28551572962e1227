"""Signals are requests: heard once, heard where Python would drop them, and gone afterwards."""

from __future__ import annotations

import signal
import sys
import threading
import time
import weakref

import pytest

from betabloom.system.signals import Interrupted, stop_requests


class Thing:
    """What can be let go of."""


def let_go_while(number: int) -> None:
    """Raise a signal while Python calls back for an object that goes."""
    thing = Thing()
    _kept = weakref.ref(thing, lambda _: signal.raise_signal(number))
    del thing


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_request_that_python_drops_is_heard_a_little_later_and_nothing_is_printed(name, capsys):
    heard = []

    def stopped() -> None:
        with stop_requests() as stop, stop.leaving_at_once("all is saved"):
            let_go_while(getattr(signal, name))
            heard.append(stop.asked)  # nothing was raised yet
            time.sleep(60)
            heard.append("waited in vain")

    with pytest.raises(Interrupted, match="all is saved"):
        stopped()
    assert heard == [True]
    assert "Traceback" not in capsys.readouterr().err


def test_a_request_that_was_dropped_does_not_come_when_all_is_over():
    before = signal.getsignal(signal.SIGTERM), sys.unraisablehook
    with stop_requests() as stop:
        stop.at_once = "all is saved"
        let_go_while(signal.SIGTERM)
        assert stop.asked
    time.sleep(0.2)
    assert (signal.getsignal(signal.SIGTERM), sys.unraisablehook) == before
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


def test_what_else_is_dropped_is_told_as_ever(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)

    def fail(_: object) -> None:
        raise ValueError

    with stop_requests():
        thing = Thing()
        _kept = weakref.ref(thing, fail)
        del thing
    assert [type(about.exc_value) for about in told] == [ValueError]


def test_the_first_request_waits_until_all_is_saved():
    with stop_requests() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.asked
        with pytest.raises(Interrupted, match="saved"), stop.leaving_at_once("saved"):
            pytest.fail("it was asked for before")


def test_after_what_need_not_wait_a_request_waits_again():
    with stop_requests() as stop:
        with stop.leaving_at_once("saved"):
            pass
        signal.raise_signal(signal.SIGTERM)
        assert stop.asked
