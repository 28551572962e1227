"""Networks as data: the one place where families are written.

A `Network` lists the layers of an encoder and a decoder, in order. `build` makes torch modules from it; `fast_torch`
and `fast_numpy` draw pictures with it; any other program that executes the layers in order draws the same pictures.
This module needs nothing but the standard library.

| family | what it is | default widths | sizes |
|---|---|---|---|
| `seed` | 5×5 stride-1 convolutions, GELU, transposed back: the student project's network | 16, 32 | any from 9 |
| `burgess` | 4×4 strided convolutions, two linear layers, ReLU: the disentanglement papers' | 4 × 32 | ×16 |
| `conv` | one 4×4 strided convolution a level, SiLU, mirrored | 32, 64, 128, 256 | ×16 |
| `residual` | strided convolution and residual block a level, pixel shuffle upwards | 16, 32, 64, 128 | ×16 |

Widths are the channels of each level; more or fewer of them make deeper or shallower networks. "×16" means multiples of
2^levels. A head after a decoder corrects what it draws at full size; each enlarger after that doubles the size.

The kinds of layers, with x (B, C, H, W) or features (B, F), weights W and bias b:

| kind | what it computes | tensors |
|---|---|---|
| `linear` | x Wᵀ + b | W (F', F), b (F') |
| `conv` | cross-correlation with zeros beyond the edge, as torch's `Conv2d` | W (C', C, k, k), b (C') |
| `transposed` | its transpose, as torch's `ConvTranspose2d` | W (C, C', k, k), b (C') |
| `flatten`, `view` | (B, C, H, W) → (B, C·H·W), and back to `shape` | |
| `shuffle` | (B, 4C, H, W) → (B, C, 2H, 2W), as torch's `PixelShuffle(2)` | |
| `relu`, `silu`, `gelu` | max(x, 0); x · sigmoid(x); x · Φ(x), approximated with tanh | |
| `centre` | 2x − 1 | |
| `residual` | x + the result of its `layers` | those of its layers |
| `enlarger` | shuffle(x, each channel four times, + the result of its `layers` for tanh(x / 2)) | those of its layers |

To add a family, write a function like `_conv` and a row in `FAMILIES`: everything else follows. A layer of a new kind
is one more row in `betabloom.networks.build.MODULES`; `benchmarks/peers.py` is an example of both.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from betabloom.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = ["FAMILIES", "Family", "Layer", "Named", "Network", "Shape", "make_network"]

Shape = tuple[int, int, int]
LARGEST_KERNEL = 31
ENLARGER_BLOCKS = 4
HEAD_KERNEL = 3
HIDDEN = 256  # features of the linear layers of `burgess`


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Attributes:
        kind: One of the table above.
        inputs: Channels or features that come in; of layers without weights 0.
        outputs: Channels or features that go out.
        kernel: Side k of the kernel.
        stride: Step of the kernel.
        padding: Zeros around what comes in; of `transposed` what is cut off from what goes out.
        shape: (C, H, W) of a `view`.
        layers: What a `residual` or an `enlarger` consists of.
        init: How weights begin: "default" as torch has it, "zero", or "equal", the four pixels of a following
            `shuffle` alike.
    """

    kind: str
    inputs: int = 0
    outputs: int = 0
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    shape: Shape = (0, 0, 0)
    layers: tuple[Layer, ...] = ()
    init: str = "default"

    def parts(self, name: str) -> Named:
        """The layers within a layer of that name, each by its own name."""
        return _named(f"{name}.body", self.layers)

    def tensors(self, name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes of the weights of a layer of that name, as a model file has them."""
        square = (self.kernel, self.kernel)
        weights = {
            "linear": (self.outputs, self.inputs),
            "conv": (self.outputs, self.inputs, *square),
            "transposed": (self.inputs, self.outputs, *square),
        }
        if self.kind in weights:
            yield f"{name}.weight", weights[self.kind]
            yield f"{name}.bias", (self.outputs,)
        for part, layer in self.parts(name):
            yield from layer.tensors(part)

    def shape_after(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of what goes out, for one picture: (C, H, W) or (F,)."""
        k, s, p = self.kernel, self.stride, self.padding
        if self.kind == "linear":
            return (self.outputs,)
        if self.kind == "flatten":
            return (math.prod(shape),)
        if self.kind == "view":
            return self.shape
        if self.kind == "conv":
            return (self.outputs, *((side + 2 * p - k) // s + 1 for side in shape[1:]))
        if self.kind == "transposed":
            return (self.outputs, *(s * (side - 1) + k - 2 * p for side in shape[1:]))
        if self.kind in ("shuffle", "enlarger"):
            channels = shape[0] if self.kind == "enlarger" else shape[0] // 4
            return (channels, *(2 * side for side in shape[1:]))
        return shape


Named = list[tuple[str, Layer]]
"""Layers with the names that their weights begin with in a model file."""
RELU, SILU, GELU, SHUFFLE, FLATTEN, CENTRE = map(Layer, ("relu", "silu", "gelu", "shuffle", "flatten", "centre"))


def _named(name: str, layers: Iterable[Layer]) -> Named:
    return [(f"{name}.{i}", layer) for i, layer in enumerate(layers)]


@dataclass(frozen=True)
class Network:
    """An encoder and a decoder.

    The encoder halves pictures `len(enlargers)` times, by means of 2×2 pixels, applies its layers, flattens the result
    to F features, and applies one linear layer for each *head*, such as the mean μ and log σ² of codes.

    Attributes:
        shape: (C, H, W) of the pictures.
        latents: l, the length of codes.
        encoder: Layers from pictures to features.
        features: F.
        decoder: Layers from codes to the output η at the size before the enlargers.
        head: At most one layer after it, a `residual` that works on η at that size.
        enlargers: Layers after it that each double the size.
        xavier: Whether all weights begin Xavier-uniform.
    """

    shape: Shape
    latents: int
    encoder: tuple[Layer, ...]
    features: int
    decoder: tuple[Layer, ...]
    enlargers: tuple[Layer, ...] = ()
    xavier: bool = False
    head: tuple[Layer, ...] = ()

    def encoder_layers(self, heads: Mapping[str, int]) -> Named:
        """The layers of the encoder by name, the heads last; `heads`: outputs of each by its name."""
        last = [(f"encoder.{name}", Layer("linear", self.features, outputs)) for name, outputs in heads.items()]
        return [*_named("encoder.body", self.encoder), *last]

    def decoder_layers(self) -> Named:
        """The layers of the decoder by name, from codes (l) to η (C, H, W)."""
        parts = {"body": self.decoder, "head": self.head, "enlargers": self.enlargers}
        return [layer for part, layers in parts.items() for layer in _named(f"decoder.{part}", layers)]

    def tensors(self, heads: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all weights; `heads` as for `encoder_layers`."""
        every = (*self.encoder_layers(heads), *self.decoder_layers())
        return dict(entry for name, layer in every for entry in layer.tensors(name))


Layers = tuple[list[Layer], int, list[Layer]]
"""The encoder's layers, its features, and the decoder's layers."""


def _linear(inputs: int, outputs: int) -> Layer:
    return Layer("linear", inputs, outputs)


def _same(inputs: int, outputs: int, kernel: int, init: str = "default") -> Layer:
    """A convolution that keeps the size."""
    return Layer("conv", inputs, outputs, kernel, padding=kernel // 2, init=init)


def _block(width: int, kernel: int) -> Layer:
    """x + conv(SiLU(conv(SiLU(x)))), pre-activation (He et al. 2016).

    The second convolution starts at zero, so that a new block is the identity and no normalisation is needed (as in the
    very deep VAE, Child 2021): pictures stay independent of one another.
    """
    inside = (SILU, _same(width, width, kernel), SILU, _same(width, width, kernel, init="zero"))
    return Layer("residual", width, width, layers=inside)


def _head(channels: int, width: int) -> Layer:
    """η + conv(ReLU(conv(η))), all at full size.

    The layers before it end in a pixel shuffle, whose four phases know nothing of one another: the cheapest detail for
    them is a grid. Its last convolution starts at zero, so that at first pictures are the same.
    """
    first, last = _same(channels, width, HEAD_KERNEL), _same(width, channels, HEAD_KERNEL, init="zero")
    return Layer("residual", channels, channels, layers=(first, RELU, last))


def _enlarger(channels: int, width: int) -> Layer:
    """η → η of twice the size: every value four times, and what a small network sees is missing.

    All of it works at the smaller size, as in Shi et al. 2016 (https://arxiv.org/abs/1609.05158). It reads
    tanh(η / 2) = 2·sigmoid(η) − 1, which is in [−1, 1] whatever η is. Its last convolution starts at zero, so that at
    first pictures are the same with larger pixels.
    """
    blocks = [_block(width, 3)] * ENLARGER_BLOCKS
    inside = (_same(channels, width, 3), *blocks, SILU, _same(width, 4 * channels, 3, init="zero"))
    return Layer("enlarger", channels, channels, layers=inside)


def _shuffled(before: int, after: int, kernel: int) -> list[Layer]:
    """Convolution and pixel shuffle to twice the size.

    The four pixels that one becomes start equal, as in nearest-neighbour upsampling, so that no checkerboard has to be
    unlearned (Aitken et al. 2017, https://arxiv.org/abs/1707.02937).
    """
    return [_same(before, 4 * after, kernel, init="equal"), SHUFFLE]


def _top(shape: Shape, widths: Sequence[int]) -> Shape:
    """Shape of the features after all strides: (C_top, H / 2^levels, W / 2^levels)."""
    factor = 2 ** len(widths)
    return widths[-1], shape[1] // factor, shape[2] // factor


def _halving(before: int, after: int, kernel: int) -> Layer:
    return Layer("conv", before, after, kernel, 2, (kernel - 2) // 2)


def _strided(shape: Shape, widths: Sequence[int], kernel: int, activation: Layer) -> list[Layer]:
    pairs = itertools.pairwise([shape[0], *widths])
    return [layer for before, after in pairs for layer in (_halving(before, after, kernel), activation)]


def _transposed(shape: Shape, widths: Sequence[int], kernel: int, activation: Layer) -> list[Layer]:
    """The way back up; no activation on the output."""
    layers: list[Layer] = []
    for before, after in itertools.pairwise([*reversed(widths), shape[0]]):
        layers += [Layer("transposed", before, after, kernel, 2, (kernel - 2) // 2), activation]
    return layers[:-1]


def _seed(shape: Shape, latents: int, widths: Sequence[int], kernel: int) -> Layers:
    """Conv 3→16→32, 5×5, stride 1, no padding; linear heads; transposed convolutions back; Xavier-uniform weights.

    101,215,779 parameters for 3×136×136 pictures and 64 latents, nearly all of them in three linear layers.
    """
    shrink = (kernel - 1) * len(widths)
    inner = (widths[-1], shape[1] - shrink, shape[2] - shrink)
    down: list[Layer] = []
    up: list[Layer] = []
    for before, after in itertools.pairwise([shape[0], *widths]):
        down += [Layer("conv", before, after, kernel), GELU]
        up = [GELU, Layer("transposed", after, before, kernel), *up]
    features = math.prod(inner)
    return down, features, [_linear(latents, features), Layer("view", shape=inner), *up]


def _burgess(shape: Shape, latents: int, widths: Sequence[int], kernel: int) -> Layers:
    """Strided convolutions, then linear layers of 256 and 256 (Burgess et al. 2018, appendix A.1), ReLU."""
    top = _top(shape, widths)
    features = math.prod(top)
    down = [FLATTEN, _linear(features, HIDDEN), RELU, _linear(HIDDEN, HIDDEN), RELU]
    up = [_linear(latents, HIDDEN), RELU, _linear(HIDDEN, HIDDEN), RELU, _linear(HIDDEN, features), RELU]
    up += [Layer("view", shape=top), *_transposed(shape, widths, kernel, RELU)]
    return [*_strided(shape, widths, kernel, RELU), *down], HIDDEN, up


def _conv(shape: Shape, latents: int, widths: Sequence[int], kernel: int) -> Layers:
    """One strided convolution a level down, one transposed convolution a level up, SiLU."""
    top = _top(shape, widths)
    features = math.prod(top)
    first = [_linear(latents, features), Layer("view", shape=top), SILU]
    down = [CENTRE, *_strided(shape, widths, kernel, SILU)]
    return down, features, [*first, *_transposed(shape, widths, kernel, SILU)]


def _residual(shape: Shape, latents: int, widths: Sequence[int], kernel: int) -> Layers:
    """Strided convolution and residual block a level; on the way up 1×1 convolution, pixel shuffle and block."""
    top = _top(shape, widths)
    features = math.prod(top)
    down = [CENTRE]
    for before, after in itertools.pairwise([shape[0], *widths]):
        down += [_halving(before, after, 4), _block(after, kernel)]
    up = [_linear(latents, features), Layer("view", shape=top)]
    for before, after in itertools.pairwise(reversed(widths)):
        up += [_block(before, kernel), *_shuffled(before, after, 1)]
    up += [_block(widths[0], kernel), SILU, *_shuffled(widths[0], shape[0], kernel)]
    return [*down, SILU], features, up


@dataclass(frozen=True)
class Family:
    """A kind of network.

    Attributes:
        make: (shape, latents, widths, kernel) → the layers.
        widths: Default channels, one entry a level.
        kernel: Default kernel size.
        strided: Whether each level halves the picture, so that sides must be multiples of 2^levels.
        even: Whether the kernel size must be even (strided convolutions that mirror exactly) rather than odd.
        scales: Whether a time budget may choose other widths; networks of publications stay what they are.
        xavier: Whether all weights begin Xavier-uniform.
    """

    make: Callable[[Shape, int, Sequence[int], int], Layers] = field(repr=False)
    widths: tuple[int, ...]
    kernel: int
    strided: bool = True
    even: bool = True
    scales: bool = False
    xavier: bool = False


FAMILIES = {
    "seed": Family(_seed, (16, 32), 5, strided=False, even=False, xavier=True),
    "burgess": Family(_burgess, (32, 32, 32, 32), 4),
    "conv": Family(_conv, (32, 64, 128, 256), 4),
    "residual": Family(_residual, (16, 32, 64, 128), 3, even=False, scales=True),
}


def make_network(
    family: str,
    shape: Shape,
    latents: int,
    widths: Sequence[int] = (),
    kernel: int = 0,
    enlargers: Sequence[int] = (),
    head: int = 0,
) -> Network:
    """The network of a family for pictures of `shape` (C, H, W).

    Arguments:
        family: A key of `FAMILIES`.
        shape: (C, H, W) with 1, 3 or 4 channels.
        latents: Number of latent dimensions l ≥ 1.
        widths: Channels of each level; empty for the family's own.
        kernel: Kernel size; 0 for the family's own.
        enlargers: Channels of each enlarger. The family's network is then for pictures of half the size, a quarter …
        head: Channels of the head; 0 for none.

    Raises:
        UsageError: A value is impossible; for a size that the strides do not allow, the nearest that they do.
    """
    if family not in FAMILIES:
        raise UsageError(f"Unknown network family {family!r}. Choose one of: {', '.join(FAMILIES)}.")
    kind = FAMILIES[family]
    widths, kernel = tuple(widths) or kind.widths, kernel or kind.kernel
    if shape[0] not in (1, 3, 4):
        raise UsageError(f"Pictures must have 1, 3 or 4 channels, not {shape[0]}.")
    if head < 0:
        raise UsageError(f"'head' must be at least 0, not {head}.")
    if latents < 1 or min((*widths, *enlargers)) < 1:
        raise UsageError(f"'latents' and 'widths' must be at least 1, not {latents} and {(*widths, *enlargers)}.")
    if not 2 <= kernel <= LARGEST_KERNEL or (kernel % 2 == 0) != kind.even:
        allowed = "even kernel size from 2 to 30" if kind.even else "odd kernel size from 3 to 31"
        raise UsageError(f"The {family} network needs an {allowed}, not {kernel}.")
    times = 2 ** len(enlargers)
    if shape[1] % times or shape[2] % times:
        raise UsageError(
            f"A network with {len(enlargers)} enlargers needs pictures whose sides are multiples of {times}."
        )
    inner = (shape[0], shape[1] // times, shape[2] // times)
    _check_size(family, kind, inner, len(widths), kernel)
    down, features, up = kind.make(inner, latents, widths, kernel)
    larger = tuple(_enlarger(shape[0], width) for width in enlargers)
    heads = (_head(shape[0], head),) if head else ()
    return Network(shape, latents, tuple(down), features, tuple(up), larger, kind.xavier, heads)


def _check_size(family: str, kind: Family, shape: Shape, levels: int, kernel: int) -> None:
    _, height, width = shape
    if not kind.strided:
        smallest = (kernel - 1) * levels + 1
        if min(height, width) < smallest:
            raise UsageError(f"The {family} network needs pictures of at least {smallest}×{smallest} pixels.")
        return
    step = 2**levels
    if height % step == 0 and width % step == 0 and min(height, width) > 0:
        return
    nearest = tuple(max(round(side / step), 1) * step for side in (width, height))
    larger = tuple(math.ceil(side / step) * step for side in (width, height))
    smaller = tuple(max(side // step, 1) * step for side in (width, height))
    sizes = ", ".join(f"{w}x{h}" for w, h in dict.fromkeys((nearest, smaller, larger)))
    raise UsageError(
        f"The {family} network halves pictures {levels} times, so both sides must be multiples of {step}, "
        f"and {width}x{height} is not. The nearest that work: {sizes} (--size WIDTHxHEIGHT)."
    )
