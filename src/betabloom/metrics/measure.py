"""What a measure returns: a number with its interval and sample sizes."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Measure", "interval", "of_mean", "of_share", "wilson"]


@dataclass(frozen=True)
class Measure:
    """One measured number.

    Attributes:
        name: What was measured.
        value: The estimate.
        low: Lower end of its 95 % interval.
        high: Upper end of it.
        n: Sample sizes by what was sampled, such as {"real": 5000, "generated": 2000}.
        method: Where the interval comes from.
        seed: Of what is random in the measure itself, or None if nothing is.
        warning: What to know before believing it; "" if nothing.
    """

    name: str
    value: float
    low: float
    high: float
    n: dict[str, int]
    method: str
    seed: int | None = None
    warning: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        return f"{self.name} {self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def interval(value: float, error: float, degrees: float = math.inf) -> tuple[float, float]:
    """95 % interval value ± t · error, with Student's t of the given degrees of freedom."""
    from scipy.special import stdtrit

    half = float(stdtrit(min(degrees, 1e9), 0.975)) * error
    return value - half, value + half


def of_mean(name: str, values: NDArray[Any], warning: str = "") -> Measure:
    """The mean of independent values (N,), one a picture, with its standard error."""
    n, value = len(values), float(np.mean(values, dtype=np.float64))
    error = float(np.std(values, ddof=1, dtype=np.float64)) / math.sqrt(n) if n > 1 else 0.0
    low, high = interval(value, error, max(n - 1, 1))
    warning = warning or ("" if n > 1 else "only one picture, so there is no interval")
    return Measure(name, value, low, high, {"pictures": n}, "standard error over pictures", warning=warning)


def of_share(name: str, hits: NDArray[Any], warning: str = "") -> Measure:
    """The share of independent pictures for which `hits` (N,) is true, with Wilson's interval."""
    share = float(np.mean(hits))
    low, high = wilson(share, len(hits))
    return Measure(name, share, low, high, {"pictures": len(hits)}, "Wilson", warning=warning)


def wilson(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a share of n: unlike value ± error it stays in [0, 1], and says something where the share is 0.

    Wilson 1927, https://doi.org/10.2307/2276774.
    """
    z = 1.959964
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(min(middle - half, share), 0.0), min(max(middle + half, share), 1.0)
