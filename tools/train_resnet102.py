"""Train the network of `--features resnet102:FILE` on the labels of the Oxford 102 flowers.

    python tools/train_resnet102.py DATA/flowers-102 -o resnet102.safetensors [--epochs 60] [--halves 45]

It learns from the official training and test pictures (7,169), as the bundled models do; its accuracy on the official
validation pictures (1,020) is printed after every epoch. The folder is the official layout of the data set, with
imagelabels.mat. `--halves` are first epochs with pictures of half the size, which take a quarter of the time.
"""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from scipy.io import loadmat
from torch import Tensor

import betabloom
from betabloom.metrics.resnet import SIDE, FlowerNet, to_input
from betabloom.system.atomic import replacing_file
from betabloom.system.hardware import choose_device

SHIFT = 6  # pixels, at most


def labels_of(data: Path, names: list[str]) -> np.ndarray:
    """The label 0 … 101 of each picture, from its number in its file name."""
    labels = loadmat(data / "imagelabels.mat")["labels"].ravel()
    return np.array([labels[int(re.findall(r"\d+", name)[-1]) - 1] - 1 for name in names], np.int64)


def augmented(x: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrored at random, shifted, and lighter or darker."""
    flip = torch.rand(len(x), generator=generator) < 0.5
    x = torch.where(flip[:, None, None, None].to(x.device), x.flip(3), x)
    top, left = torch.randint(2 * SHIFT + 1, (2,), generator=generator).tolist()
    x = F.pad(x, (SHIFT,) * 4, mode="reflect")[:, :, top : top + SIDE, left : left + SIDE]
    gain = 1 + 0.4 * (torch.rand(len(x), 1, 1, 1, generator=generator) - 0.5)
    return (x * gain.to(x.device)).clamp(-1, 1)


@torch.inference_mode()
def accuracy(network: FlowerNet, pictures: Tensor, labels: Tensor, device: torch.device) -> float:
    network.eval()
    hits = [
        (network(to_input(pictures[i : i + 256].to(device))).argmax(1).cpu() == labels[i : i + 256]).sum().item()
        for i in range(0, len(pictures), 256)
    ]
    return sum(hits) / len(pictures)


def train(
    network: FlowerNet,
    pictures: Tensor,
    labels: Tensor,
    epoch: int,
    epochs: int,
    optimiser: torch.optim.Optimizer,
    halve: bool,
) -> None:
    """One epoch of AdamW, with label smoothing and a rate that falls along a cosine."""
    device = next(network.parameters()).device
    generator = torch.Generator().manual_seed(epoch)
    order = torch.randperm(len(pictures), generator=generator)
    network.train()
    for i, rows in enumerate(order.split(64)):
        t = (epoch + 64 * i / len(order)) / epochs
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * min(1.0, 20 * t + 0.02) * 0.5 * (1 + math.cos(math.pi * t))
        x = augmented(to_input(pictures[rows].to(device)), generator)
        x = F.avg_pool2d(x, 2) if halve else x
        loss = F.cross_entropy(network(x), labels[rows].to(device), label_smoothing=0.1)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("data", type=Path)
    options.add_argument("-o", "--out", type=Path, default=Path("resnet102.safetensors"))
    options.add_argument("--epochs", type=int, default=60)
    options.add_argument("--halves", type=int, default=0, help="first epochs with pictures of half the size")
    options.add_argument("--pictures", type=int, default=0, help="only so many, for a trial")
    options.add_argument("--device", default="auto")
    given = options.parse_args()
    store = betabloom.prepare(given.data, SIDE)
    known, held_out = (rows[: given.pictures or None] for rows in store.split("train+test"))
    labels = labels_of(given.data, [store.names[row] for row in range(len(store))])
    device = choose_device(given.device)
    torch.manual_seed(0)
    network = FlowerNet().to(device=device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    (x, y), (x_held, y_held) = (
        (torch.from_numpy(np.asarray(store.pictures[rows])), torch.from_numpy(labels[rows]))
        for rows in (known, held_out)
    )
    for epoch in range(given.epochs):
        train(network, x, y, epoch, given.epochs, optimiser, epoch < given.halves)
        print(f"epoch {epoch + 1}: {100 * accuracy(network, x_held, y_held, device):.1f} % of held-out pictures right")
    with replacing_file(given.out) as part:
        save_file({name: value.cpu().contiguous() for name, value in network.state_dict().items()}, part)


if __name__ == "__main__":
    main()
