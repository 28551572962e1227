"""The frames of an animation in order: most formats keep only what changes, so that each is made from those before."""

from __future__ import annotations

import contextlib
import weakref
from typing import TYPE_CHECKING

from betabloom.data.pictures.decode import IN_ORDER, decode_open
from betabloom.data.pictures.opening import as_picture_error, open_picture
from betabloom.errors import PictureError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from PIL import Image

    from betabloom.data.pictures.reading import Reading

__all__ = ["Frames"]


class Frames:
    """An animation that stays open: a frame after the one that was read last is reached from there.

    Read in order, every frame is decoded once, and one at a time is in memory. One thread may use it, and only
    forwards: Pillow loses its place in some files when it goes back.

    Arguments:
        file: A path, or a file opened in binary mode; it is only read.
        reading: Background, smallest size and levels.

    Attributes:
        last: The frame that was read last.
        close: Closes the file, as letting go of the animation does.

    Raises:
        PictureError: It is not a picture; the message is the reason.
    """

    def __init__(self, file: Path | BinaryIO, reading: Reading) -> None:
        self._file, self._reading = file, reading
        opened = contextlib.ExitStack()
        self._image: Image.Image = opened.enter_context(open_picture(file))
        self.close = weakref.finalize(self, opened.close)
        self._damaged: tuple[int, PictureError] | None = None
        self._looked, self.last = False, 0

    def read(self, frame: int, at_least: tuple[int, int] | None = None, *, alpha: bool = False) -> Image.Image:
        """Decode frame number `frame`, counted from 0; see `decode.decode`.

        Raises:
            PictureError: It, or one before it, cannot be decoded.
        """
        if self._damaged and frame >= self._damaged[0]:
            raise PictureError(str(self._damaged[1])) from self._damaged[1].__cause__
        try:
            with as_picture_error(self._file):
                return self._read(frame, at_least, alpha)
        except PictureError as error:
            if self._image.format in IN_ORDER:
                self._damaged = frame, error
            raise

    def _read(self, frame: int, at_least: tuple[int, int] | None, alpha: bool) -> Image.Image:
        self._image.seek(frame)
        self.last = frame
        whole, self._looked = not self._looked, True
        found = decode_open(self._image, self._file, self._reading, at_least=at_least, alpha=alpha, whole=whole)
        return found.copy() if found is self._image else found  # the next frame takes the place of this one
