"""From what a person typed to a source of pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from betabloom.data.flowers102 import Flowers102, complete, find_flowers102
from betabloom.data.folder import Folder
from betabloom.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from betabloom.data.source import Source

__all__ = ["open_source"]

_CHOICES = "Give a folder of pictures, `flowers102`, or `drawn` (flowers drawn here, no download needed)"


def open_source(
    spec: str | os.PathLike[str] | None,
    *,
    download: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Source:
    """Open the source that `spec` names.

    Arguments:
        spec: A folder; "flowers102" or None for the Oxford flowers, found where they lie or downloaded; "drawn" or
            "drawn:COUNT" for drawn flowers. A folder that holds a copy of Flowers102 gets its labels and splits.
        download: Whether Flowers102 may be downloaded.
        progress: Called with (bytes done, bytes in all, 0 if unknown) during a download.

    Raises:
        SourceError: Nothing usable is there; the message names what to type.
        FetchError: The download failed.
    """
    text = "flowers102" if spec is None else os.fspath(spec)
    if text == "flowers102":
        return _flowers102(download, progress)
    if text == "drawn" or text.startswith("drawn:"):
        return _drawn(text)
    path = Path(text).expanduser()
    if path.is_dir():
        copy = complete(path)
        return Folder(path) if copy is None else Flowers102(copy)
    if path.exists():
        raise SourceError(f"'{text}' is a file, not a folder of pictures. {_CHOICES}")
    raise SourceError(f"there is no folder '{text}'. {_CHOICES}")


def _flowers102(download: bool, progress: Callable[[int, int], None] | None) -> Source:
    path = find_flowers102()
    if path is None and not download:
        raise SourceError(
            "there is no copy of Flowers102 here: type `betabloom fetch flowers102` to download it, or train on "
            "something else: `betabloom train drawn`, or `betabloom train FOLDER` with a folder of your pictures"
        )
    if path is None:
        from betabloom.data.fetch import fetch_flowers102

        path = fetch_flowers102(progress=progress)
    return Flowers102(path)


def _drawn(text: str) -> Source:
    from betabloom.data.drawn import Drawn

    count = text.partition(":")[2] or "4096"
    if not (count.isascii() and count.isdigit() and int(count) > 0):
        raise SourceError(f"'{text}': the number of drawn pictures should be a whole number, as in `drawn:4096`")
    return Drawn(count=int(count))
