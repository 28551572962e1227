"""From what a person typed, or a program passed, to a source of pictures: one table for all commands."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from betabloom.data.pictures.opening import readable_suffixes
from betabloom.data.pictures.reading import Reading
from betabloom.data.sources import archive, shards, table
from betabloom.data.sources.encoded import Encoded
from betabloom.data.sources.flowers102 import Flowers102, complete, find_flowers102
from betabloom.data.sources.folder import Folder
from betabloom.data.sources.shards import Shards
from betabloom.data.sources.source import Source
from betabloom.errors import SourceError, UsageError
from betabloom.system.paths import guess_path, local_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Unpack

    from betabloom.data.pictures.reading import ReadingOptions
    from betabloom.data.sources.source import Stream
    from betabloom.system.console import Progress

__all__ = ["KINDS", "Kind", "Request", "is_stream", "open_pictures", "open_source", "open_stream", "resolved"]

_CHOICES = "Give a folder of pictures, `flowers102`, or `drawn` (flowers drawn here, no download needed)"
_OTHER_ARCHIVES = (".7z", ".rar", ".gz", ".zst")


@dataclass(frozen=True)
class Request:
    """What is asked of a source, besides where it is.

    Attributes:
        options: How pictures are read.
        download: Whether what is not here may be downloaded.
        progress: Called as progress(done, total, text) during a download, in bytes.
    """

    options: ReadingOptions
    download: bool = True
    progress: Progress | None = None


@dataclass(frozen=True)
class Kind:
    """One kind of source: a row of `KINDS`. Text is tried as it was typed; paths have the type `Path`.

    Attributes:
        fits: Tells whether a place (text, `Path` or an object) is of this kind.
        open: Opens it.
    """

    fits: Callable[[Any], bool]
    open: Callable[[Any, Request], Source]


def open_source(
    spec: Any,
    *,
    download: bool = True,
    progress: Progress | None = None,
    **options: Unpack[ReadingOptions],
) -> Source:
    """Open the source that `spec` names.

    Arguments:
        spec: A folder; a .zip or .tar file; a .csv, .tsv or .jsonl table of paths and labels; a .npy or .npz file; a
            Parquet file, or a folder of these, or one that `datasets` saved; "hf:NAME" on the Hugging Face Hub, with
            "/CONFIG" and ":SPLIT" if wanted; "flowers102" or None for the Oxford flowers, found where they lie or
            downloaded; "drawn" or "drawn:COUNT" for drawn flowers. A folder that holds a copy of Flowers102 gets its
            labels and splits. Also a NumPy array or torch tensor (see `Arrays`), a list of paths, Pillow pictures or
            arrays, or a `Source`. These words mean the same where a folder has such a name: type ./drawn for that.
        download: Whether Flowers102 may be downloaded.
        progress: Called as progress(done, total, text) during a download, in bytes; total is 0 if it is unknown.
        options: How pictures are read: background, min_size, levels, pages, exclude. See `Reading`.

    Returns:
        The source; nothing is decoded yet.

    Raises:
        SourceError: Nothing usable is there; the message names what to type.
        UsageError: An option has no such value, or an extra package is missing.
        FetchError: The download failed.

    Examples:
        >>> from betabloom import data
        >>> source = data.open_source("drawn:20")
        >>> len(source), source.names[0]
        (20, 'drawn-0000000')
    """
    reading = Reading(**options)
    place = _place(spec)
    for kind in KINDS:
        if kind.fits(place):
            source = kind.open(place, Request(reading.options(), download, progress))
            if reading.pages == "all" and isinstance(source, Encoded):
                from betabloom.data.sources.paged import Paged

                return Paged(source)
            return source
    text = str(place)
    if is_stream(text):
        raise SourceError(f"'{text}' is read as a stream, which does not work here; name one .tar file or a folder")
    if not isinstance(place, str | Path):
        raise UsageError(f"pictures should be a path, an array or a list of pictures, not {type(spec).__name__}")
    raise SourceError(f"there is no folder or file '{text}'.{guess_path(text)} {_CHOICES}")


def open_pictures(given: Sequence[str | os.PathLike[str]], **options: Unpack[ReadingOptions]) -> Source:
    """Open what a command with a model was given: one source of any kind, or picture files one by one.

    Raises:
        SourceError: Nothing usable is there; the message names what to type.
        UsageError: An option has no such value, or an extra package is missing.
    """
    if not isinstance(given, list | tuple) or not all(isinstance(each, str | os.PathLike) for each in given):
        return open_source(given, **options)
    if not given:
        raise UsageError("There are no pictures in an empty list.")
    if len(given) == 1:
        path = _place(given[0])
        if not (isinstance(path, Path) and path.is_file() and _is_picture(path)):
            if isinstance(path, str) and is_stream(path):
                raise UsageError(
                    f"'{path}' is a stream, which has no end: give a folder or one archive of its pictures"
                )
            return open_source(given[0], **options)
    from betabloom.data.sources.given import Files

    return Files(given, **options)


def resolved(spec: str | os.PathLike[str]) -> str:
    """Return `spec` as it can be kept in settings: a path becomes absolute; names of sources stay what they are."""
    place = _place(spec)
    return str(place.resolve()) if isinstance(place, Path) and place.exists() else os.fspath(spec)


def is_stream(spec: Any) -> bool:
    """Tell whether `spec` names a stream, for `open_stream`, rather than a source, for `open_source`."""
    if not isinstance(spec, str | os.PathLike):
        return False
    text = os.fspath(spec)
    return text.startswith("hf-stream:") or (shards.is_pattern(text) and not Path(text).exists())


def open_stream(spec: str | os.PathLike[str], **options: Unpack[ReadingOptions]) -> Stream:
    """Open the stream that `spec` names.

    Arguments:
        spec: WebDataset shards: a glob pattern "flowers/*.tar", a range "flowers-{000..011}.tar", also of http(s)
            addresses, or several of these joined by "::"; or "hf-stream:NAME", with "/CONFIG" and ":SPLIT" if wanted.
        options: How pictures are read and which are left out; see `Reading`.

    Raises:
        SourceError: Nothing usable is there.
        UsageError: An option has no such value, or an extra package is missing.
    """
    text = os.fspath(spec)
    if text.startswith("hf-stream:"):
        from betabloom.data.sources.huggingface import HuggingFaceStream

        return HuggingFaceStream(text.removeprefix("hf-stream:"), **options)
    return Shards(text, **options)


def _place(spec: Any) -> Any:
    """Turn what names a path into one, unless it is a word that names a source."""
    if spec is None:
        return "flowers102"
    if isinstance(spec, os.PathLike):
        return local_path(spec)
    if not isinstance(spec, str) or _is_named(spec) or is_stream(spec):
        return spec
    path = local_path(spec)
    return path if path.exists() else spec


def _is_named(text: str) -> bool:
    return text in ("flowers102", "drawn") or text.startswith(("drawn:", "hf:"))


def _is_file(*suffixes: str) -> Callable[[Any], bool]:
    return lambda place: isinstance(place, Path) and place.is_file() and place.name.lower().endswith(suffixes)


def _is_picture(place: Path) -> bool:
    return place.suffix.lower() in readable_suffixes()


def _flowers102(place: Any, request: Request) -> Source:
    path = find_flowers102()
    if path is None and not request.download:
        raise SourceError(
            "there is no copy of Flowers102 here: type `betabloom fetch flowers102` to download it, or train on "
            "something else: `betabloom train drawn`, or `betabloom train FOLDER` with a folder of your pictures"
        )
    if path is None:
        from betabloom.data.sources.fetch import fetch_flowers102

        path = fetch_flowers102(progress=request.progress)
    return _noting_folder(Flowers102(path, **request.options), place)


def _drawn(place: str, request: Request) -> Source:
    from betabloom.data.sources.drawn import Drawn

    count = place.partition(":")[2] or "4096"
    if not (count.isascii() and count.isdigit() and int(count) > 0):
        raise SourceError(f"'{place}': the number of drawn pictures should be a whole number, as in `drawn:4096`")
    return _noting_folder(Drawn(count=int(count)), place)


def _noting_folder(source: Source, word: str) -> Source:
    if Path(word).exists():
        source.notes = [
            *source.notes,
            f"'{word}' is a built-in source; type ./{word} for the file or folder of that name",
        ]
    return source


def _hugging_face(place: Any, request: Request) -> Source:
    from betabloom.data.sources.huggingface import HuggingFace

    return HuggingFace(place.removeprefix("hf:") if isinstance(place, str) else place, **request.options)


def _folder(path: Path, request: Request) -> Source:
    copy = complete(path)
    if copy is not None:
        return Flowers102(copy, **request.options)
    if any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
        from betabloom.data.sources.huggingface import is_saved

        if is_saved(path):
            return _hugging_face(path, request)
    try:
        return Folder(path, **request.options)
    except SourceError:
        tables = sorted(path.glob("**/*.parquet"))
        if not tables:
            raise
        return _hugging_face(tables, request)


def _arrays(place: Any, request: Request) -> Source:
    from betabloom.data.sources.arrays import Arrays

    return Arrays.load(place, **request.options) if isinstance(place, Path) else Arrays(place, **request.options)


def _list(place: Any, request: Request) -> Source:
    from betabloom.data.sources.given import given

    return given(place, **request.options)


def _refused(place: Path, request: Request) -> Source:
    if _is_picture(place):
        raise SourceError(f"'{place}' is one picture: give the folder that it is in")
    if place.name.lower().endswith(_OTHER_ARCHIVES):
        raise SourceError(f"'{place}' is an archive of a kind that cannot be read in place: unpack it, or make a .zip")
    raise SourceError(f"'{place}' is a file, not a folder of pictures, archive or table. {_CHOICES}")


KINDS: list[Kind] = [
    Kind(lambda place: isinstance(place, Source), lambda place, _: place),
    Kind(lambda place: place == "flowers102" if isinstance(place, str) else False, _flowers102),
    Kind(lambda place: isinstance(place, str) and (place == "drawn" or place.startswith("drawn:")), _drawn),
    Kind(lambda place: isinstance(place, str) and place.startswith("hf:"), _hugging_face),
    Kind(lambda place: isinstance(place, Path) and place.is_dir(), _folder),
    Kind(_is_file(*archive.SUFFIXES), lambda place, request: archive.Archive(place, **request.options)),
    Kind(_is_file(*table.SUFFIXES), lambda place, request: table.Table(place, **request.options)),
    Kind(_is_file(".npy", ".npz"), _arrays),
    Kind(_is_file(".parquet"), _hugging_face),
    Kind(lambda place: isinstance(place, Path) and place.is_file(), _refused),
    Kind(lambda place: isinstance(place, list | tuple), _list),
    Kind(lambda place: not isinstance(place, str | Path) and hasattr(place, "__array__"), _arrays),
]
"""The kinds of sources, tried from the first on. A new kind is a row more: `KINDS.insert(0, Kind(fits, open))`."""
