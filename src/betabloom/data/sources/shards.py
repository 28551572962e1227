"""WebDataset shards: .tar files, local or on the web, whose members with one stem belong together.

    flower-000.tar: rose1.jpg rose1.cls rose2.jpg rose2.cls …

They are read from front to back with the standard library. Of each example only the picture and, as text, the class
index are read; nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import glob
import io
import os
import random
import re
import tarfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from betabloom.data.pictures.decode import decode
from betabloom.data.sources.archive import MAX_BYTES, is_picture_name
from betabloom.data.sources.encoded import natural, parse_colour
from betabloom.data.sources.source import Stream
from betabloom.errors import SourceError
from betabloom.system.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from PIL import Image

__all__ = ["Shards", "expand", "is_pattern"]

_SECONDS = 60  # without an answer from a server
_MOST = 100_000
_LABELS = {"cls", "class", "label"}
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


class Shards(Stream):
    """A stream of the pictures in .tar shards.

    Arguments:
        places: Paths and web addresses, or one text: a glob pattern ("flowers/*.tar"), a range
            ("flowers-{000..011}.tar", also for web addresses), or several of these joined by "::".
        background: The colour seen through transparent pixels: a name, or "#rrggbb".
        min_size: Leave out pictures with a side of fewer pixels.

    Raises:
        SourceError: No such file is there.
    """

    def __init__(
        self, places: str | Sequence[str | os.PathLike[str]], *, background: str = "white", min_size: int = 0
    ) -> None:
        super().__init__()
        self.places = expand(places) if isinstance(places, str) else [os.fspath(place) for place in places]
        if not self.places:
            raise SourceError(f"there are no shards '{places}'")
        missing = [place for place in self.places if not _is_address(place) and not Path(place).is_file()]
        if missing:
            raise SourceError(f"there is no file '{missing[0]}'")
        more = f" and {len(self.places) - 1} more shards" if len(self.places) > 1 else ""
        self.name = PurePosixPath(self.places[0]).name + more
        self._options = {"background": background, "min_size": min_size}
        self.background, self.min_size = parse_colour(background), min_size
        self._part = (0, 1)

    def shard(self, rank: int, world: int) -> Shards:
        """Return every `world`-th shard, or every `world`-th picture where there are fewer shards than that."""
        if len(self.places) >= world:
            return self._with(self.places[rank::world])
        part = self._with(self.places)
        part._part = (rank, world)
        return part

    def reordered(self, seed: int) -> Shards:
        """Return the shards in another order."""
        return self._with(random.Random(seed).sample(self.places, len(self.places)))

    def _with(self, places: list[str]) -> Shards:
        changed = Shards(places, **self._options)  # type: ignore[arg-type]
        changed._part, changed.skipped, changed.name = self._part, self.skipped, self.name
        return changed

    def decode(self, file: Path | BinaryIO, at_least: tuple[int, int] | None = None) -> Image.Image:
        """Decode what `files` yields; see `Stream.decode`."""
        return decode(file, at_least=at_least, background=self.background, min_size=self.min_size)

    def files(self) -> Iterator[tuple[str, BinaryIO, int | None]]:
        """Yield the pictures of one shard after the other; a damaged or missing shard is noted and left."""
        number, (rank, world) = 0, self._part
        for place in self.places:
            try:
                for name, content, label in _examples(place):
                    if number % world == rank:
                        yield f"{place}/{name}", io.BytesIO(content), label
                    number += 1
            except (OSError, EOFError, tarfile.TarError) as error:
                self.skipped.add(place, f"the shard cannot be read to its end: {error or type(error).__name__}")


def is_pattern(text: str) -> bool:
    """Tell whether a text names shards: a pattern, a range, a list, or a web address of a .tar file."""
    tar = ".tar" in text or ".tgz" in text
    return tar and ("::" in text or _is_address(text) or any(sign in text for sign in "*?{"))


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


@contextlib.contextmanager
def _opened(place: str) -> Iterator[BinaryIO]:
    if _is_address(place):
        import urllib.request  # slow to import, and only for this

        with urllib.request.urlopen(place, timeout=_SECONDS) as answer:  # noqa: S310  # http and https only
            yield answer
    else:
        with Path(place).open("rb") as file:
            yield file


def _examples(place: str) -> Iterator[tuple[str, bytes, int | None]]:
    """Yield (name of the picture, its bytes, class index or None): members with one stem, side by side, are one."""
    stem, picture, label = "", None, None
    with _opened(place) as file, tarfile.open(fileobj=file, mode="r|*") as tar:
        for info in tar:
            if not info.isreg() or info.size > MAX_BYTES:
                continue
            own, _, kind = info.name.rpartition("/")[2].partition(".")
            own = f"{info.name.rpartition('/')[0]}/{own}"
            if own != stem:
                if picture is not None:
                    yield *picture, label
                stem, picture, label = own, None, None
            if kind.lower().rpartition(".")[2] in _LABELS:
                label = _index(_content(tar, info))
            elif is_picture_name(info.name):
                picture = info.name, _content(tar, info)
            tar.members.clear()  # type: ignore[attr-defined]  # it would remember every member of a long shard
    if picture is not None:
        yield *picture, label


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(info)
    content = b"" if file is None else file.read()
    if len(content) != info.size:
        raise EOFError("it is cut short")
    return content


def _index(text: bytes) -> int | None:
    return int(text) if text.strip().isdigit() else None
