"""Pictures like a picture: nearest neighbours among codes."""

from __future__ import annotations

import numpy as np

from betabloom.errors import UsageError

__all__ = ["most_similar"]


def most_similar(code: np.ndarray, codes: np.ndarray, n: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """The places of the n codes that point most nearly in the same direction from their mean, and their cosines.

    Directions, not distances: codes of plain pictures lie near the mean, and so near to everything.

    Arguments:
        code: (l,).
        codes: (N, l), N ≥ 1.
        n: How many; at most N are returned.

    Returns:
        Places (n,), most similar first, and cosines (n,).

    Raises:
        UsageError: There are no codes, or they are of another length.
    """
    if codes.ndim != 2 or not len(codes) or codes.shape[1] != len(code):
        raise UsageError(f"Codes of shape (N, {len(code)}) are needed, not {codes.shape}.")
    middle = codes.mean(0)
    own, others = code - middle, codes - middle
    lengths = np.maximum(np.linalg.norm(own) * np.linalg.norm(others, axis=1), 1e-12)
    cosines = others @ own / lengths
    best = np.argsort(-cosines, kind="stable")[:n]
    return best, cosines[best]
