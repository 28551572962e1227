"""What all tests share."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: busy neighbours must not slow tests down

import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from betabloom import data
from betabloom.config import Config

torch.set_num_threads(1)

TINY = {
    "height": 16, "width": 16, "family": "conv", "widths": "8,16", "latents": 6, "batch": 16, "steps": 20,
    "warmup_steps": 4, "validations": 2, "device": "cpu", "precision": "fp32",
}  # fmt: skip

if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests that were started by nohup send it, too


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    """Settings of a training that takes a second."""
    return Config.preset("tiny", **TINY)


@pytest.fixture(scope="session")
def small_store() -> data.Store:
    """Sixty drawn flowers at 16×16, in memory."""
    source = data.Drawn(60, seed=3, size=32)
    pipeline = data.Pipeline.named("square", (16, 16))
    pictures = np.stack([pipeline(source.read(index)) for index in range(len(source))])
    return data.Store.from_array(pictures, names=source.names, labels=source.labels)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 680 KB."""
    place = tmp_path / "disk"
    place.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root on Linux")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=680k", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", place], check=True)
