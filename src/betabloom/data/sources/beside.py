"""What lies beside pictures and is not one: hidden files, folders that systems keep, and what a person leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from betabloom.data.pictures.opening import readable_suffixes
from betabloom.errors import PictureError
from betabloom.system.ownership import is_sheet, record_in

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from betabloom.data.pictures.reading import Reading

__all__ = ["METADATA", "ignored_as", "refuse_sheet"]

METADATA = ("metadata.jsonl", "metadata.csv", "dataset.json")
"""Files that give labels to the pictures beside them."""

# Deleted pictures, thumbnails, snapshots and resource forks, as Windows, macOS and network storage keep them.
_SYSTEM = frozenset(
    {
        "#recycle", "#snapshot", "$recycle.bin", "@__thumb", "@eadir", "@recently-snapshot", "@recycle", "@sharebin",
        "@sharesnap", "@tmp", "__macosx", "lost+found", "network trash folder", "recycler", "system volume information",
        "temporary items",
    }
)  # fmt: skip


def refuse_sheet(file: Path | BinaryIO) -> None:
    """Refuse a picture that betabloom made of several.

    Raises:
        PictureError: It is one.
    """
    if is_sheet(record_in(file)):
        raise PictureError("a sheet of pictures or an animation that betabloom made")


def ignored_as(name: str, reading: Reading) -> str:
    """Tell why a file or folder of this relative name (forward slashes) is left out.

    Returns:
        How it is counted: "hidden", the name of a system's folder, "excluded", or its ending where that is no
        picture's; "" for a picture. Folders are asked for with a "/" at the end.
    """
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    for part in parts:
        if part.startswith("."):
            return "hidden"
        if part.casefold() in _SYSTEM:
            return part
    if reading.excludes(name.rstrip("/")):
        return "excluded"
    stem, dot, ending = (parts[-1] if parts else "").rpartition(".")
    suffix = dot + ending.lower() if stem and ending else ""
    if name.endswith("/") or suffix in readable_suffixes():
        return ""
    return suffix or "no ending"
