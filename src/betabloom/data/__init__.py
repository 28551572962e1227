"""Pictures: sources, pipelines and the prepared store. Imports no model code and no torch."""

from typing import TYPE_CHECKING, Any

from betabloom.data.flowers102 import Flowers102, find_flowers102
from betabloom.data.folder import Folder
from betabloom.data.locate import open_source
from betabloom.data.pipeline import Pipeline
from betabloom.data.preparing import prepare
from betabloom.data.source import Source
from betabloom.data.store import Store

if TYPE_CHECKING:
    from betabloom.data.drawn import Drawn
    from betabloom.data.fetch import fetch_flowers102

__all__ = [
    "Drawn",
    "Flowers102",
    "Folder",
    "Pipeline",
    "Source",
    "Store",
    "fetch_flowers102",
    "find_flowers102",
    "open_source",
    "prepare",
]


def __getattr__(name: str) -> Any:
    """Import on first use what most programs do not need."""
    if name == "Drawn":
        from betabloom.data.drawn import Drawn

        return Drawn
    if name == "fetch_flowers102":
        from betabloom.data.fetch import fetch_flowers102

        return fetch_flowers102
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
