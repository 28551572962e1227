"""The codes of a model's training pictures, where its sampler `parzen` keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from betabloom.model.directory import read_description
from betabloom.samplers.table import sampler_entries
from betabloom.system.header import check_file

if TYPE_CHECKING:
    import os

__all__ = ["training_codes"]

KEEPS = "parzen"


def training_codes(path: str | os.PathLike[str] | None = None) -> np.ndarray | None:
    """Codes (N, l), float32, of the pictures that a model was trained on; None if it does not keep them.

    Arguments:
        path: As for `betabloom.load`.

    Raises:
        UsageError: There is no model there.
        FormatError: There is one, but it is damaged, foreign or of a newer version.
    """
    from safetensors import safe_open

    about = read_description(path)
    if KEEPS not in about.samplers:
        return None
    file = about.base / f"sampler-{KEEPS}.safetensors"
    entries = sampler_entries(KEEPS, about.samplers[KEEPS], about.config.model.latents)
    check_file(file, entries, about.digests.get(KEEPS, ""))
    with safe_open(file, "numpy") as opened:
        codes: np.ndarray = opened.get_tensor("mean").astype(np.float32)
    return codes
