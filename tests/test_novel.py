"""Generating around near copies: which numbers are left, and that they name the same pictures."""

from __future__ import annotations

import numpy as np
import pytest

from betabloom.errors import BetabloomError, UsageError
from betabloom.generate.novel import AT_ONCE, Novelty, novel_pieces
from betabloom.seeds import numbers_text, parse_numbers, pieces_of


@pytest.fixture(scope="module")
def novelty(small_store):
    return Novelty.of(small_store, "auto", 0.2)


@pytest.fixture(scope="module")
def series(small_store):
    """A series in which every third picture is a training picture, mirrored if even; the others are noise."""
    train, _ = small_store.split("auto", 0.2)
    pictures = np.random.default_rng(0).integers(0, 256, (400, 16, 16, 3), dtype=np.uint8)
    for number in range(0, 400, 3):
        copy = small_store.pictures[train[number % len(train)]]
        pictures[number] = copy[:, ::-1] if number % 2 == 0 else copy
    return pictures


def joined(pieces):
    pieces = list(pieces)
    return np.concatenate([pictures for pictures, _ in pieces]), [i for _, numbers in pieces for i in numbers]


def test_copies_are_left_out_and_numbers_name_the_rest(series, novelty):
    draw = lambda first, count: series[first : first + count]  # noqa: E731
    pictures, numbers = joined(novel_pieces(draw, novelty, 90, start=4))
    assert numbers == [number for number in range(4, 400) if number % 3][:90]
    assert np.array_equal(pictures, series[numbers])
    again, same = joined(pieces_of(draw, numbers, at_once=2))
    assert same == numbers
    assert np.array_equal(again, pictures)


def test_the_pictures_that_were_held_out_are_no_copies(small_store, novelty):
    _, held_out = small_store.split("auto", 0.2)
    assert novelty.copies(np.asarray(small_store.pictures[held_out])).sum() <= 1


def test_a_model_that_only_copies_ends_with_a_sentence(small_store, novelty):
    train, _ = small_store.split("auto", 0.2)
    copies = np.resize(small_store.pictures[train], (AT_ONCE, 16, 16, 3))
    with pytest.raises(BetabloomError, match=r"Only 0 of .* memorised"):
        list(novel_pieces(lambda first, count: copies, novelty, 2))


def test_numbers_are_written_and_read():
    for numbers, text in (([0, 1, 2, 5], "0-2,5"), ([7], "7"), ([3, 4, 9, 10], "3-4,9-10"), ([5, 3], "5,3")):
        assert numbers_text(numbers) == text
        assert parse_numbers(text) == numbers
    for bad in ("", "a", "5-3", "-1", "1,,2", "1-2-3", "0-99999999"):
        with pytest.raises(UsageError):
            parse_numbers(bad)


def test_one_picture_is_not_enough_to_learn_from(small_store):
    single = type(small_store).from_array(np.asarray(small_store.pictures)[:1])
    with pytest.raises(UsageError, match="has only one picture"):
        Novelty.of(single, "auto", 0.1)
