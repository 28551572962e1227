"""Laws of splitting: nothing is lost, nothing is on both sides, nothing moves when pictures are added."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betabloom.data import Store
from betabloom.data.store.split import split_pictures
from betabloom.errors import UsageError

DIGESTS = np.random.default_rng(0).integers(0, 2**64, 2000, dtype=np.uint64)
OFFICIAL = {"train": np.arange(0, 500), "val": np.arange(500, 1000), "test": np.arange(1000, 2000)}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=12), st.floats(0.01, 0.99))
def test_disjoint_complete_and_neither_side_empty(digests: list[int], holdout: float) -> None:
    train, validation = split_pictures(np.array(digests, dtype=np.uint64), {}, "auto", holdout)
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(len(digests)))
    assert len(train) >= 1
    assert len(validation) >= (1 if len(digests) > 1 else 0)
    if len(set(digests)) > 1:
        assert not {digests[i] for i in train} & {digests[i] for i in validation}


def test_adding_pictures_never_moves_one() -> None:
    _, before = split_pictures(DIGESTS[:1000], {}, "auto", 0.1)
    _, after = split_pictures(DIGESTS, {}, "auto", 0.1)
    assert set(before) == {i for i in after if i < 1000}


def test_the_share_is_about_right() -> None:
    _, validation = split_pictures(DIGESTS, {}, "all", 0.1)
    assert abs(len(validation) - 200) < 4 * np.sqrt(2000 * 0.1 * 0.9)


def test_the_order_of_pictures_does_not_matter() -> None:
    order = np.random.default_rng(1).permutation(len(DIGESTS))
    _, validation = split_pictures(DIGESTS, {}, "auto", 0.2)
    _, shuffled = split_pictures(DIGESTS[order], {}, "auto", 0.2)
    assert set(DIGESTS[validation]) == set(DIGESTS[order][shuffled])


@pytest.mark.parametrize(
    ("train", "training", "validation"),
    [
        ("auto", ("train", "test"), ("val",)),
        ("train", ("train",), ("val",)),
        ("train+test", ("train", "test"), ("val",)),
        ("test", ("test",), ("val",)),
    ],
)
def test_official_splits(train: str, training: tuple[str, ...], validation: tuple[str, ...]) -> None:
    chosen, held = split_pictures(DIGESTS, OFFICIAL, train, 0.1)
    assert chosen.tolist() == sorted(np.concatenate([OFFICIAL[name] for name in training]).tolist())
    assert held.tolist() == sorted(np.concatenate([OFFICIAL[name] for name in validation]).tolist())


@pytest.mark.parametrize(
    ("train", "size"), [("all", 2000), ("train+val+test", 2000), ("train+val", 1000), ("val", 500)]
)
def test_where_val_is_trained_on_a_share_is_held_out(train: str, size: int) -> None:
    chosen, held = split_pictures(DIGESTS, OFFICIAL, train, 0.1)
    assert len(chosen) + len(held) == size
    assert 0 < len(held) < 0.2 * size


def test_unknown_splits_and_shares_are_named() -> None:
    with pytest.raises(UsageError, match="no split 'dev' to train on: choose from auto, all, train, val, test"):
        split_pictures(DIGESTS, OFFICIAL, "train+dev", 0.1)
    with pytest.raises(UsageError, match="have no official splits"):
        split_pictures(DIGESTS, {}, "train", 0.1)
    with pytest.raises(UsageError, match="'holdout' should be between 0 and 1"):
        split_pictures(DIGESTS, {}, "auto", 1.0)
    with pytest.raises(UsageError, match="no usable picture is in 'test'"):
        split_pictures(DIGESTS, {"test": np.arange(0)}, "test", 0.1)


def test_a_store_in_memory_splits_by_content() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 3), dtype=np.uint8)
    twice = Store.from_array(np.concatenate([pictures, pictures]))
    _, validation = twice.split(holdout=0.3)
    assert {i for i in validation if i < 50} == {i - 50 for i in validation if i >= 50}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 2**64 - 1), max_size=30),
    st.lists(st.integers(0, 2**64 - 1), max_size=30),
    st.floats(0.05, 0.95),
)
def test_adding_any_pictures_anywhere_never_moves_one_once_both_sides_have_some(
    digests: list[int], more: list[int], holdout: float
) -> None:
    """Below that, with pictures too few for the share, the nearest ones stand in: no rule could avoid that."""
    digests = [0, *digests, 2**64 - 1]  # one that is always held out, and one that never is
    _, before = split_pictures(np.array(digests, dtype=np.uint64), {}, "auto", holdout)
    _, after = split_pictures(np.array(more + digests, dtype=np.uint64), {}, "auto", holdout)
    assert set(before.tolist()) == {i - len(more) for i in after.tolist() if i >= len(more)}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=40), st.floats(0.05, 0.95))
def test_duplicates_are_on_one_side_unless_all_are_duplicates(kinds: list[int], holdout: float) -> None:
    digests = DIGESTS[kinds]
    train, validation = split_pictures(digests, {}, "all", holdout)
    if len(set(kinds)) > 1:
        assert not set(digests[train].tolist()) & set(digests[validation].tolist())
    else:
        assert validation.tolist() == [0]
