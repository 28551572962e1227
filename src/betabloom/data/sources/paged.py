"""Files with several pages or frames, each of which is a picture: microscope stacks, scans, animations."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from betabloom.data.pictures.decode import IN_ORDER, PAGED, PictureFacts, decode, pages_in, peek
from betabloom.data.pictures.frames import Frames
from betabloom.data.pictures.tiff import from_page
from betabloom.data.sources.source import Source
from betabloom.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from betabloom.data.sources.encoded import Encoded

__all__ = ["Paged"]


class Paged(Source):
    """The pictures of another source, and of files with several pages or frames each of these.

    Page k, counted from 1, of "stack.tif" is named "stack.tif page k".

    Arguments:
        source: The files.
    """

    def __init__(self, source: Encoded) -> None:
        self._source, self.reading = source, source.reading
        found = [_pages(source, index) for index in range(len(source))]
        self._counts = counts = [count for count, _ in found]
        self._held, self._facts = threading.local(), dict[int, PictureFacts]()
        self._places = [(index, page) for index, count in enumerate(counts) for page in range(count)]
        self._directories = [directories for _, directories in found]
        self.name, self.left_alone, self.notes = source.name, source.left_alone, source.notes
        self.path: Path | None = getattr(source, "path", None)
        self.names = [source.names[i] + (f" page {page + 1}" if counts[i] > 1 else "") for i, page in self._places]
        of_each = np.array([index for index, _ in self._places], dtype=np.int64)
        self.labels = None if source.labels is None else source.labels[of_each]
        self.label_names = source.label_names
        self.splits = {name: np.flatnonzero(np.isin(of_each, rows)) for name, rows in source.splits.items()}

    def read(self, index: int) -> Image.Image:
        """Decode picture `index`; see `Source.read`."""
        return self._decoded(index)

    def read_reduced(self, index: int, at_least: tuple[int, int]) -> Image.Image:
        """Decode picture `index`; see `Source.read_reduced`."""
        return self._decoded(index, at_least)

    def read_transparent(self, index: int, at_least: tuple[int, int] | None = None) -> Image.Image:
        """Decode picture `index` with its transparency; see `Source.read_transparent`."""
        return self._decoded(index, at_least, alpha=True)

    def facts(self, index: int) -> PictureFacts:
        """Read the header of picture `index`; see `Source.facts`."""
        number, _ = self._places[index]
        if number in self._facts:
            return self._facts[number]
        with self._opened(index) as (file, page):
            found = peek(file, self.reading, page)
        if found.format in IN_ORDER and self._counts[number] > 1:
            self._facts[number] = found
        return found

    def _decoded(self, index: int, at_least: tuple[int, int] | None = None, *, alpha: bool = False) -> Image.Image:
        number, page = self._places[index]
        if self._counts[number] > 1 and not self._directories[number]:
            return self._frames(number, page).read(page, at_least, alpha=alpha)
        with self._opened(index) as (file, page):
            return decode(file, self.reading, at_least=at_least, alpha=alpha, page=page)

    def _frames(self, number: int, page: int) -> Frames:
        """The animation in file `number`, which stays open until this thread reads another one, or goes back in it."""
        held: tuple[int, Frames] | None = getattr(self._held, "frames", None)
        if held and held[0] == number and held[1].last <= page:
            return held[1]
        if held:
            self._held.frames = None
            held[1].close()
        frames = Frames(self._source.open(number), self.reading)
        self._held.frames = number, frames
        return frames

    @contextlib.contextmanager
    def _opened(self, index: int) -> Iterator[tuple[Path | BinaryIO, int]]:
        """The file of picture `index`, and its page in that: the first one of a TIFF, since it then begins there."""
        number, page = self._places[index]
        file, directories = self._source.open(number), self._directories[number]
        if len(directories) < 2:
            yield file, page
            return
        try:
            own = from_page(file, directories[page])
        except OSError as error:
            raise PictureError(os.strerror(error.errno or 0).lower()) from error
        with own:
            yield own, 0

    def fingerprint(self) -> str:
        """Digest what the other source does, and how many pages there are."""
        return f"{self._source.fingerprint()}{len(self._places):x}"


def _pages(source: Encoded, index: int) -> tuple[int, list[int]]:
    """How many pages a file has, and where those of a TIFF are."""
    suffix = PurePosixPath(source.names[index]).suffix.lower()
    if Image.registered_extensions().get(suffix, PAGED[0]) not in PAGED:
        return 1, []
    try:
        return pages_in(source.open(index))
    except PictureError:
        return 1, []
