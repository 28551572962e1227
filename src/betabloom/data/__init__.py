"""Pictures: sources, pipelines and the prepared store. Imports no model code and no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from betabloom.faces import face

if TYPE_CHECKING:
    from betabloom.data.inspection.inspect import inspect, summary_of
    from betabloom.data.inspection.report import Report
    from betabloom.data.pictures.pipeline import Pipeline
    from betabloom.data.pictures.reading import Reading, ReadingOptions
    from betabloom.data.sources.archive import Archive
    from betabloom.data.sources.arrays import Arrays
    from betabloom.data.sources.drawn import Drawn
    from betabloom.data.sources.fetch import fetch_flowers102
    from betabloom.data.sources.flowers102 import Flowers102, find_flowers102
    from betabloom.data.sources.folder import Folder
    from betabloom.data.sources.given import Files
    from betabloom.data.sources.huggingface import HuggingFace, HuggingFaceStream
    from betabloom.data.sources.locate import is_stream, open_pictures, open_source, open_stream, resolved
    from betabloom.data.sources.shards import Shards
    from betabloom.data.sources.source import Source, Stream
    from betabloom.data.sources.table import Table
    from betabloom.data.store.few import prepare_few
    from betabloom.data.store.prepare import prepare
    from betabloom.data.store.store import Store
    from betabloom.data.store.streaming import Head, Streamed, stream_batches
    from betabloom.system.console import printable

__all__ = [
    "Archive",
    "Arrays",
    "Drawn",
    "Files",
    "Flowers102",
    "Folder",
    "Head",
    "HuggingFace",
    "HuggingFaceStream",
    "Pipeline",
    "Reading",
    "ReadingOptions",
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
    "open_pictures",
    "open_source",
    "open_stream",
    "prepare",
    "prepare_few",
    "printable",
    "resolved",
    "stream_batches",
    "summary_of",
]

_HOMES = {
    "inspection.inspect": "inspect summary_of",
    "inspection.report": "Report printable",
    "pictures.pipeline": "Pipeline",
    "pictures.reading": "Reading ReadingOptions",
    "sources.archive": "Archive",
    "sources.arrays": "Arrays",
    "sources.drawn": "Drawn",
    "sources.fetch": "fetch_flowers102",
    "sources.flowers102": "Flowers102 find_flowers102",
    "sources.folder": "Folder",
    "sources.given": "Files",
    "sources.huggingface": "HuggingFace HuggingFaceStream",
    "sources.locate": "is_stream open_pictures open_source open_stream resolved",
    "sources.shards": "Shards",
    "sources.source": "Source Stream",
    "sources.table": "Table",
    "store.few": "prepare_few",
    "store.prepare": "prepare",
    "store.store": "Store",
    "store.streaming": "Head Streamed stream_batches",
}

__getattr__, __dir__ = face(__name__, _HOMES)
