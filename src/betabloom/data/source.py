"""What every source of pictures looks like.

A *source* knows how many pictures there are and what they are called, and decodes one when asked. It holds no
pixels. Sources are read from several threads at once, so `read` keeps no state.
"""

from __future__ import annotations

import abc
import types
from typing import TYPE_CHECKING

from betabloom.data.picture import Facts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from PIL import Image

__all__ = ["Source"]


class Source(abc.ABC):
    """A finite, indexable collection of pictures.

    Attributes:
        name: What a person calls it: "flowers102", "drawn", or the folder's name.
        names: One name per picture, unique; a relative path with forward slashes where there are files.
        labels: One class index per picture, int64 with shape (N,), or None. Training ignores labels.
        label_names: The name of each class, or None.
        splits: Official splits as {"train": indices, "val": indices, …}; empty where the source has none.
        left_alone: How many files beside the pictures were not looked at, by ending, and "hidden" ones.
    """

    name: str
    names: Sequence[str]
    labels: np.ndarray | None = None
    label_names: Sequence[str] | None = None
    splits: dict[str, np.ndarray]
    left_alone: Mapping[str, int] = types.MappingProxyType({})

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

    def facts(self, index: int) -> Facts:
        """Return the size and format of picture `index`; a source that knows them without decoding overrides this.

        Raises:
            PictureError: As `read`, as far as that shows without decoding.
        """
        image = self.read(index)
        return Facts(image.width, image.height)

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Return a hexadecimal digest that changes when the pictures, their order or their names change.

        It must be cheap: files are told apart by path, size and modification time, not by reading them.
        """
