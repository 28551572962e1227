"""The networks: pictures to posteriors, codes to pictures.

An `Encoder` is a body that turns x (B, C, H, W) into F features, and two parallel linear heads without activation for
μ and log σ² (B, l). A `Decoder` is a body that turns z (B, l) into the output η (B, C, H, W) that a likelihood reads.
Either works without the other. The families differ in their bodies only:

| family | what it is | default widths | sizes |
|---|---|---|---|
| `seed` | 5×5 stride-1 convolutions, GELU, transposed back: the student project's network | 16, 32 | any from 9 |
| `burgess` | 4×4 strided convolutions, two linear layers, ReLU: the disentanglement papers' | 4 × 32 | ×16 |
| `conv` | one 4×4 strided convolution a level, SiLU, mirrored | 32, 64, 128, 256 | ×16 |
| `residual` | strided convolution and residual block a level, pixel shuffle upwards | 16, 32, 64, 128 | ×16 |

Widths are the channels of each level; more or fewer of them make deeper or shallower networks. "×16" means multiples of
2^levels. Each `Enlarger` after a decoder doubles the size of what any of them draws.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from betabloom.errors import UsageError
from betabloom.networks.cpu_layers import Transposed, View, flat, steady
from betabloom.networks.large_linear import LargeLinear, together
from betabloom.networks.spec import ENLARGER_BLOCKS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["FAMILIES", "Decoder", "Encoder", "Enlarger", "Family", "count_parameters", "make_networks"]

Shape = tuple[int, int, int]
LARGEST_KERNEL = 31


class Encoder(nn.Module):
    """x (B, C, H, W) in [0, 1] → μ and log σ², each (B, l), float32.

    Arguments:
        body: x → features, (B, F) after flattening.
        features: F.
        latents: l.

    Attributes:
        halvings: How often it halves pictures, by means of 2×2 pixels, before it looks at them.
    """

    halvings = 0

    def __init__(self, body: nn.Module, features: int, latents: int) -> None:
        super().__init__()
        self.body = body
        self.mean = LargeLinear(features, latents)
        self.log_var = LargeLinear(features, latents)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.avg_pool2d(x, 2**self.halvings) if self.halvings else x
        h = flat(self.body(x))
        mean, log_var = together(h, (self.mean, self.log_var))
        return mean.float(), log_var.float()


class Decoder(nn.Module):
    """z (B, l) → output η (B, C, H, W), the logits or locations that a likelihood reads, float32.

    Arguments:
        body: z → η.

    Attributes:
        enlargers: η → η of twice the size, one after the other.
        shape: (C, H, W), if `make_networks` made it.
    """

    shape: Shape | None = None

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.enlargers = nn.ModuleList()

    def forward(self, z: Tensor) -> Tensor:
        eta = steady(self.body(z)).float()
        for enlarger in self.enlargers:
            eta = enlarger(eta)
        return eta


class Centre(nn.Module):
    """[0, 1] → [−1, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x - 1


class ResidualBlock(nn.Module):
    """x + conv(SiLU(conv(SiLU(x)))), shape kept (pre-activation, He et al. 2016).

    The second convolution starts at zero, so that a new block is the identity and no normalisation is needed (as in
    the very deep VAE, Child 2021): pictures stay independent of one another, and channels_last layouts stay fast.
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(width, width, kernel, padding=kernel // 2),
            nn.SiLU(),
            _zero(nn.Conv2d(width, width, kernel, padding=kernel // 2)),
        )

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.body(x)
        return x + residual


class Enlarger(nn.Module):
    """η (B, C, H, W) → η (B, C, 2H, 2W), float32: every value four times, and what a small network sees is missing.

    All of it works at the smaller size, as in Shi et al. 2016 (https://arxiv.org/abs/1609.05158). It reads
    2·sigmoid(η) − 1, which is in [−1, 1] whatever η is. Its last convolution starts at zero, so that at first pictures
    are the same with larger pixels.

    Arguments:
        channels: C.
        width: Channels of its `ENLARGER_BLOCKS` residual blocks.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        blocks = (ResidualBlock(width, 3) for _ in range(ENLARGER_BLOCKS))
        last = _zero(nn.Conv2d(width, 4 * channels, 3, padding=1))
        self.body = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), *blocks, nn.SiLU(), last)

    def forward(self, eta: Tensor) -> Tensor:
        detail = self.body(torch.tanh(eta / 2)).float()
        return F.pixel_shuffle(eta.repeat_interleave(4, 1) + detail, 2)


