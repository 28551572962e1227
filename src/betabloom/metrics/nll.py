r"""How likely held-out pictures are, in nats per image: bounds from importance weights.

With log weights w_k = log p(x|z_k) + log p(z_k) − log q(z_k|x), z_k ~ q(z|x), of K samples,

    ELBO = E w_1 = −D − R  ≤  E log (1/K) Σ_k exp w_k  ≤  log p(x),

and the middle one, the importance-weighted bound, grows with K (Burda, Grosse & Salakhutdinov 2015,
https://arxiv.org/abs/1509.00519, theorem 1). K = 1 is the ELBO.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from betabloom.metrics.measure import Measure, of_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["bounds", "importance_bound"]


def importance_bound(log_weights: np.ndarray) -> np.ndarray:
    """log (1/K) Σ_k exp w_k for log weights (K, N): one bound a picture, (N,), in nats."""
    w = np.asarray(log_weights, np.float64)
    top = w.max(0)
    bound: np.ndarray = top + np.log(np.exp(w - top).mean(0))
    return bound


def bounds(log_weights: np.ndarray, samples: Sequence[int] = ()) -> list[Measure]:
    """The ELBO, and importance-weighted bounds, of log weights (K, N): means over pictures, in nats per image.

    Arguments:
        log_weights: From K samples of each of N pictures.
        samples: Numbers of samples ≤ K to find the bound for; K alone if left out. All of the K samples are
            used for each: the bound is averaged over as many groups as there are.
    """
    count = len(log_weights)
    measures = [of_mean("elbo", np.asarray(log_weights, np.float64).mean(0))]
    for size in samples or (count,):
        groups = [log_weights[first : first + size] for first in range(0, count - size + 1, size)]
        measures.append(of_mean(f"bound_{size}", np.mean([importance_bound(group) for group in groups], 0)))
    return measures
