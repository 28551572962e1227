"""The training pictures of the model in use: which of them is nearest to a picture, and whether it is a near copy.

They are looked for in a thread, where the training found them. A model whose pictures are not on this machine may still
carry their codes (its sampler `parzen` does): then what is nearest is told from the codes, and shown as the model draws
it; what a near copy is cannot be told without the pictures.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.data.store.split import evenly_spaced
from betabloom.errors import BetabloomError, UsageError
from betabloom.generate.novel import Novelty
from betabloom.model.training_codes import training_codes
from betabloom.model.training_pictures import training_pictures

if TYPE_CHECKING:
    from collections.abc import Callable

    from betabloom.latent.space import Space
    from betabloom.model.generator import Generator

__all__ = ["Known", "Neighbour"]

MOST = 50_000  # training pictures that are compared with
WITHOUT = "Near copies cannot be told: the training pictures are not on this machine."


@dataclass(frozen=True)
class Neighbour:
    """The training picture that is nearest to a picture.

    Attributes:
        picture: It, or what the model draws for its code, uint8 (H, W, C).
        name: Of its file; "" if only its code is known.
        near_copy: Whether the picture is its near copy; None if that cannot be told.
        mirrored: Whether its mirror image is what is near.
    """

    picture: np.ndarray
    name: str = ""
    near_copy: bool | None = None
    mirrored: bool = False


@dataclass(frozen=True)
class _Found:
    """Training pictures, and what is a near copy of them."""

    pictures: np.ndarray
    rows: np.ndarray
    names: Any
    novelty: Novelty


class Known:
    """What is known of a model's training pictures.

    Arguments:
        model: The model.
        path: Where it is.
        space: Called for the space of its codes.
    """

    def __init__(self, model: Generator, path: str, space: Callable[[], Space]) -> None:
        self._model, self._space = model, space
        self._found: _Found | None = None
        self._codes = training_codes(path)
        self._looking = threading.Lock()
        self.sentence = "Looking for the training pictures …"
        self.state = "looking"

    def look(self, source: str | None = None) -> None:
        """Look for the pictures, in `source` or where the training had them.

        Raises:
            UsageError: They are being looked for already.
        """
        if not self._looking.acquire(blocking=False):
            raise UsageError("The training pictures are being looked for. Wait for the end of that.")
        self.state, self.sentence = "looking", "Looking for the training pictures …"
        threading.Thread(target=self._look, args=(source,), daemon=True).start()

    def _look(self, source: str | None) -> None:
        try:
            self._found = self._learned(source)
            count = len(self._found.rows)
            self.state, self.sentence = "found", f"Compared with {count:,} training pictures."
        except Exception as error:  # whatever it is, nobody is left looking
            remembered = self._codes is not None
            self.state = "remembered" if remembered else "absent"
            self.sentence = str(error) if source or not isinstance(error, BetabloomError) else WITHOUT
        finally:
            self._looking.release()

    def _learned(self, source: str | None) -> _Found:
        store, about = training_pictures(self._model, source), self._model.config.data
        train, held_out = store.split(about.split, about.holdout)
        if not len(held_out):
            raise UsageError("There is one training picture only: what a near copy is cannot be learned from it.")
        rows = evenly_spaced(train, MOST)
        few = store.pictures[evenly_spaced(held_out, MOST // 10)]
        return _Found(store.pictures, rows, store.names, Novelty.learned(store.pictures[rows], np.asarray(few)))

    def near_copies(self, pictures: np.ndarray) -> list[bool] | None:
        """Which pictures (N, H, W, C) are near copies of training pictures; None if that cannot be told."""
        found = self._found
        return None if found is None else [bool(each) for each in found.novelty.copies(pictures)]

    def nearest(self, codes: np.ndarray, pictures: np.ndarray) -> list[Neighbour] | None:
        """The nearest training picture of each picture; None if nothing is known of them.

        Arguments:
            codes: (N, l).
            pictures: Those that the codes stand for, uint8 (N, H, W, C).
        """
        found = self._found
        if found is None:
            return None if self._codes is None else self._remembered(codes)
        near = found.novelty.nearest(pictures)
        copies = found.novelty.limits.is_near_copy(near)
        rows = found.rows[near.index]
        return [
            Neighbour(np.asarray(found.pictures[row]), Path(str(found.names[row])).name, bool(copy), bool(mirrored))
            for row, copy, mirrored in zip(rows, copies, near.mirrored, strict=True)
        ]

    @cached_property
    def _whitened(self) -> np.ndarray:
        """The codes of the training pictures, whitened, (M, l)."""
        assert self._codes is not None  # noqa: S101  (for the type checker: `nearest` looked)
        return self._space().whiten(self._codes)

    def _remembered(self, codes: np.ndarray) -> list[Neighbour]:
        """The same from codes of training pictures: the nearest as whitened codes, as the model draws it."""
        known = self._whitened
        index = (np.square(known).sum(1) - 2 * self._space().whiten(codes) @ known.T).argmin(1)
        return [Neighbour(picture) for picture in self._model.decode(self._space().unwhiten(known[index]))]
