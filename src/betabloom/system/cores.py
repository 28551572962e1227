"""How many cores this process may use."""

from __future__ import annotations

import os

__all__ = ["cores"]


def cores(at_most: int | None = None) -> int:
    """How many cores this program may use, or `at_most` if that is less."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, at_most or usable)
