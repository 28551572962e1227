"""The samplers, one row each: how they are fitted, what tensors they are, and how codes are drawn from them.

To add one, write a density (a `betabloom.vae.prior.Prior`), its draw with NumPy, and a row in `SAMPLERS`: fitting,
choosing, saving, loading and generating look here. Nothing of torch is loaded before it is used.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from betabloom.samplers import fast_numpy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from betabloom.samplers.fast_numpy import Draw
    from betabloom.system.header import Entry
    from betabloom.vae.prior import Prior

__all__ = ["SAMPLERS", "FitData", "Sampler", "sampler_entries"]


@dataclass(frozen=True)
class FitData:
    """What samplers are fitted to.

    Attributes:
        mean: Posterior means μ of training pictures, shape (N, l).
        log_var: Their log-variances, shape (N, l).
        z: Samples of their q(z|x), shape (N, l).
        held_out: Samples of q(z|x) for held-out pictures, shape (M, l).
        seed: Of the fit.
        flow_steps: Training steps of a rectified flow; 0 for none.
    """

    mean: Tensor
    log_var: Tensor
    z: Tensor
    held_out: Tensor
    seed: int
    flow_steps: int


@dataclass(frozen=True)
class Sampler:
    """A kind of density that is fitted to codes.

    Attributes:
        fit: The density that fits best, in evaluation mode; None where this kind is not wanted or adds nothing.
        sizes: What is written into config.json beside the number of latents: the largest value by name.
        sizes_of: The same of a density.
        tensors: (latents, **sizes) → shape and type of each tensor by name, as `state_dict` and the file have them.
        density: Makes the density from its tensors by name.
        draw: NumPy arrays by name → a function of standard normal noise (n, l) and uniform choices (n,) that returns
            codes (n, l), as `Prior.sample` does.
        flaw: What is wrong with tensors of the right shapes, or "".
        by_likelihood: Whether the likelihood of held-out codes tells how good it is, and quickly.
        tune: Changes a density until its share of near copies of training pictures is small: (density, share).
    """

    fit: Callable[[FitData], Prior | None]
    sizes: Mapping[str, int]
    sizes_of: Callable[[Any], dict[str, int]]
    tensors: Callable[..., dict[str, Entry]]
    density: Callable[..., Prior] = field(repr=False)
    draw: Callable[[Mapping[str, Any]], Draw]
    flaw: Callable[[Mapping[str, Any]], str] = lambda tensors: ""
    by_likelihood: bool = False
    tune: Callable[[Any, Callable[[Prior], float]], None] | None = None


def _fit_gaussian(data: FitData) -> Prior:
    from betabloom.samplers.mixture import fit_mixture

    return fit_mixture(data.z, 1, data.seed).eval()


def _fit_mixture(data: FitData) -> Prior | None:
    from betabloom.samplers.mixture import fit_aggregate

    mixture = fit_aggregate(data.z, data.held_out, data.seed)
    return mixture if len(mixture.weight) > 1 else None


def _mixture(**tensors: Tensor) -> Prior:
    from betabloom.samplers.mixture import GaussianMixture

    return GaussianMixture(**tensors)


def _mixture_tensors(latents: int, components: int) -> dict[str, Entry]:
    shapes = {"weight": (components,), "mean": (components, latents), "factor": (components, latents, latents)}
    return {name: (shape, "F32") for name, shape in shapes.items()}


def _fit_parzen(data: FitData) -> Prior:
    from betabloom.samplers.parzen import fit_parzen

    return fit_parzen(data.mean, data.log_var)


def _parzen(**tensors: Tensor) -> Prior:
    from betabloom.samplers.parzen import Parzen

    return Parzen(**tensors)


def _parzen_tensors(latents: int, kernels: int, neighbours: int) -> dict[str, Entry]:
    return {
        "mean": ((kernels, latents), "F16"),
        "near": ((kernels, neighbours), "I32"),
        "spread": ((latents,), "F32"),
        "bandwidth": ((), "F32"),
    }


def _parzen_flaw(tensors: Mapping[str, Any]) -> str:
    near = tensors["near"]
    inside = int(near.min()) >= 0 and int(near.max()) < len(tensors["mean"])
    return "" if inside else "it names neighbours that are not there"


def _widen(density: Any, share: Callable[[Prior], float]) -> None:
    from betabloom.samplers.parzen import widen

    widen(density, share)


def _fit_flow(data: FitData) -> Prior | None:
    from betabloom.samplers.flow import fit_flow

    return fit_flow(data.mean, data.log_var, data.flow_steps, data.seed) if data.flow_steps else None


def _flow(**tensors: Tensor) -> Prior:
    from betabloom.samplers.flow import Flow

    return Flow(**tensors)


def _flow_tensors(latents: int, width: int, blocks: int) -> dict[str, Entry]:
    return {name: (shape, "F32") for name, shape in fast_numpy.flow_shapes(latents, width, blocks).items()}


_MIXTURE = Sampler(
    _fit_mixture,
    {"components": 1 << 24},
    lambda density: {"components": len(density.weight)},
    _mixture_tensors,
    _mixture,
    fast_numpy.draw_mixture,
    by_likelihood=True,
)
SAMPLERS: dict[str, Sampler] = {
    "gaussian": replace(_MIXTURE, fit=_fit_gaussian),
    "mixture": _MIXTURE,
    "parzen": Sampler(
        _fit_parzen,
        {"kernels": 1 << 24, "neighbours": 1 << 24},
        lambda density: {"kernels": len(density.mean), "neighbours": density.near.shape[1]},
        _parzen_tensors,
        _parzen,
        fast_numpy.draw_parzen,
        _parzen_flaw,
        tune=_widen,
    ),
    "flow": Sampler(
        _fit_flow,
        {"width": 1 << 16, "blocks": 1 << 10},
        lambda density: {"width": len(density.enter), "blocks": len(density.inner)},
        _flow_tensors,
        _flow,
        fast_numpy.draw_flow,
    ),
}
"""The samplers by name, in the order in which they are fitted."""


def sampler_entries(name: str, sizes: Mapping[str, Any], latents: int) -> dict[str, Entry]:
    """Shapes and types of the tensors of the sampler of that name with these sizes, by their names.

    Raises:
        ValueError: There is no such sampler.
    """
    if name not in SAMPLERS:
        raise ValueError(f"it has no sampler {name!r}")
    largest = SAMPLERS[name].sizes
    if sizes.keys() != largest.keys():
        raise ValueError(f"a sampler {name!r} with {', '.join(map(str, sizes)) or 'no sizes'}")
    for size, value in sizes.items():
        if type(value) is not int or not 1 <= value <= largest[size]:
            raise ValueError(f"a sampler with {value!r} {size}")
    return SAMPLERS[name].tensors(latents, **sizes)
