"""Pictures of an evaluation and their features, made in this process, or in parts by several or by a Ray cluster.

A part is a stretch of numbers of generated pictures, or of rows of a store, of whole batches of everything that works
in batches: so what several processes make is what one process with one thread makes, to the last bit.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.data.store.store import open_store
from betabloom.errors import UsageError
from betabloom.metrics.extractors import BATCH, features, open_extractor
from betabloom.model.model import load
from betabloom.system.atomic import replacing_file
from betabloom.system.parts import results
from betabloom.vae.inference import at_once

if TYPE_CHECKING:
    from betabloom.data import Store
    from betabloom.metrics import Extractor
    from betabloom.model.model import Model
    from betabloom.system.console import Progress

__all__ = ["STORED", "Subject", "Workers", "make_part", "pictures_and_features"]

PART = 512  # pictures of a part, about
STORED = ("real", "held-out")  # pictures that need not be made


@dataclass(frozen=True)
class Workers:
    """Who makes pictures and features, in place of this process.

    Attributes:
        model: As for `betabloom.load`: what other processes open the model by.
        features: As for `metrics.open_extractor`.
        device: Where to compute.
        processes: How many work side by side on this machine.
        ray: Address of a Ray cluster that works, or "local"; its machines see the cache. None for none.
    """

    model: str | None
    features: str
    device: str = "cpu"
    processes: int = 1
    ray: str | None = None

    def places(self) -> dict[str, Any]:
        """Arguments of a part, as other processes find the files wherever they work."""
        kind, _, file = self.features.partition(":")
        model = str(Path(self.model).resolve()) if self.model is not None and Path(self.model).exists() else self.model
        return {
            "model": model, "device": self.device, "extractor": f"{kind}:{Path(file).resolve()}" if file else kind,
        }  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """What is evaluated: a model, pictures, a network that looks at them, and the series of generated pictures."""

    model: Model
    store: Store
    extractor: Extractor
    seed: int
    sampler: str


def pictures_and_features(
    subject: Subject, what: str, numbers: np.ndarray, workers: Workers | None = None, progress: Progress | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Make pictures, and look at them.

    Arguments:
        subject: What is evaluated.
        what: "generated", or of rows of the store "real", "held-out" or "reconstructed".
        numbers: Of generated pictures, one following the other; else rows, sorted.
        workers: Who does it; this process if None.
        progress: Called as progress(done, total, text), in pictures.

    Returns:
        uint8 pictures (N, H, W, C), and their float32 features (N, F).

    Raises:
        UsageError: The store is in memory only, where other processes are to read it.
    """
    if workers is not None and len(numbers):
        return _in_parts(subject, what, numbers, workers, progress)
    stored = subject.store.pictures[numbers] if what != "generated" else None
    if stored is None:
        made = subject.model.generate(len(numbers), subject.seed, start=int(numbers[0]), sampler=subject.sampler)
    else:
        made = np.asarray(stored) if what in STORED else subject.model.reconstruct(np.asarray(stored))
    return made, features(made, subject.extractor, progress=progress)


def _in_parts(
    subject: Subject, what: str, numbers: np.ndarray, workers: Workers, progress: Progress | None
) -> tuple[np.ndarray, np.ndarray]:
    store = subject.store
    if store.path is None:
        raise UsageError("Several processes read the pictures from the disk: prepare them first.")
    together = math.lcm(BATCH, at_once(subject.model.vae))
    size = max(1, PART // together) * together
    stretches = [numbers[first : first + size] for first in range(0, len(numbers), size)]
    with tempfile.TemporaryDirectory(".part", ".evaluation-", store.path.parent if workers.ray else None) as folder:
        common = {**workers.places(), "store": str(store.path.resolve()), "folder": folder, "what": what}
        common |= {"seed": subject.seed, "sampler": subject.sampler}
        calls = ({**common, "numbers": part.tolist()} for part in stretches)
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for file in results(f"{__name__}:make_part", calls, processes=workers.processes, ray=workers.ray):
            found.append(_read(Path(file)))
            if progress:
                progress(sum(len(looked_at) for _, looked_at in found), len(numbers), "")
    pictures, looked_at = (np.concatenate(each) for each in zip(*found, strict=True))
    return (np.asarray(store.pictures[numbers]) if what in STORED else pictures), looked_at


def make_part(
    model: str | None,
    device: str,
    extractor: str,
    store: str,
    folder: str,
    what: str,
    seed: int,
    sampler: str,
    numbers: list[int],
) -> str:
    """Make some pictures and their features; returns the file that they are in."""
    opened = _opened(model, device, extractor, store)
    subject = Subject(*opened, seed=seed, sampler=sampler)
    made, looked_at = pictures_and_features(subject, what, np.array(numbers))
    file = Path(folder) / f"{what}-{numbers[0]:012d}.npy"
    with replacing_file(file, synced=False) as part, part.open("wb") as writing:
        for array in (made[:0] if what in STORED else made, looked_at):
            np.save(writing, array, allow_pickle=False)
    return str(file)


def _read(file: Path) -> tuple[np.ndarray, np.ndarray]:
    with file.open("rb") as opened:
        return np.load(opened, allow_pickle=False), np.load(opened, allow_pickle=False)


_open: dict[tuple[str | None, ...], tuple[Model, Store, Extractor]] = {}


def _opened(model: str | None, device: str, extractor: str, store: str) -> tuple[Model, Store, Extractor]:
    """Model, pictures and extractor, opened once in every process."""
    key = (model, device, extractor, store)
    if key not in _open:
        _open.clear()
        _open[key] = load(model, device), open_store(Path(store)), open_extractor(extractor)
    return _open[key]
