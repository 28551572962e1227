"""What all sources of pictures have in common.

A *source* knows how many pictures there are and what they are called, and decodes one when asked. It holds no
pixels. Sources are read from several threads at once, so `read` keeps no state.

A *stream* only knows the next picture: what is too large for one disk, or lies elsewhere, is read as it comes.
"""

from __future__ import annotations

import abc
import types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from betabloom.data.pictures.decode import decode
from betabloom.data.pictures.reading import Reading
from betabloom.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    import numpy as np
    from PIL import Image
    from typing_extensions import Unpack

    from betabloom.data.pictures.decode import PictureFacts
    from betabloom.data.pictures.reading import ReadingOptions

__all__ = ["Skipped", "Source", "Stream"]

_REMEMBERED = 1000  # bad pictures of a stream whose names are kept


class Source(abc.ABC):
    """A finite, indexable collection of pictures.

    Attributes:
        name: What a person calls it: "flowers102", "drawn", or the folder's name.
        names: One name per picture, unique; a relative path with forward slashes where there are files.
        labels: One class index per picture, int64 with shape (N,), or None. Training ignores labels.
        label_names: The name of each class, or None.
        splits: Official splits as {"train": indices, "val": indices, …}; empty where the source has none.
        left_alone: How many files beside the pictures were not looked at, by ending, and "hidden" ones.
        notes: What was guessed or left out when it was opened, as sentences that name the option that changes it.
    """

    name: str
    names: Sequence[str]
    labels: np.ndarray | None = None
    label_names: Sequence[str] | None = None
    splits: dict[str, np.ndarray]
    left_alone: Mapping[str, int] = types.MappingProxyType({})
    notes: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.names)

    @abc.abstractmethod
    def read(self, index: int) -> Image.Image:
        """Decode picture `index` as RGB (or L), upright.

        Raises:
            PictureError: It cannot be read; the message is the reason, without the name.
        """

    def read_reduced(self, index: int, at_least: tuple[int, int]) -> Image.Image:
        """Decode picture `index` for a reader who will shrink it to (height, width) `at_least`.

        A source that can decode faster at a smaller scale, not below that size, overrides this.

        Raises:
            PictureError: As `read`.
        """
        return self.read(index)

    def read_transparent(self, index: int, at_least: tuple[int, int] | None = None) -> Image.Image:
        """Decode picture `index` with its transparency, for models of four channels.

        Returns:
            The picture, in mode RGBa (colours multiplied by alpha) if it has transparency; otherwise as `read`.

        Raises:
            PictureError: As `read`.
        """
        return self.read(index) if at_least is None else self.read_reduced(index, at_least)

    def facts(self, index: int) -> PictureFacts | None:
        """Return the size and format of picture `index`, or None where only decoding would tell.

        Raises:
            PictureError: As `read`, as far as that shows without decoding.
        """
        return None

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Return a hexadecimal digest that changes when the pictures, their order or their names change.

        It must be cheap: files are told apart by what the system knows of them and a few samples, not by reading all.
        """


@dataclass
class Skipped:
    """Pictures and shards of a stream that could not be used.

    Attributes:
        count: How often that happened, in all passes.
        reasons: {name: reason}; of very many the first thousand.
    """

    count: int = 0
    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, reason: str) -> None:
        """Note one."""
        self.count += 1
        if len(self.reasons) < _REMEMBERED:
            self.reasons[name] = reason


class Stream(abc.ABC):
    """Pictures that come one after the other, of unknown number.

    Arguments:
        options: How pictures are read; see `Reading`.

    Attributes:
        name: What a person calls it.
        label_names: The name of each class, or None.
        skipped: What could not be used so far; the parts of a stream share it.
        counts: How many pictures the first of its shards hold, as far as they were read: what is known need not be read
            again to be passed by.
    """

    name: str
    label_names: Sequence[str] | None = None
    counts: list[int]

    def __init__(self, **options: Unpack[ReadingOptions]) -> None:
        self.counts = []
        self.skipped = Skipped()
        self.reading = Reading(**options)

    @abc.abstractmethod
    def files(self) -> Iterator[tuple[str, Path | BinaryIO, int | None]]:
        """Start again and yield (name, encoded picture, class index or None) in a fixed order."""

    def numbered(self, first: int = 0, wanted: Collection[int] = ()) -> Iterator[tuple[int, str, Path | BinaryIO]]:
        """Yield (number, name, encoded picture) of what `files` yields: from number `first` on, and `wanted` before."""
        for number, (name, file, _) in enumerate(self.files()):
            if number >= first or number in wanted:
                yield number, name, file

    @abc.abstractmethod
    def shard(self, rank: int, world: int) -> Stream:
        """Return the part of this stream that process `rank` of `world` reads: together they read all, once."""

    def reordered(self, seed: int) -> Stream:
        """Return the same pictures in another order, as far as that costs nothing: shards can be shuffled."""
        return self

    def decode(
        self, file: Path | BinaryIO, at_least: tuple[int, int] | None = None, *, alpha: bool = False
    ) -> Image.Image:
        """Decode what `files` yields, as `Source.read_reduced` does, or with `alpha` as `read_transparent`.

        Arguments:
            file: What `files` yields.
            at_least: (height, width) that is enough; a JPEG may be decoded at a reduced size above it.
            alpha: Keep the opacity, as a fourth channel.

        Returns:
            The picture, upright.

        Raises:
            PictureError: It cannot be read; the message is the reason.
        """
        return decode(file, self.reading, at_least=at_least, alpha=alpha)

    def __iter__(self) -> Iterator[tuple[str, Image.Image, int | None]]:
        """Start again and yield (name, picture, class index or None); what cannot be decoded is noted and left out."""
        for name, file, label in self.files():
            try:
                image = self.decode(file)
            except PictureError as error:
                self.skipped.add(name, str(error))
                continue
            yield name, image, label
