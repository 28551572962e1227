"""A small residual network that tells flowers apart: features of another kind than EfficientNet's.

Measures on EfficientNet-Lite0 to Lite2 agree with one another more than they should, since the networks are of one
family. This one is that of He et al. 2016, https://arxiv.org/abs/1512.03385, section 4.2, wider and for 64 px: trained
from nothing on the 102 labels of Oxford's flowers by `tools/train_resnet102.py`, and kept out of every loss and every
choice.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from betabloom.errors import FormatError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

__all__ = ["CLASSES", "SIDE", "FlowerNet", "ResNetFeatures", "to_input"]

CLASSES = 102
SIDE = 64  # pixels of the pictures that it sees
WIDTHS = (32, 64, 128, 256)
BLOCKS = 2  # of each width
BATCH = 64


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.two = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(after) for _ in range(2))
        self.skip = nn.Conv2d(before, after, 1, stride, bias=False) if stride > 1 or before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norms[1](self.two(F.relu(self.norms[0](self.one(x)))))
        return F.relu(y + self.skip(x))


class FlowerNet(nn.Module):
    """x (B, 3, 64, 64) in [−1, 1] → logits of the 102 kinds (B, 102); `pooled` gives the features (B, 256)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 3, 1, 1)
        places = [(a, b, stride) for a, b, stride in zip((WIDTHS[0], *WIDTHS), WIDTHS, (1, 2, 2, 2), strict=False)]
        first = [_Block(*place) for place in places]
        self.body = nn.Sequential(
            *(
                nn.Sequential(block, *(_Block(b, b, 1) for _ in range(BLOCKS - 1)))
                for block, b in zip(first, WIDTHS, strict=True)
            )
        )
        self.head = nn.Linear(WIDTHS[-1], CLASSES)

    def pooled(self, x: Tensor) -> Tensor:
        features: Tensor = self.body(F.relu(self.stem(x))).mean((2, 3))
        return features

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.pooled(x))
        return logits


class ResNetFeatures:
    """Pooled features of a trained `FlowerNet`: uint8 pictures (N, H, W, 3) → float32 (N, 256).

    Arguments:
        file: Its weights, as `tools/train_resnet102.py` writes them.

    Raises:
        UsageError: There is no such file.
        FormatError: It does not hold the weights of this network.
    """

    def __init__(self, file: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import load

        if not file.is_file():
            raise UsageError(
                f"There is no file of weights {file}. Make one with tools/train_resnet102.py, and name "
                "it: resnet102:FILE"
            )
        content = file.read_bytes()
        self.network = FlowerNet().eval().requires_grad_(requires_grad=False)
        try:
            self.network.load_state_dict(load(content))
        except (SafetensorError, RuntimeError) as error:
            raise FormatError(f"{file} does not hold the weights of the network resnet102.") from error
        self.digest = hashlib.sha256(content).hexdigest()[:12]

    @torch.inference_mode()
    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        parts = [
            self.network.pooled(to_input(torch.from_numpy(pictures[i : i + BATCH])))
            for i in range(0, len(pictures), BATCH)
        ]
        rows: np.ndarray = torch.cat(parts).numpy()
        return rows


def to_input(pictures: Tensor) -> Tensor:
    """uint8 pictures (B, H, W, 3) → what the network sees: (B, 3, 64, 64) in [−1, 1]."""
    x = pictures.permute(0, 3, 1, 2).float() / 127.5 - 1
    if x.shape[2:] != (SIDE, SIDE):
        x = F.interpolate(x, (SIDE, SIDE), mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)
    return x.contiguous(memory_format=torch.channels_last)
