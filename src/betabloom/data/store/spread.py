"""Pictures prepared by other processes, or a Ray cluster, for a store that this process writes.

A call prepares consecutive pictures into a file beside the store; the files are taken in order, so the store is the one
that a single process makes, and goes on where it stopped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.data.pictures.pipeline import Pipeline
from betabloom.data.sources.locate import open_source
from betabloom.data.store.partial import Piece
from betabloom.data.store.pieces import prepare_piece
from betabloom.errors import SourceError
from betabloom.system.atomic import replacing_file
from betabloom.system.parts import results

if TYPE_CHECKING:
    from collections.abc import Iterator

    from betabloom.data.sources.source import Source
    from betabloom.data.store.pieces import Prepared

__all__ = ["Spread", "prepare_part", "spread_pieces"]

MOST, BYTES = 512, 16 << 20  # pictures of a piece, and bytes of them


@dataclass(frozen=True)
class Spread:
    """Who prepares pictures instead of this process.

    Attributes:
        spec: Text that opens the source in another process.
        processes: How many work side by side on this machine.
        ray: Address of a Ray cluster that works, or "local"; its machines see the cache. None for none.
    """

    spec: str
    processes: int = 1
    ray: str | None = None


def spread_pieces(spread: Spread, source: Source, pipeline: Pipeline, left: range, folder: Path) -> Iterator[Prepared]:
    """Yield the pieces of what is left to prepare, in order; files in `folder` are removed as they are taken."""
    size = max(1, min(MOST, BYTES // (pipeline.height * pipeline.width * pipeline.channels)))
    reading = getattr(source, "reading", None)
    common = {
        "spec": spread.spec, "reading": {} if reading is None else dict(reading.options()),
        "fingerprint": source.fingerprint(), "pipeline": pipeline.to_dict(), "folder": str(folder.resolve()),
    }  # fmt: skip
    calls = ({**common, "start": i, "stop": min(i + size, left.stop)} for i in range(left.start, left.stop, size))
    for made in results("betabloom.data.store.spread:prepare_part", calls, processes=spread.processes, ray=spread.ray):
        file = Path(made)
        with file.open("rb") as opened:
            piece = Piece.from_line(opened.readline())
            pictures = np.load(opened, allow_pickle=False)
        yield piece, pictures
        file.unlink()


def prepare_part(
    spec: str, reading: dict[str, Any], fingerprint: str, pipeline: dict[str, Any], folder: str, start: int, stop: int
) -> str:
    """Prepare the pictures start … stop − 1; returns the file that they are in."""
    source = _opened(spec, reading, fingerprint)
    piece, pictures = prepare_piece(source, Pipeline.from_dict(pipeline), range(start, stop))
    file = Path(folder) / f"piece-{start:012d}"
    with replacing_file(file, synced=False) as part, part.open("wb") as opened:
        opened.write(piece.to_line())
        np.save(opened, pictures, allow_pickle=False)
    return str(file)


_open: dict[str, Any] = {}


def _opened(spec: str, reading: dict[str, Any], fingerprint: str) -> Source:
    """The source, opened once in every process."""
    key = json.dumps([spec, reading, fingerprint])
    if key not in _open:
        source = open_source(spec, download=False, **reading)
        if source.fingerprint() != fingerprint:
            raise SourceError(f"'{spec}' is not the same for all processes, or has changed")
        _open.clear()
        _open[key] = source
    found: Source = _open[key]
    return found
