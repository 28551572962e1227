"""Tar files read from front to back, within bounds: what a header announces never decides how much memory is taken."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import posixpath
import struct
import tarfile
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from typing_extensions import Self

__all__ = ["MAX_BYTES", "Bounded", "Member", "link_target", "open_tar"]

MAX_BYTES = 256 << 20
"""A member that unpacks to more is refused."""

_MAX_RATIO = 50
_ALWAYS_ALLOWED = 1 << 30  # a compressed tar may unpack to so much, or to 50 times its size
_BLOCK = 1 << 20
_HEADER = struct.Struct("100s 24x 12s 12x 8s 1s 188x 1s 166x")  # name, size, checksum, kind, start of the prefix
_NOTHING = (b"", b"", b"", b"", b"\0")
_OPENERS = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open))


class Bounded:
    """What `tarfile` reads from: refuses to go further than a limit, or to read much at once (a header cannot be).

    Arguments:
        file: The unpacked bytes; it need not be seekable, since only what lies ahead is asked for.
        limit: Position that nothing may lie beyond, or None.
        seekable: Whether `file` can jump; otherwise what lies between is read.
    """

    def __init__(self, file: BinaryIO, limit: int | None, *, seekable: bool) -> None:
        self._file, self._limit, self._seekable, self._place = file, limit, seekable, 0
        self.close = file.close

    def tell(self) -> int:
        """Return the position."""
        return self._place

    def read(self, size: int) -> bytes:
        """Read `size` bytes, at most a block."""
        if size > _BLOCK:
            raise tarfile.ReadError("a header in it claims to be very long")
        self._check(self._place + size)
        content = self._file.read(size)
        self._place += len(content)
        return content

    def seek(self, position: int) -> int:
        """Go to a position."""
        self._check(position)
        if self._seekable:
            self._place = self._file.seek(position)
        while self._place < position and self.read(min(_BLOCK, position - self._place)):
            pass
        return self._place

    def _check(self, position: int) -> None:
        if self._limit is not None and position > self._limit:
            raise tarfile.ReadError(f"it unpacks to more than {self._limit >> 20:,} MB, far more than pictures do")


@contextlib.contextmanager
def open_tar(file: BinaryIO, size: int | None, *, forward: bool = False) -> Iterator[tuple[tarfile.TarFile, bool]]:
    """Open a tar file, compressed or not; yield it and whether it is compressed.

    Arguments:
        file: Its bytes, from the first on.
        size: How many there are, or None if that is not known.
        forward: Whether it can only be read from front to back, as from a server.
    """
    buffered = io.BufferedReader(cast("Any", file)) if forward else file
    start = buffered.peek(6)[:6] if isinstance(buffered, io.BufferedReader) else file.read(6)
    if not forward:
        file.seek(0)
    for magic, opener in _OPENERS:
        if start.startswith(magic):
            limit = None if size is None else max(_ALWAYS_ALLOWED, _MAX_RATIO * size)
            with cast("BinaryIO", opener(buffered, "rb")) as unpacked, _tar(unpacked, limit, not forward) as tar:
                yield tar, True
            return
    with _tar(buffered, size, not forward) as tar:
        yield tar, False


def _tar(file: BinaryIO, limit: int | None, seekable: bool) -> tarfile.TarFile:
    return tarfile.open(fileobj=cast("Any", Bounded(file, limit, seekable=seekable)), mode="r:", tarinfo=Member)


class Member(tarfile.TarInfo):
    """A member whose header, if it is an ordinary file's with a short ASCII name, is read several times as quickly."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read a header of 512 bytes."""
        name, size, total, kind, prefix = _HEADER.unpack(buf) if len(buf) == _HEADER.size else _NOTHING
        name = name.rstrip(b"\0")
        plain = kind == b"0" and prefix[0] == 0 and name.isascii() and b"\0" not in name and name[-1:] != b"/"
        size, total = size.strip(b" \0"), total.strip(b" \0")
        if not (plain and _is_octal(size) and _is_octal(total)) or _sum(buf) != int(total, 8):
            return super().frombuf(buf, encoding, errors)
        member = cls(name.decode("ascii"))
        member.size = int(size, 8)
        return member


def _is_octal(text: bytes) -> bool:
    return bool(text) and not text.strip(b"01234567")


def _sum(header: bytes | bytearray) -> int:
    """The checksum of a header, whose own field counts as spaces."""
    return sum(header) - sum(header[148:156]) + 8 * 32


def link_target(info: tarfile.TarInfo) -> str:
    """Return the name in the archive that a link points to: hard links start at its root, others at their folder."""
    target = info.linkname if info.islnk() else posixpath.join(posixpath.dirname(info.name), info.linkname)
    return posixpath.normpath(target)
