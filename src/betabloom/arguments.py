"""What callers pass, checked where it comes in: a wrong kind of value ends as a `UsageError` that says what to pass."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from betabloom.errors import UsageError

__all__ = ["number", "path_of", "whole_number"]


def path_of(value: Any, name: str) -> Path:
    """A path, given as text or as one.

    Raises:
        UsageError: It is something else.
    """
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise UsageError(f"{name} should be a path, not {_described(value)}.")
    return Path(value)


def whole_number(value: Any, name: str, least: int = 0, most: int = 2**63 - 1) -> int:
    """A whole number from `least` to `most`, of Python or of NumPy.

    Raises:
        UsageError: It is something else.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or getattr(value, "shape", ()) != ():
        raise UsageError(f"{name} should be a whole number, not {_described(value)}.")
    if not least <= value.__index__() <= most:
        raise UsageError(f"{name} should be a whole number from {least} to {most}, not {value}.")
    return int(value)


def number(value: Any, name: str, least: float = 0.0, above: bool = False) -> float:
    """A finite number of at least `least`, or with `above` one that is larger.

    Raises:
        UsageError: It is something else.
    """
    try:
        found = math.nan if isinstance(value, str | bytes | bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not least <= found < math.inf or (above and found == least):
        kind = "positive number" if above and not least else f"number of at least {least:g}"
        raise UsageError(f"{name} should be a {kind}, not {_described(value)}.")
    return found


def _described(value: Any) -> str:
    """A short value as it is written, another by its type."""
    if value is None or isinstance(value, int | float) or (isinstance(value, str) and len(value) < 40):
        return repr(value)
    return type(value).__name__
