"""Likelihoods and priors in NumPy, as far as generation needs them: the mean of p(x|η), and draws of p(z).

One that is not in these tables is left to torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["LIKELIHOODS", "PRIORS", "as_codes", "component", "pictures_of"]

Array = np.ndarray
FARTHEST = 1e9  # of a code: no model has codes there, and a network computes with them without an overflow


@dataclass(frozen=True)
class NumpyLikelihood:
    """The mean of a likelihood.

    Attributes:
        mean: (η, scale) → E[x|η], of the shape of η.
        has_scale: Whether the model file has its `likelihood.log_scale`.
    """

    mean: Callable[[Array, np.float32], Array]
    has_scale: bool = True


@dataclass(frozen=True)
class NumpyPrior:
    """Draws of a prior.

    Attributes:
        tensors: (latents, components) → shapes of its tensors in the model file by name.
        draw: Tensors, float32, by name → a function of standard normal noise (n, l) and uniform choices (n,) that
            returns codes (n, l).
    """

    tensors: Callable[[int, int], dict[str, tuple[int, ...]]]
    draw: Callable[[Mapping[str, Array]], Callable[[Array, Array], Array]]


def as_codes(values: Any, latents: int) -> Array:
    """Codes as float32 (N, latents), in whatever form they are given.

    Raises:
        UsageError: There are none, they have another shape, or not all are numbers up to ±`FARTHEST`.
    """
    try:
        codes = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UsageError("Codes should be an array of numbers, with as many in each row.") from error
    if codes.ndim != 2 or codes.shape[1] != latents or not len(codes) or codes.dtype.kind not in "fiu":
        kind = "" if codes.dtype.kind in "fiu" else f" of {codes.dtype}"
        raise UsageError(f"This model decodes codes of shape (N, {latents}), not {codes.shape}{kind}.")
    if not ((codes >= -FARTHEST) & (codes <= FARTHEST)).all():
        raise UsageError(f"The codes contain NaN, infinite values or numbers beyond ±{FARTHEST:,.0f}.")
    return np.ascontiguousarray(codes, np.float32)


def pictures_of(likelihood: NumpyLikelihood, log_scale: float) -> Callable[[Array], Array]:
    """E[x|η] as uint8: rounded to the nearest level, as `inference.to_pictures` does."""
    scale = np.float32(np.exp(np.float32(log_scale)))

    def pictures(eta: Array) -> Array:
        x: Array = np.clip(likelihood.mean(eta, scale), 0, 1)
        x *= 255
        levels: Array = np.rint(x, out=x).astype(np.uint8)
        return levels

    return pictures


def _sigmoid(x: Array, scale: np.float32) -> Array:
    y: Array = np.negative(x)
    np.exp(y, out=y)
    y += 1
    np.reciprocal(y, out=y)
    return y


def _softplus(x: Array) -> Array:
    y: Array = np.logaddexp(np.float32(0), x)
    return y


def _discretised_logistic(eta: Array, scale: np.float32) -> Array:
    """E[x] of `likelihood.DiscretisedLogistic`."""
    mu = _sigmoid(eta, scale)
    x: Array = scale * (_softplus(mu / scale) - _softplus((mu - 1) / scale))
    return x


def _continuous_bernoulli(eta: Array, scale: np.float32) -> Array:
    """E[x] of `likelihood.ContinuousBernoulli`."""
    small = np.abs(eta) < 0.1
    safe = np.where(small, np.float32(1), eta)
    away = 0.5 + 0.5 / np.tanh(safe / 2) - 1 / safe
    x: Array = np.where(small, 0.5 + eta / 12 - eta**3 / 720, away)
    return x


LIKELIHOODS = {
    "bernoulli": NumpyLikelihood(_sigmoid, has_scale=False),
    "continuous-bernoulli": NumpyLikelihood(_continuous_bernoulli, has_scale=False),
    "discretised-logistic": NumpyLikelihood(_discretised_logistic),
    **dict.fromkeys(
        ("gaussian", "gaussian-learned", "gaussian-optimal", "laplace", "laplace-learned"), NumpyLikelihood(_sigmoid)
    ),
}
"""By the names of `betabloom.vae.likelihood.LIKELIHOODS`."""


def component(weight: Array, choice: Array) -> Array:
    """On which component, of these weights (K,), each choice falls."""
    edges = weight.astype(np.float64).cumsum()
    k: Array = np.minimum(np.searchsorted(edges, choice), len(edges) - 1)
    return k


def _normal(found: Mapping[str, Array]) -> Callable[[Array, Array], Array]:
    mean, std = found["prior.mean"], np.exp(0.5 * found["prior.log_var"])
    return lambda noise, choice: mean + std * noise


def _mixture(found: Mapping[str, Array]) -> Callable[[Array, Array], Array]:
    logits, means, log_vars = found["prior.logits"], found["prior.means"], found["prior.log_vars"]
    weight = np.exp(logits - logits.max(), dtype=np.float64)

    def draw(noise: Array, choice: Array) -> Array:
        k = component(weight / weight.sum(), choice)
        codes: Array = means[k] + np.exp(0.5 * log_vars[k]) * noise
        return codes

    return draw


_NORMAL = NumpyPrior(lambda latents, components: {"prior.mean": (latents,), "prior.log_var": (latents,)}, _normal)
PRIORS = {
    "standard": NumpyPrior(lambda latents, components: {}, lambda found: lambda noise, choice: noise),
    "normal": _NORMAL,
    "normal-learned": _NORMAL,
    "mixture": NumpyPrior(
        lambda latents, components: {
            "prior.logits": (components,),
            "prior.means": (components, latents),
            "prior.log_vars": (components, latents),
        },
        _mixture,
    ),
}
"""By the names of `betabloom.vae.prior.PRIORS`; `vamp` needs the encoder."""
