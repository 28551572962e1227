"""From what a person typed to a source of pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from betabloom.data.pictures.decode import readable_suffixes
from betabloom.data.sources import archive, shards, table
from betabloom.data.sources.archive import Archive
from betabloom.data.sources.flowers102 import Flowers102, complete, find_flowers102
from betabloom.data.sources.folder import Folder
from betabloom.data.sources.shards import Shards
from betabloom.data.sources.table import Table
from betabloom.errors import SourceError
from betabloom.system.paths import local_path

if TYPE_CHECKING:
    from betabloom.data.sources.source import Source, Stream
    from betabloom.system.console import Progress

__all__ = ["is_stream", "open_source", "open_stream"]

_CHOICES = "Give a folder of pictures, `flowers102`, or `drawn` (flowers drawn here, no download needed)"
_OTHER_ARCHIVES = (".7z", ".rar", ".gz", ".zst")


class _Options(TypedDict):
    background: str
    min_size: int


def open_source(
    spec: str | os.PathLike[str] | None,
    *,
    min_size: int = 0,
    background: str = "white",
    download: bool = True,
    progress: Progress | None = None,
) -> Source:
    """Open the source that `spec` names.

    Arguments:
        spec: A folder; a .zip or .tar file; a .csv, .tsv or .jsonl table of paths and labels; a .npy or .npz file; a
            Parquet file, or a folder of these, or one that `datasets` saved; "hf:NAME" on the Hugging Face Hub, with
            "/CONFIG" and ":SPLIT" if wanted; "flowers102" or None for the Oxford flowers, found where they lie or
            downloaded; "drawn" or "drawn:COUNT" for drawn flowers. A folder that holds a copy of Flowers102 gets its
            labels and splits.
        min_size: Leave out pictures with a side of fewer pixels (not asked of arrays and drawn flowers).
        background: The colour seen through transparent pixels: a name, or "#rrggbb".
        download: Whether Flowers102 may be downloaded.
        progress: Called as progress(done, total, text) during a download, in bytes; total is 0 if it is unknown.

    Raises:
        SourceError: Nothing usable is there; the message names what to type.
        UsageError: There is no such colour or size, or an extra package is missing.
        FetchError: The download failed.
    """
    text = "flowers102" if spec is None else os.fspath(spec)
    options: _Options = {"min_size": min_size, "background": background}
    if text == "flowers102":
        return _flowers102(download, progress, min_size)
    if text == "drawn" or text.startswith("drawn:"):
        return _drawn(text)
    if text.startswith("hf:"):
        from betabloom.data.sources.huggingface import HuggingFace

        return HuggingFace(text.removeprefix("hf:"), **options)
    path = local_path(text)
    if path.is_dir():
        return _folder(path, options)
    if path.is_file():
        return _file(path, options)
    if is_stream(text):
        raise SourceError(f"'{text}' is read as a stream, which this does not work on; name one .tar file or a folder")
    raise SourceError(f"there is no folder or file '{text}'. {_CHOICES}")


def is_stream(spec: str | os.PathLike[str] | None) -> bool:
    """Tell whether `spec` names a stream, for `open_stream`, rather than a source, for `open_source`."""
    text = "" if spec is None else os.fspath(spec)
    return text.startswith("hf-stream:") or (shards.is_pattern(text) and not Path(text).exists())


def open_stream(spec: str | os.PathLike[str], *, min_size: int = 0, background: str = "white") -> Stream:
    """Open the stream that `spec` names.

    Arguments:
        spec: WebDataset shards: a glob pattern "flowers/*.tar", a range "flowers-{000..011}.tar", also of http(s)
            addresses, or several of these joined by "::"; or "hf-stream:NAME", with "/CONFIG" and ":SPLIT" if wanted.
        min_size: Leave out pictures with a side of fewer pixels.
        background: The colour seen through transparent pixels: a name, or "#rrggbb".

    Raises:
        SourceError: Nothing usable is there.
        UsageError: There is no such colour, or an extra package is missing.
    """
    text = os.fspath(spec)
    if text.startswith("hf-stream:"):
        from betabloom.data.sources.huggingface import HuggingFaceStream

        return HuggingFaceStream(text.removeprefix("hf-stream:"), min_size=min_size, background=background)
    return Shards(text, min_size=min_size, background=background)


def _folder(path: Path, options: _Options) -> Source:
    copy = complete(path)
    if copy is not None:
        return Flowers102(copy, min_size=options["min_size"])
    if any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
        from betabloom.data.sources.huggingface import HuggingFace, is_saved

        if is_saved(path):
            return HuggingFace(path, **options)
    try:
        return Folder(path, **options)
    except SourceError:
        tables = sorted(path.glob("**/*.parquet"))
        if not tables:
            raise
        from betabloom.data.sources.huggingface import HuggingFace

        return HuggingFace(tables, **options)


def _file(path: Path, options: _Options) -> Source:
    name = path.name.lower()
    if name.endswith(archive.SUFFIXES):
        return Archive(path, **options)
    if name.endswith(table.SUFFIXES):
        return Table(path, **options)
    if name.endswith((".npy", ".npz")):
        from betabloom.data.sources.arrays import Arrays

        return Arrays.load(path)
    if name.endswith(".parquet"):
        from betabloom.data.sources.huggingface import HuggingFace

        return HuggingFace(path, **options)
    if path.suffix.lower() in readable_suffixes():
        raise SourceError(f"'{path}' is one picture: give the folder that it is in")
    if name.endswith(_OTHER_ARCHIVES):
        raise SourceError(
            f"'{path}' is an archive of a kind that cannot be read in place: unpack it, or make it a .zip"
        )
    raise SourceError(f"'{path}' is a file, not a folder of pictures, archive or table. {_CHOICES}")


def _flowers102(download: bool, progress: Progress | None, min_size: int) -> Source:
    path = find_flowers102()
    if path is None and not download:
        raise SourceError(
            "there is no copy of Flowers102 here: type `betabloom fetch flowers102` to download it, or train on "
            "something else: `betabloom train drawn`, or `betabloom train FOLDER` with a folder of your pictures"
        )
    if path is None:
        from betabloom.data.sources.fetch import fetch_flowers102

        path = fetch_flowers102(progress=progress)
    return Flowers102(path, min_size=min_size)


def _drawn(text: str) -> Source:
    from betabloom.data.sources.drawn import Drawn

    count = text.partition(":")[2] or "4096"
    if not (count.isascii() and count.isdigit() and int(count) > 0):
        raise SourceError(f"'{text}': the number of drawn pictures should be a whole number, as in `drawn:4096`")
    return Drawn(count=int(count))
