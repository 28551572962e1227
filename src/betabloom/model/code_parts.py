"""Codes of many pictures, made in parts by several processes or a Ray cluster, in bounded memory.

A part is a stretch of rows of a prepared store, of whole batches: its codes are those that one process makes. They go
to a folder of Parquet files, or together into one file as `betabloom.model.code_tables` writes it.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.data.store.store import open_store
from betabloom.errors import UsageError
from betabloom.model.code_tables import write_codes
from betabloom.model.codes import Codes
from betabloom.model.model import load
from betabloom.system.atomic import write_json
from betabloom.system.parts import results
from betabloom.vae.inference import at_once

if TYPE_CHECKING:
    from collections.abc import Iterator

    from betabloom.data import Store
    from betabloom.model.model import Model
    from betabloom.system.console import Progress

__all__ = ["ROWS", "encode_in_parts", "encode_part"]

ROWS = 4096  # pictures of a part: whole batches


def encode_in_parts(
    model: str | None,
    store: Store,
    rows: np.ndarray,
    out: Path,
    *,
    device: str = "cpu",
    processes: int = 1,
    ray: str | None = None,
    progress: Progress | None = None,
) -> int:
    """Write the codes of prepared pictures.

    Arguments:
        model: As for `betabloom.load`.
        store: The pictures; it lies on disk, where all processes see it.
        rows: Which of them, sorted.
        out: A file as `write_codes` writes it, or a folder, in which parts that are there already are left alone.
        device: Where to compute.
        processes: How many work side by side.
        ray: Address of a Ray cluster that works, or "local".
        progress: Called as progress(done, total, text), in pictures.

    Returns:
        The number of latents.

    Raises:
        UsageError: The store is in memory only.
    """
    if store.path is None:
        raise UsageError("Several processes read the pictures from the disk: prepare them first.")
    loaded = load(model)
    place = str(Path(model).resolve()) if model is not None and Path(model).exists() else model
    with tempfile.TemporaryDirectory(".part", ".codes-", out.parent.resolve()) as temporary:
        folder = out if not out.suffix else Path(temporary)
        folder.mkdir(exist_ok=True)
        common = {"model": place, "store": str(store.path.resolve()), "folder": str(folder.resolve()), "device": device}
        _check_folder(folder, {"model": loaded.fingerprint, "pictures": store.fingerprint, "rows": len(rows)})
        size = max(1, ROWS // at_once(loaded.vae)) * at_once(loaded.vae)
        count = -(-len(rows) // size)
        stretches = (rows[first : first + size] for first in range(0, len(rows), size))
        calls = (
            {**common, "rows": _ends(part), "part": number, "parts": count, "table": not out.suffix}
            for number, part in enumerate(stretches)
        )
        done = 0
        for made in results("betabloom.model.code_parts:encode_part", calls, processes=processes, ray=ray):
            done += made
            if progress:
                progress(done, len(rows), "")
        if out.suffix:
            _join(folder, store, rows, loaded, out)
    return loaded.config.model.latents


def _check_folder(folder: Path, about: dict[str, Any]) -> None:
    """Refuse a folder with the codes of another model or of other pictures."""
    file = folder / "manifest.json"
    if file.exists() and json.loads(file.read_text(encoding="utf-8")) != about:
        raise UsageError(f"{folder} has codes of another model or of other pictures. Choose another folder.")
    write_json(file, about)


def _ends(rows: np.ndarray) -> list[int]:
    """Rows as numbers, or as two of them where they follow one another."""
    first, last = int(rows[0]), int(rows[-1])
    return [first, last + 1] if last - first + 1 == len(rows) else rows.tolist()


def encode_part(
    model: str | None, store: str, folder: str, device: str, rows: list[int], part: int, parts: int, table: bool
) -> int:
    """Write the codes of some rows, unless they are there; returns how many these are."""
    chosen = np.arange(*rows) if len(rows) == 2 else np.array(rows)
    stem = Path(folder) / f"part-{part:05d}-of-{parts:05d}"
    file = stem.with_suffix(".parquet" if table else ".npz")
    if file.exists():
        return len(chosen)
    opened, loaded = _opened(model, store, device)
    mean, log_var = loaded.encode(np.asarray(opened.pictures[chosen]))
    labels = None if opened.labels is None else opened.labels[chosen]
    names = [opened.names[int(row)] for row in chosen]
    write_codes(Codes(mean, log_var, names, loaded.fingerprint, labels), file, opened.label_names)
    return len(chosen)


_open: dict[tuple[str | None, str, str], Any] = {}


def _opened(model: str | None, store: str, device: str) -> tuple[Store, Model]:
    """Pictures and model, opened once in every process."""
    key = (model, store, device)
    if key not in _open:
        _open.clear()
        _open[key] = open_store(Path(store)), load(model, device)
    found: tuple[Store, Model] = _open[key]
    return found


def _join(folder: Path, store: Store, rows: np.ndarray, model: Model, out: Path) -> None:
    """Put the parts together into one file."""
    parts = list(_arrays(folder))
    mean, log_var = (np.concatenate([part[name] for part in parts]) for name in ("mean", "log_var"))
    labels = None if store.labels is None else np.asarray(store.labels)[rows]
    names = [store.names[int(row)] for row in rows]
    write_codes(Codes(mean, log_var, names, model.fingerprint, labels), out, store.label_names)


def _arrays(folder: Path) -> Iterator[dict[str, np.ndarray]]:
    for file in sorted(folder.glob("part-*.npz")):
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as found:
            yield {name: found[name] for name in ("mean", "log_var")}
