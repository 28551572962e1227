"""What the networks of `nn` and `flow` consist of, as data: layers with the names and shapes of their weights.

With it a program can check the file of a model, and draw its pictures, without torch. It knows the families `burgess`,
`conv` and `residual`, whose settings are those of `nn`; tests hold the two together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from betabloom.system.header import Entry

__all__ = ["FLOW_STEPS", "FREQUENCIES", "JITTER", "Layer", "decoder_layers", "flow_shapes", "vae_entries"]

Shape = tuple[int, int, int]
ENLARGER_BLOCKS = 4
HIDDEN = 256  # of the linear layers of `burgess`
FREQUENCIES = 8  # cosines and sines that tell a flow where on its path it is
JITTER = 1e-13  # part of the trace added to squares of Parzen windows: more than double rounds away, less than matters
FLOW_STEPS = 16  # from noise to code


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Attributes:
        kind: "linear", "conv", "transposed", "block" (residual), "view" (features to a map of `shape`), "shuffle",
            "silu", "relu", "enlarger", which has `parts`, or "other", which has no weights and no use for a decoder.
        before: Channels or features that come in.
        after: Channels or features that go out; of an enlarger those that it has within.
        kernel: Size of the kernel.
        shape: (C, H, W) of a view.
    """

    kind: str
    before: int = 0
    after: int = 0
    kernel: int = 1
    shape: Shape = (0, 0, 0)

    def entries(self, name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes of the weights of the layer of that name."""
        square = (self.kernel, self.kernel)
        if self.kind == "linear":
            yield from _with_bias(name, (self.after, self.before), self.after)
        elif self.kind == "conv":
            yield from _with_bias(name, (self.after, self.before, *square), self.after)
        elif self.kind == "transposed":
            yield from _with_bias(name, (self.before, self.after, *square), self.after)
        elif self.kind == "block":
            for part in ("1", "3"):
                yield from _with_bias(f"{name}.body.{part}", (self.after, self.before, *square), self.after)
        for part, layer in self.parts(name):
            yield from layer.entries(part)

    def parts(self, name: str) -> Named:
        """The layers of an enlarger of that name by their own names, in order; of others none."""
        if self.kind != "enlarger":
            return []
        width = self.after
        blocks = [Layer("block", width, width, 3)] * ENLARGER_BLOCKS
        body = [Layer("conv", self.before, width, 3), *blocks, SILU, Layer("conv", width, 4 * self.before, 3)]
        return _named(f"{name}.body", body)


def _with_bias(name: str, weight: tuple[int, ...], bias: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", weight
    yield f"{name}.bias", (bias,)


SILU, RELU, SHUFFLE, OTHER = Layer("silu"), Layer("relu"), Layer("shuffle"), Layer("other")
Networks = tuple[list[Layer], int, list[Layer]]
"""The encoder's body, its features, the decoder's body."""
Named = list[tuple[str, Layer]]


def _burgess(shape: Shape, latents: int, widths: Sequence[int], kernel: int) -> Networks:
    top = _top(shape, widths)
    features = math.prod(top)
    down = [*_strided(shape, widths, kernel, RELU), OTHER, Layer("linear", features, HIDDEN), RELU]
    down += [Layer("linear", HIDDEN, HIDDEN), RELU]
    up = [Layer("linear", latents, HIDDEN), RELU, Layer("linear", HIDDEN, HIDDEN), RELU]
    up += [Layer("linear", HIDDEN, features), RELU, Layer("view", shape=top)]
    return down, HIDDEN, [*up, *_transposed(shape, widths, kernel, RELU)]


def _conv(shape: Shape, latents: int, widths: Sequence[int], kernel: int) -> Networks:
    top = _top(shape, widths)
    features = math.prod(top)
    down = [OTHER, *_strided(shape, widths, kernel, SILU)]
    up = [Layer("linear", latents, features), Layer("view", shape=top), SILU]
    return down, features, [*up, *_transposed(shape, widths, kernel, SILU)]


def _residual(shape: Shape, latents: int, widths: Sequence[int], kernel: int) -> Networks:
    top = _top(shape, widths)
    features = math.prod(top)
    down = [OTHER]
    for before, after in zip([shape[0], *widths], widths, strict=False):
        down += [Layer("conv", before, after, 4), Layer("block", after, after, kernel)]
    up = [Layer("linear", latents, features), Layer("view", shape=top)]
    for before, after in zip(reversed(widths[1:]), reversed(widths[:-1]), strict=True):
        up += [Layer("block", before, before, kernel), Layer("conv", before, 4 * after), SHUFFLE]
    up += [Layer("block", widths[0], widths[0], kernel), SILU]
    up += [Layer("conv", widths[0], 4 * shape[0], kernel), SHUFFLE]
    return [*down, SILU], features, up


def _top(shape: Shape, widths: Sequence[int]) -> Shape:
    factor = 2 ** len(widths)
    return widths[-1], shape[1] // factor, shape[2] // factor


def _strided(shape: Shape, widths: Sequence[int], kernel: int, activation: Layer) -> list[Layer]:
    pairs = zip([shape[0], *widths], widths, strict=False)
    return [layer for before, after in pairs for layer in (Layer("conv", before, after, kernel), activation)]


def _transposed(shape: Shape, widths: Sequence[int], kernel: int, activation: Layer) -> list[Layer]:
    pairs = zip(reversed(widths), [*reversed(widths[:-1]), shape[0]], strict=True)
    layers = [layer for before, after in pairs for layer in (Layer("transposed", before, after, kernel), activation)]
    return layers[:-1]


@dataclass(frozen=True)
class _Family:
    """How networks of a family are made; default widths and kernel, and whether the kernel must be even."""

    make: Callable[[Shape, int, Sequence[int], int], Networks]
    widths: tuple[int, ...]
    kernel: int
    even: bool = True


FAMILIES = {
    "burgess": _Family(_burgess, (32, 32, 32, 32), 4),
    "conv": _Family(_conv, (32, 64, 128, 256), 4),
    "residual": _Family(_residual, (16, 32, 64, 128), 3, even=False),
}
LARGEST_KERNEL = 31


def _networks(
    family: str, shape: Shape, latents: int, widths: Sequence[int], kernel: int, enlargers: Sequence[int]
) -> tuple[Named, int, Named] | None:
    """The named layers of both networks, or None for what is unknown here or cannot be: `nn` says why."""
    times = 2 ** len(enlargers)
    if family not in FAMILIES or shape[1] % times or shape[2] % times or min((1, *enlargers)) < 1:
        return None
    kind = FAMILIES[family]
    shape = (shape[0], shape[1] // times, shape[2] // times)
    widths, kernel = tuple(widths) or kind.widths, kernel or kind.kernel
    step = 2 ** len(widths)
    possible = (
        shape[0] in (1, 3)
        and min(latents, *widths) >= 1
        and 2 <= kernel <= LARGEST_KERNEL
        and (kernel % 2 == 0) == kind.even
        and min(shape[1:]) >= step
        and shape[1] % step == shape[2] % step == 0
    )
    if not possible:
        return None
    down, features, up = kind.make(shape, latents, widths, kernel)
    after = [(f"decoder.enlargers.{i}", Layer("enlarger", shape[0], width, 3)) for i, width in enumerate(enlargers)]
    return _named("encoder.body", down), features, [*_named("decoder.body", up), *after]


def _named(name: str, layers: Sequence[Layer]) -> Named:
    return [(f"{name}.{i}", layer) for i, layer in enumerate(layers)]


def decoder_layers(
    family: str,
    shape: Shape,
    latents: int,
    widths: Sequence[int] = (),
    kernel: int = 0,
    enlargers: Sequence[int] = (),
) -> Named | None:
    """The layers of a decoder by their names in a model file, in order; None for a network that is unknown here.

    Arguments:
        family: A key of `betabloom.networks.build.FAMILIES`.
        shape: Picture shape (C, H, W).
        latents: Number of latent dimensions l.
        widths: Channels of each level; empty for the family's own.
        kernel: Kernel size; 0 for the family's own.
        enlargers: Channels of each enlarger.
    """
    networks = _networks(family, shape, latents, widths, kernel, enlargers)
    return None if networks is None else networks[2]


def vae_entries(
    family: str,
    shape: Shape,
    latents: int,
    widths: Sequence[int],
    kernel: int,
    likelihood: str,
    prior: str,
    components: int,
    half: bool,
    enlargers: Sequence[int] = (),
) -> dict[str, Entry] | None:
    """Shapes and types of all tensors of a model, by name; None for a network that is unknown here."""
    networks = _networks(family, shape, latents, widths, kernel, enlargers)
    if networks is None:
        return None
    down, features, up = networks
    found: dict[str, tuple[int, ...]] = {}
    for name, layer in (*down, *up):
        found.update(layer.entries(name))
    for head in ("mean", "log_var"):
        found.update(_with_bias(f"encoder.{head}", (latents, features), latents))
    if likelihood not in ("bernoulli", "continuous-bernoulli"):
        found["likelihood.log_scale"] = ()
    found.update(_prior_shapes(prior, shape, latents, components))
    return {name: (size, "F16" if half else "F32") for name, size in found.items()}


def _prior_shapes(prior: str, shape: Shape, latents: int, components: int) -> dict[str, tuple[int, ...]]:
    if prior in ("normal", "normal-learned"):
        return {"prior.mean": (latents,), "prior.log_var": (latents,)}
    if prior == "mixture":
        size = (components, latents)
        return {"prior.logits": (components,), "prior.means": size, "prior.log_vars": size}
    return {"prior.logits": (components, *shape)} if prior == "vamp" else {}


def flow_shapes(latents: int, width: int, blocks: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a rectified flow, by name: see `betabloom.samplers.flow`."""
    return {
        "mean": (latents,), "factor": (latents, latents), "enter": (width, latents), "enter_bias": (width,),
        "inner": (blocks, width, width), "time": (blocks, width, 2 * FREQUENCIES), "time_bias": (blocks, width),
        "outer": (blocks, width, width), "outer_bias": (blocks, width), "leave": (latents, width),
        "leave_bias": (latents,),
    }  # fmt: skip
