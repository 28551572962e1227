"""Parquet and Arrow files as shards: one row a picture, read from front to back, some rows at a time."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from betabloom.data.sources.table import PATHS
from betabloom.errors import SourceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from betabloom.data.pictures.reading import Reading
    from betabloom.data.sources.source import Skipped

__all__ = ["SUFFIXES", "arrow", "rows", "seekable"]

SUFFIXES = (".parquet", ".arrow")
ROWS = 64  # that are in memory at a time
LABELS = ("label", "labels", "class", "cls", "category", "fine_label", "target")


def arrow(module: str = "pyarrow") -> Any:
    """The package pyarrow, or a module of it.

    Raises:
        UsageError: It is not installed.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError("Parquet files need one more package: type pip install 'betabloom[hf]'") from error


def rows(file: BinaryIO, place: str, reading: Reading, skipped: Skipped) -> Iterator[tuple[str, bytes, int | None]]:
    """Yield (name, encoded picture, class index or None) of the rows of a Parquet or Arrow file.

    The column of pictures holds bytes, or a struct with `bytes` and perhaps `path`, as Hugging Face writes it.

    Arguments:
        file: It can be read anywhere.
        place: What to call it.
        reading: Which rows to leave out, by their path.
        skipped: Takes note of rows without a picture.

    Raises:
        SourceError: It has no column of pictures.
        OSError, ValueError: It is damaged.
    """
    number = 0
    for batch in _batches(file, place):
        image = _column(batch.schema, place)
        label = next((name for name in LABELS if name in batch.schema.names), None)
        labels = batch.column(label).to_pylist() if label else [None] * len(batch)
        for cell, index in zip(batch.column(image).to_pylist(), labels, strict=True):
            name, content = _picture(cell, number)
            number += 1
            if content is None:
                skipped.add(f"{place}/{name}", "an empty cell")
            elif not reading.excludes(name):
                yield name, content, index if isinstance(index, int) else None


def _batches(file: BinaryIO, place: str) -> Iterator[Any]:
    if place.split("?")[0].endswith(".parquet"):
        yield from arrow("pyarrow.parquet").ParquetFile(file).iter_batches(ROWS)
        return
    ipc = arrow("pyarrow.ipc")
    is_file = file.read(6) == b"ARROW1"
    file.seek(0)
    opened = ipc.open_file(file) if is_file else ipc.open_stream(file)
    batches = (opened.get_batch(i) for i in range(opened.num_record_batches)) if is_file else opened
    for batch in batches:
        for first in range(0, len(batch), ROWS):
            yield batch.slice(first, ROWS)


def _column(schema: Any, place: str) -> str:
    """The column of pictures: one that is called so, then the first that holds bytes."""
    kinds = arrow("pyarrow.types")

    def holds_bytes(kind: Any) -> bool:
        if kinds.is_struct(kind):
            return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
        return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind))

    found = [name for name in schema.names if holds_bytes(schema.field(name).type)]
    if not found:
        raise SourceError(f"'{place}' has no column of pictures: its columns are {', '.join(schema.names)}")
    names: list[str] = found
    return next((name for wanted in PATHS for name in names if name.lower() == wanted), names[0])


def _picture(cell: Any, number: int) -> tuple[str, bytes | None]:
    if isinstance(cell, dict):
        return cell.get("path") or f"{number:07d}", cell.get("bytes")
    return f"{number:07d}", cell


def seekable(file: BinaryIO) -> BinaryIO:
    """All of a file that can only be read from front to back, in memory: the end of a Parquet file is read first."""
    return io.BytesIO(file.read())
