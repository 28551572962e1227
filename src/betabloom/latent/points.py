"""Codes from what a person names: picture files, code files, or numbers of a seed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from betabloom.errors import PictureError, UsageError
from betabloom.model.code_tables import holds_codes, read_codes
from betabloom.system.paths import guess_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from betabloom.model.generator import Generator

__all__ = ["Points", "is_seed", "points_of"]

SEED = re.compile(r"seed:(\d{1,18})(?:/(\d{1,12}))?")


@dataclass(frozen=True)
class Points:
    """Codes and what they are called.

    Attributes:
        codes: Float32 (N, l).
        names: What each was given as; code files name every picture in them.
    """

    codes: np.ndarray
    names: list[str]


def is_seed(text: str) -> bool:
    """Whether a text names a generated picture: "seed:7", or "seed:7/3" for picture 3 of seed 7."""
    return SEED.fullmatch(text) is not None


def points_of(model: Generator, given: Sequence[str]) -> Points:
    """The codes of what a person names.

    Arguments:
        model: The model that the codes are for.
        given: Each a picture file, a code file of this model (see `betabloom.model.code_tables`), or "seed:S" or
            "seed:S/I", picture I of seed S.

    Raises:
        UsageError: There is no such file, or a code file is of another model.
        FormatError: A code file holds no codes.
        PictureError: A picture cannot be read.
    """
    found = [_one(model, each) for each in given]
    if not found:
        raise UsageError("At least one picture file, code file or seed:NUMBER is needed.")
    return Points(np.concatenate([each.codes for each in found]), [name for each in found for name in each.names])


def _one(model: Generator, given: str) -> Points:
    if match := SEED.fullmatch(given):
        return Points(model.draw(1, int(match[1]), start=int(match[2] or 0)), [given])
    if given.startswith("seed:"):
        raise UsageError(f"{given} is no seed: write seed:7, or seed:7/3 for its picture 3, with at most 18 digits.")
    path = Path(given)
    if not path.is_file():
        raise UsageError(
            f"There is no file {given}.{guess_path(given)} Give picture files, code files (.npz, .csv, .parquet) or "
            "seeds (seed:7)."
        )
    if holds_codes(path):
        return _from_codes(model, given)
    try:
        picture = model.pipeline.load(path)
    except PictureError as error:
        raise PictureError(f"{given}: {error}") from error
    return Points(model.encode(picture[None])[0], [given])


def _from_codes(model: Generator, given: str) -> Points:
    stored = read_codes(given)
    if stored.model and stored.model != model.fingerprint:
        raise UsageError(f"{given} was written by model {stored.model}, and this model is {model.fingerprint}.")
    if (latents := stored.mean.shape[1]) != model.config.model.latents:
        raise UsageError(f"{given} has codes of {latents} numbers, and this model of {model.config.model.latents}.")
    return Points(stored.mean.astype(np.float32), list(stored.names))
