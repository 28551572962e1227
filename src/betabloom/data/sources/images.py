"""Pictures from Python: PIL images."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from betabloom.data.pictures.decode import PictureFacts, upright
from betabloom.data.sources.source import Source
from betabloom.errors import PictureError, SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

__all__ = ["Images"]


class Images(Source):
    """Pictures that lie in a list of PIL images, of any sizes and modes; they should not change afterwards.

    Arguments:
        images: The pictures.
        name: What a person calls them.

    Raises:
        SourceError: There are none.
    """

    def __init__(self, images: Sequence[Image.Image], name: str = "images") -> None:
        if not images:
            raise SourceError("There are no pictures in this list.")
        self.name = name
        self.names = [str(i) for i in range(len(images))]
        self.splits = {}
        self._images = list(images)

    def read(self, index: int) -> Image.Image:
        """Return picture `index`; see `Source.read`."""
        try:
            return upright(self._images[index])
        except (OSError, ValueError, SyntaxError) as error:
            raise PictureError(str(error)) from error

    def facts(self, index: int) -> PictureFacts:
        """Return the size of picture `index`."""
        return PictureFacts(*self._images[index].size)

    def fingerprint(self) -> str:
        """Digest the pixels of all."""
        digest = hashlib.blake2b(digest_size=32)
        for image in self._images:
            digest.update(repr((image.size, image.mode, image.info.get("transparency"))).encode() + image.tobytes())
        return digest.hexdigest()
