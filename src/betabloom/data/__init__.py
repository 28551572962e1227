"""Pictures: sources, pipelines and the prepared store. Imports no model code and no torch."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from betabloom.data.archive import Archive
    from betabloom.data.arrays import Arrays
    from betabloom.data.doctor import inspect, summary_of
    from betabloom.data.drawn import Drawn
    from betabloom.data.fetch import fetch_flowers102
    from betabloom.data.flowers102 import Flowers102, find_flowers102
    from betabloom.data.folder import Folder
    from betabloom.data.huggingface import HuggingFace, HuggingFaceStream
    from betabloom.data.locate import is_stream, open_source, open_stream
    from betabloom.data.pipeline import Pipeline
    from betabloom.data.preparing import prepare
    from betabloom.data.report import Report, shown
    from betabloom.data.shards import Shards
    from betabloom.data.source import Source, Stream
    from betabloom.data.store import Store
    from betabloom.data.stream import Head, stream_batches
    from betabloom.data.streamed import Streamed
    from betabloom.data.table import Table

__all__ = [
    "Archive",
    "Arrays",
    "Drawn",
    "Flowers102",
    "Folder",
    "Head",
    "HuggingFace",
    "HuggingFaceStream",
    "Pipeline",
    "Report",
    "Shards",
    "Source",
    "Store",
    "Stream",
    "Streamed",
    "Table",
    "fetch_flowers102",
    "find_flowers102",
    "inspect",
    "is_stream",
    "open_source",
    "open_stream",
    "prepare",
    "shown",
    "stream_batches",
    "summary_of",
]

_HOMES = {
    "Archive": "archive",
    "Arrays": "arrays",
    "Drawn": "drawn",
    "Flowers102": "flowers102",
    "Folder": "folder",
    "Head": "stream",
    "HuggingFace": "huggingface",
    "HuggingFaceStream": "huggingface",
    "Pipeline": "pipeline",
    "Report": "report",
    "Shards": "shards",
    "Source": "source",
    "Store": "store",
    "Stream": "source",
    "Streamed": "streamed",
    "Table": "table",
    "fetch_flowers102": "fetch",
    "find_flowers102": "flowers102",
    "inspect": "doctor",
    "is_stream": "locate",
    "open_source": "locate",
    "open_stream": "locate",
    "prepare": "preparing",
    "shown": "report",
    "stream_batches": "stream",
    "summary_of": "doctor",
}


def __getattr__(name: str) -> Any:
    """Import a name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
