"""Which pictures to train on and which to hold out, the same on every machine and for every order of files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from betabloom.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["chosen_rows", "evenly_spaced", "split_pictures"]


def split_pictures(
    digests: np.ndarray, official: Mapping[str, np.ndarray], train: str, holdout: float
) -> tuple[np.ndarray, np.ndarray]:
    """Choose training and validation pictures.

    Arguments:
        digests: A content hash of each picture, uint64, shape (N,).
        official: Official splits as {name: indices}.
        train: "auto", "all", or names of official splits joined by "+"; see `Store.split`.
        holdout: The share, in (0, 1), to validate on where no official split serves.

    Returns:
        Two sorted arrays of int64 indices that share no picture.

    Raises:
        UsageError: A split is not known or empty, or `holdout` is not a share.
    """
    if not 0 < holdout < 1:
        raise UsageError(f"'holdout' should be between 0 and 1, not {holdout!r}")
    everything = np.arange(len(digests), dtype=np.int64)
    if train == "all" or (train == "auto" and not len(official.get("val", ()))):
        return _by_content(digests, everything, holdout)
    if train == "auto":
        chosen, validation = np.setdiff1d(everything, official["val"]), np.sort(official["val"])
    else:
        names = [_known(name.strip(), official) for name in train.split("+")]
        chosen = np.unique(np.concatenate([official[name] for name in names]))
        validation = np.setdiff1d(official.get("val", everything[:0]), chosen)
        if not len(chosen):
            raise UsageError(f"no usable picture is in '{train}': choose another split, or `all`")
    if len(chosen) and len(validation):
        return chosen.astype(np.int64), validation.astype(np.int64)
    return _by_content(digests, chosen if len(chosen) else everything, holdout)


def _known(name: str, official: Mapping[str, np.ndarray]) -> str:
    if name in official:
        return name
    choices = ["auto", "all", *official]
    hint = "" if official else "; these pictures have no official splits"
    raise UsageError(f"there is no split '{name}' to train on: choose from {', '.join(choices)}{hint}")


def _by_content(digests: np.ndarray, chosen: np.ndarray, holdout: float) -> tuple[np.ndarray, np.ndarray]:
    """Hold out the pictures whose digest lies below `holdout` of its range: equal pictures stay together.

    If that leaves a side empty, it gets the pictures with the digest nearest to it; if all are equal, the first one is
    held out. A single picture is trained on.
    """
    own = digests[chosen]
    held = own.astype(np.float64) < holdout * 2.0**64
    if len(chosen) > 1 and not held.any():
        held = own == own.min()
    elif len(chosen) > 1 and held.all():
        held = own != own.max()
    if len(chosen) > 1 and held.all() | ~held.any():
        held = np.arange(len(chosen)) == 0
    if len(chosen) == 1:
        held[:] = False
    return chosen[~held], chosen[held]


def evenly_spaced(rows: np.ndarray, count: int) -> np.ndarray:
    """At most `count` rows, evenly spread, so that every class of a sorted source is among them."""
    chosen: np.ndarray = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]
    return chosen


def chosen_rows(rows: np.ndarray, count: int | None = None, seed: int | None = None) -> np.ndarray:
    """At most `count` rows, or all: evenly spread, or shuffled with a seed."""
    count = len(rows) if count is None else min(count, len(rows))
    if seed is None:
        return evenly_spaced(rows, count)
    return np.random.default_rng(seed).permutation(rows)[:count]
