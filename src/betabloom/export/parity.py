"""Whether what was exported computes what the model computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.errors import BetabloomError
from betabloom.seeds import base_noise

if TYPE_CHECKING:
    from collections.abc import Callable

    from betabloom.model.model import Model

    Run = Callable[[str, dict[str, np.ndarray]], list[np.ndarray]]

__all__ = ["CHECKED", "apart", "levels", "measured"]

CHECKED = 32  # pictures
LEVELS = 1  # grey levels by which a picture may differ from the model's
CODES = 1e-3  # by which a code may differ, in parts of the largest
LIMITS = {
    "generator_levels": LEVELS,
    "decoder_levels": LEVELS,
    "codes": CODES,
    "encoder_mean": CODES,
    "encoder_log_var": CODES,
}


def measured(model: Model, sampler: str, run: Run) -> dict[str, Any]:
    """How far an export is from the model: grey levels of pictures, and differences of codes (see `apart`).

    Arguments:
        model: The model.
        sampler: What the generator draws from.
        run: ("generator", "decoder" or "encoder", arrays by name) → what it makes of them.

    Raises:
        BetabloomError: Something is beyond `LIMITS`.
    """
    noise, choice = base_noise(0, CHECKED, model.config.model.latents)
    pictures, codes = run("generator", {"noise": noise, "choice": choice})
    (decoded,) = run("decoder", {"codes": codes})
    mean, log_var = run("encoder", {"pictures": pictures})
    expected_mean, expected_log_var = model.encode(pictures)
    found = {
        "generator_levels": levels(pictures, model.generate(CHECKED, 0, sampler=sampler)),
        "decoder_levels": levels(decoded, model.decode(codes)),
        "codes": apart(codes, model.draw(CHECKED, 0, sampler=sampler)),
        "encoder_mean": apart(mean, expected_mean),
        "encoder_log_var": apart(log_var, expected_log_var),
    }
    if off := [f"{name} {value:.3g}" for name, value in found.items() if not value <= LIMITS[name]]:
        told = ", ".join(off)
        raise BetabloomError(f"What was exported does not compute what the model computes ({told}). Nothing is kept.")
    return {"pictures": CHECKED, **found}


def levels(found: np.ndarray, expected: np.ndarray) -> int:
    """The largest difference of pictures in grey levels."""
    return int(np.abs(found.astype(int) - expected.astype(int)).max())


def apart(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference in parts of the largest number, at least 1; equal infinities do not differ."""
    different = found != expected
    if not different.any():
        return 0.0
    return float(np.abs(found - expected)[different].max() / max(1.0, float(np.abs(expected).max())))