def _shuffled(before: int, after: int, kernel: int) -> list[nn.Module]:
    """Convolution and pixel shuffle to twice the size.

    The four pixels that one becomes start equal, as in nearest-neighbour upsampling, so that no checkerboard has to
    be unlearned (Aitken et al. 2017, https://arxiv.org/abs/1707.02937).
    """
    layer = nn.Conv2d(before, 4 * after, kernel, padding=kernel // 2)
    with torch.no_grad():
        layer.weight.copy_(layer.weight[::4].repeat_interleave(4, 0))
        if layer.bias is not None:
            layer.bias.copy_(layer.bias[::4].repeat_interleave(4, 0))
    return [layer, nn.PixelShuffle(2)]


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _seed(shape: Shape, latents: int, widths: Sequence[int], kernel: int) -> tuple[Encoder, Decoder]:
    """Conv 3→16→32, 5×5, stride 1, no padding; linear heads; transposed convolutions back; Xavier-uniform weights.

    101,215,779 parameters for 3×136×136 pictures and 64 latents, nearly all of them in three linear layers.
    """
    channels = [shape[0], *widths]
    shrink = (kernel - 1) * len(widths)
    height, width = shape[1] - shrink, shape[2] - shrink
    down: list[nn.Module] = []
    up: list[nn.Module] = []
    for before, after in itertools.pairwise(channels):
        down += [nn.Conv2d(before, after, kernel), nn.GELU("tanh")]
        up = [nn.GELU("tanh"), Transposed(after, before, kernel), *up]
    features = widths[-1] * height * width
    first = (LargeLinear(latents, features), View((widths[-1], height, width)))
    encoder = Encoder(nn.Sequential(*down), features, latents)
    decoder = Decoder(nn.Sequential(*first, *up))
    for module in (*encoder.modules(), *decoder.modules()):
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.xavier_uniform_(module.weight)
    return encoder, decoder


def _burgess(shape: Shape, latents: int, widths: Sequence[int], kernel: int) -> tuple[Encoder, Decoder]:
    """Strided convolutions, then linear layers of 256 and 256 (Burgess et al. 2018, appendix A.1), ReLU."""
    hidden = 256
    top = _top(shape, widths)
    features = math.prod(top)
    down = [nn.Flatten(), nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
    up = [nn.Linear(latents, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, features)]
    encoder = nn.Sequential(*_strided(shape, widths, kernel, nn.ReLU), *down)
    decoder = nn.Sequential(*up, nn.ReLU(), View(top), *_transposed(shape, widths, kernel, nn.ReLU))
    return Encoder(encoder, hidden, latents), Decoder(decoder)


def _conv(shape: Shape, latents: int, widths: Sequence[int], kernel: int) -> tuple[Encoder, Decoder]:
    """One strided convolution a level down, one transposed convolution a level up, SiLU."""
    top = _top(shape, widths)
    features = math.prod(top)
    encoder = nn.Sequential(Centre(), *_strided(shape, widths, kernel, nn.SiLU))
    first = (LargeLinear(latents, features), View(top), nn.SiLU())
    decoder = nn.Sequential(*first, *_transposed(shape, widths, kernel, nn.SiLU))
    return Encoder(encoder, features, latents), Decoder(decoder)


def _residual(shape: Shape, latents: int, widths: Sequence[int], kernel: int) -> tuple[Encoder, Decoder]:
    """Strided convolution and residual block a level; on the way up 1×1 convolution, pixel shuffle and block."""
    top = _top(shape, widths)
    features = math.prod(top)
    channels = [shape[0], *widths]
    down: list[nn.Module] = [Centre()]
    for before, after in zip(channels, widths, strict=False):
        down += [nn.Conv2d(before, after, 4, stride=2, padding=1), ResidualBlock(after, kernel)]
    down += [nn.SiLU()]
    up: list[nn.Module] = [LargeLinear(latents, features), View(top)]
    for after, before in zip(reversed(widths[1:]), reversed(widths[:-1]), strict=True):
        up += [ResidualBlock(after, kernel), *_shuffled(after, before, 1)]
    up += [ResidualBlock(widths[0], kernel), nn.SiLU()]
    up += _shuffled(widths[0], shape[0], kernel)
    return Encoder(nn.Sequential(*down), features, latents), Decoder(nn.Sequential(*up))


def _top(shape: Shape, widths: Sequence[int]) -> Shape:
    """Shape of the features after all strides: (C_top, H / 2^levels, W / 2^levels)."""
    factor = 2 ** len(widths)
    return widths[-1], shape[1] // factor, shape[2] // factor


def _strided(shape: Shape, widths: Sequence[int], kernel: int, activation: type[nn.Module]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in zip([shape[0], *widths], widths, strict=False):
        layers += [nn.Conv2d(before, after, kernel, stride=2, padding=(kernel - 2) // 2), activation()]
    return layers


def _transposed(shape: Shape, widths: Sequence[int], kernel: int, activation: type[nn.Module]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in zip(reversed(widths), [*reversed(widths[:-1]), shape[0]], strict=True):
        layers += [Transposed(before, after, kernel, stride=2, padding=(kernel - 2) // 2), activation()]
    return layers[:-1]  # no activation on the output


@dataclass(frozen=True)
class Family:
    """A kind of network.

    Attributes:
        make: (shape, latents, widths, kernel) → encoder, decoder.
        widths: Default channels, one entry a level.
        kernel: Default kernel size.
        strided: Whether each level halves the picture, so that sides must be multiples of 2^levels.
        even: Whether the kernel size must be even (strided convolutions that mirror exactly) rather than odd.
        scales: Whether a time budget may choose other widths; networks of publications stay what they are.
    """

    make: Callable[[Shape, int, Sequence[int], int], tuple[Encoder, Decoder]]
    widths: tuple[int, ...]
    kernel: int
    strided: bool = True
    even: bool = True
    scales: bool = False


FAMILIES = {
    "seed": Family(_seed, (16, 32), 5, strided=False, even=False),
    "burgess": Family(_burgess, (32, 32, 32, 32), 4),
    "conv": Family(_conv, (32, 64, 128, 256), 4),
    "residual": Family(_residual, (16, 32, 64, 128), 3, even=False, scales=True),
}


def make_networks(
    family: str,
    shape: Shape,
    latents: int,
    widths: Sequence[int] = (),
    kernel: int = 0,
    enlargers: Sequence[int] = (),
) -> tuple[Encoder, Decoder]:
    """Make an encoder and a decoder for pictures of `shape` (C, H, W).

    Arguments:
        family: A key of `FAMILIES`.
        shape: (C, H, W) with 1, 3 or 4 channels.
        latents: Number of latent dimensions l ≥ 1.
        widths: Channels of each level; empty for the family's own.
        kernel: Kernel size; 0 for the family's own.
        enlargers: Channels of each `Enlarger`. The family's network is then for pictures of half the size, a quarter …

    Raises:
        UsageError: A value is impossible; for a size that the strides do not allow, the nearest that they do.
    """
    if family not in FAMILIES:
        raise UsageError(f"Unknown network family {family!r}. Choose one of: {', '.join(FAMILIES)}.")
    kind = FAMILIES[family]
    widths, kernel = tuple(widths) or kind.widths, kernel or kind.kernel
    if shape[0] not in (1, 3, 4):
        raise UsageError(f"Pictures must have 1, 3 or 4 channels, not {shape[0]}.")
    if latents < 1 or min((*widths, *enlargers)) < 1:
        raise UsageError(f"'latents' and 'widths' must be at least 1, not {latents} and {(*widths, *enlargers)}.")
    if not 2 <= kernel <= LARGEST_KERNEL or (kernel % 2 == 0) != kind.even:
        allowed = "even kernel size from 2 to 30" if kind.even else "odd kernel size from 3 to 31"
        raise UsageError(f"The {family} network needs an {allowed}, not {kernel}.")
    whole, times = shape, 2 ** len(enlargers)
    if shape[1] % times or shape[2] % times:
        raise UsageError(f"A network with {len(enlargers)} enlargers draws sides that are multiples of {times}.")
    shape = (shape[0], shape[1] // times, shape[2] // times)
    _check_size(family, kind, shape, len(widths), kernel)
    encoder, decoder = kind.make(shape, latents, widths, kernel)
    encoder.halvings, decoder.shape = len(enlargers), whole
    decoder.enlargers.extend(Enlarger(shape[0], width) for width in enlargers)
    return encoder, decoder


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


def count_parameters(module: nn.Module) -> int:
    """Count the trained numbers of a network."""
    return sum(p.numel() for p in module.parameters())
