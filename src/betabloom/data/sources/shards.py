"""Shards, local or on the web: Parquet and Arrow files, and the .tar files of WebDataset.

Members of a .tar file with one stem belong together:

    flower-000.tar: rose1.jpg rose1.cls rose2.jpg rose2.cls …

Such files are read from front to back with the standard library. Of each example only the picture and, as text, the
class index are read; nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import glob
import io
import lzma
import os
import random
import re
import tarfile
import time
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from betabloom.data.sources import columnar
from betabloom.data.sources.beside import ignored_as
from betabloom.data.sources.encoded import natural
from betabloom.data.sources.source import Skipped, Stream
from betabloom.data.sources.tar import MAX_BYTES, open_tar
from betabloom.errors import SourceError, UsageError
from betabloom.system.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from typing import Any, BinaryIO

    from typing_extensions import Unpack

    from betabloom.data.pictures.reading import Reading, ReadingOptions

__all__ = ["Shards", "expand", "is_pattern"]

_SECONDS = 60  # without an answer from a server
_WAITS = (1, 4, 16)  # seconds before it is asked again
_MOST = 100_000
_PICTURES = 64  # with one stem that are held at a time
_LABEL_BYTES = 1 << 16
_BLOCK = 1 << 20
_LABELS = {"cls", "class", "label"}
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


class Shards(Stream):
    """A stream of the pictures in .tar, .parquet or .arrow shards.

    Arguments:
        places: Paths and web addresses, or one text: a glob pattern ("flowers/*.tar"), a range
            ("flowers-{000..011}.tar", also for web addresses), or several of these joined by "::".
        options: How pictures are read and which are left out; see `Reading`.

    Raises:
        SourceError: No such file is there.
    """

    def __init__(self, places: str | Sequence[str | os.PathLike[str]], **options: Unpack[ReadingOptions]) -> None:
        super().__init__(**options)
        self.places = expand(places) if isinstance(places, str) else [os.fspath(place) for place in places]
        if not self.places:
            raise SourceError(f"there are no shards '{places}'")
        missing = [place for place in self.places if not _is_address(place) and not Path(place).is_file()]
        if missing:
            raise SourceError(f"there is no file '{missing[0]}'")
        more = f" and {len(self.places) - 1} more shards" if len(self.places) > 1 else ""
        self.name = PurePosixPath(self.places[0]).name + more
        self._part = (0, 1)

    def shard(self, rank: int, world: int) -> Shards:
        """Return every `world`-th shard, or every `world`-th picture where shards do not divide so.

        Then every process reads all shards; still each picture is decoded by one.
        """
        if len(self.places) % world == 0:
            return self._with(self.places[rank::world])
        part = self._with(self.places)
        part._part = (rank, world)
        return part

    def reordered(self, seed: int) -> Shards:
        """Return the shards in another order."""
        return self._with(random.Random(seed).sample(self.places, len(self.places)))

    def _with(self, places: list[str]) -> Shards:
        changed = Shards(places, **self.reading.options())
        changed._part, changed.skipped, changed.name = self._part, self.skipped, self.name
        return changed

    def files(self) -> Iterator[tuple[str, BinaryIO, int | None]]:
        """Yield the pictures of one shard after the other; a damaged or missing shard is noted and left."""
        return ((name, file, label) for _, name, file, label in self._all())

    def numbered(self, first: int = 0, wanted: Collection[int] = ()) -> Iterator[tuple[int, str, BinaryIO]]:
        """As for every stream; shards whose number of pictures is known (`counts`) are skipped without being opened."""
        for number, name, file, _ in self._all(first, wanted):
            if number >= first or number in wanted:
                yield number, name, file

    def _all(self, first: int = 0, wanted: Collection[int] = ()) -> Iterator[tuple[int, str, BinaryIO, int | None]]:
        number, (rank, world) = 0, self._part
        resumed = first > 0 or bool(wanted)  # then pictures have the numbers that they had before
        for index, place in enumerate(self.places):
            known = self.counts[index] if resumed and index < len(self.counts) else None
            if (
                known is not None
                and number + known <= first
                and not any(number <= each < number + known for each in wanted)
            ):
                number += known
                continue
            begun = number
            try:
                for name, content, label in _read(place, self.reading, self.skipped):
                    if number - begun == known:
                        break  # the first time, it could not be read further
                    if number % world == rank:
                        yield number, f"{place}/{name}", io.BytesIO(content), label
                    number += 1
            except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error, lzma.LZMAError) as error:
                if isinstance(error, UsageError):
                    raise
                self.skipped.add(place, f"the shard cannot be read to its end: {error or type(error).__name__}")
            if known is None:
                self.counts[index : index + 1] = [number - begun]  # another reader may have been here meanwhile
            else:
                number = begun + known  # what comes after it keeps its numbers, also where it can be read no more


def is_pattern(text: str) -> bool:
    """Tell whether a text names shards: a pattern, a range, a list, or a web address of a shard."""
    named = any(suffix in text for suffix in (".tar", ".tgz", *columnar.SUFFIXES))
    return named and ("::" in text or _is_address(text) or any(sign in text for sign in "*?{"))


def expand(text: str) -> list[str]:
    """Return the places that patterns, ranges and lists stand for, local ones in natural order."""
    places = []
    for part in text.split("::"):
        for place in _ranges(part):
            if any(sign in place for sign in "*?") and not _is_address(place):
                places += sorted(glob.glob(str(local_path(place))), key=natural)  # noqa: PTH207
            else:
                places.append(place)
    return places


def _ranges(text: str) -> Iterator[str]:
    match = _RANGE.search(text)
    if match is None:
        yield text
        return
    first, last = int(match[1]), int(match[2])
    if not 0 <= last - first < _MOST:
        raise SourceError(f"'{match[0]}' should count up, over at most {_MOST:,} shards")
    for number in range(first, last + 1):
        yield from _ranges(f"{text[: match.start()]}{number:0{len(match[1])}}{text[match.end() :]}")


def _is_address(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def _answer(place: str) -> BinaryIO:
    """What a server sends; it is asked again where the network or the server fails, but not where there is no shard."""
    import urllib.request  # slow to import, and only for this

    waits = list(_WAITS)
    while True:
        try:
            answer: BinaryIO = urllib.request.urlopen(place, timeout=_SECONDS)  # noqa: S310  # http and https only
            return answer
        except OSError as error:
            if not waits or 400 <= getattr(error, "code", 500) < 500:
                raise
            time.sleep(waits.pop(0))


@contextlib.contextmanager
def _opened(place: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """Open a shard; yield its bytes, and how many they are if that is known."""
    if _is_address(place):
        with _answer(place) as answer:
            yield answer, None
    else:
        with Path(place).open("rb") as file:
            yield file, Path(place).stat().st_size


def _read(place: str, reading: Reading, skipped: Skipped) -> Iterator[tuple[str, bytes, int | None]]:
    """The pictures of one shard."""
    if not place.split("?")[0].endswith(columnar.SUFFIXES):
        yield from _examples(place, reading, skipped)
        return
    with _opened(place) as (file, size):
        yield from columnar.rows(columnar.seekable(file) if size is None else file, place, reading, skipped)


class _Example:
    """Members with one stem, side by side: pictures, and the class index of all of them."""

    def __init__(self, stem: str) -> None:
        self.stem = stem
        self.label: int | None = None
        self.pictures: list[tuple[str, bytes]] = []

    def chosen(self, skipped: Skipped, place: str) -> Iterator[tuple[str, bytes, int | None]]:
        """Yield the picture of the example: the one whose name is the stem and an ending; without one, all of them.

        "k.png" and "k.mask.png" are a picture and what belongs to it; "photo 22.05.png" and "photo 22.06.png" are two.
        """
        own = [picture for picture in self.pictures if picture[0].rpartition(".")[0] == self.stem]
        for name, content in own[:1] or self.pictures:
            yield name, content, self.label
        for picture in self.pictures if own else ():
            if picture is not own[0]:
                skipped.add(f"{place}/{picture[0]}", f"beside '{own[0][0]}', which is the picture of this example")


def _examples(place: str, reading: Reading, skipped: Skipped) -> Iterator[tuple[str, bytes, int | None]]:
    """Yield (name of the picture, its bytes, class index or None) of a shard, and note what is left out."""
    example = _Example("")
    with _opened(place) as (file, size), open_tar(file, size, forward=size is None) as (tar, _):
        for info in tar:
            stem = _stem(info.name)
            if stem != example.stem or len(example.pictures) == _PICTURES:
                yield from example.chosen(skipped, place)
                example = _Example(stem)
            _add(example, info, tar, reading, lambda name, why: skipped.add(f"{place}/{name}", why))
            tar.members.clear()  # type: ignore[attr-defined]  # it would remember every member of a long shard
    yield from example.chosen(skipped, place)


def _stem(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _add(
    example: _Example, info: tarfile.TarInfo, tar: tarfile.TarFile, reading: Reading, skip: Callable[[str, str], None]
) -> None:
    """Read a member if it is a picture or a class index."""
    if info.isreg() and info.name.lower().rpartition(".")[2] in _LABELS and info.size < _LABEL_BYTES:
        example.label = _index(_content(tar, info))
    elif info.isdir() or ignored_as(info.name, reading):
        return
    elif not info.isreg():
        skip(info.name, f"a link to '{info.linkname}', which cannot be followed in a stream")
    elif info.size > MAX_BYTES:
        skip(info.name, f"too large: {info.size >> 20:,} MB, and the limit is {MAX_BYTES >> 20} MB")
    else:
        example.pictures.append((info.name, _content(tar, info)))


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file: Any = tar.extractfile(info) if info.issparse() else tar.fileobj
    if not info.issparse():
        file.seek(info.offset_data)
    content = bytearray()
    while block := file.read(min(_BLOCK, info.size - len(content))):
        content += block
    if len(content) != info.size:
        raise EOFError("it is cut short")
    return bytes(content)


def _index(text: bytes) -> int | None:
    return int(text) if text.strip().isdigit() else None
