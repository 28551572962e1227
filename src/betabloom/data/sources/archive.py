"""A .zip or .tar file of pictures, read in place.

Names inside an archive are only labels: no path of theirs is ever opened or written, so that `../` and the like harm
nobody. Members are read into memory one at a time, up to a limit. A compressed .tar cannot be read from the middle;
its pictures are therefore unpacked, one after the other, into one unnamed temporary file, up to a limit as well.
"""

from __future__ import annotations

import bz2
import collections
import contextlib
import gzip
import io
import lzma
import struct
import tarfile
import tempfile
import threading
import weakref
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from betabloom.data.pictures.decode import readable_suffixes
from betabloom.data.sources.encoded import Encoded, classes_of, natural, stamp_of
from betabloom.errors import PictureError, SourceError
from betabloom.system.paths import local_path

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = ["SUFFIXES", "Archive", "is_picture_name"]

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MAX_BYTES = 256 << 20
"""A member that unpacks to more is refused."""

_MAX_RATIO = 50
_ALWAYS_ALLOWED = 1 << 30  # a compressed tar may unpack to so much, or to 50 times its size
_BLOCK = 1 << 20


@dataclass(frozen=True)
class _Member:
    """Where a member's bytes lie, how many they are packed and unpacked, and how they are packed (as in .zip files)."""

    start: int
    packed: int
    size: int
    method: int = zipfile.ZIP_STORED
    checksum: int | None = None
    problem: str = ""


class Archive(Encoded):
    """All pictures in a .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz file, found and ordered as in a folder.

    Arguments:
        path: The archive; it is only read.
        background: The colour seen through transparent pixels: a name, or "#rrggbb".
        min_size: Leave out pictures with a side of fewer pixels.

    Raises:
        SourceError: It is no such archive, is damaged, or has no pictures in it.
        UsageError: There is no such colour or size.
    """

    def __init__(self, path: str | os.PathLike[str], *, background: str = "white", min_size: int = 0) -> None:
        super().__init__(background=background, min_size=min_size)
        self.path = local_path(path)
        self.name = self.path.name
        self.splits = {}
        self._unpacked: _Spool | None = None
        self.left_alone = others = collections.Counter[str]()
        self._members = self._find(others)
        if not self._members:
            raise SourceError(f"no pictures in '{self.path}', only {others.total():,} other files")
        self.names = sorted(self._members, key=natural)
        self.label_names, self.labels = classes_of(self.names)

    def _find(self, others: collections.Counter[str]) -> dict[str, _Member]:
        """List the archive; of two pictures with one name the last counts, as in unpacking."""
        found = {}
        try:
            self._stat = stamp_of(self.path.stat())
            for name, member in self._list():
                if is_picture_name(name):
                    found[name] = member
                else:
                    others[_ending(name)] += 1
        except (tarfile.TarError, zipfile.BadZipFile) as error:
            raise SourceError(f"'{self.path}' is damaged, or no archive: {error}") from error
        except Exception as error:  # readers of damaged archives raise anything
            raise SourceError(f"'{self.path}' cannot be read: {error or type(error).__name__}") from error
        return found

    def open(self, index: int) -> BinaryIO:
        """Return the unpacked bytes of picture `index`."""
        member = self._members[self.names[index]]
        if member.problem:
            raise PictureError(member.problem)
        if member.size > MAX_BYTES:
            raise PictureError(f"too large: {member.size >> 20:,} MB unpacked, and the limit is {MAX_BYTES >> 20} MB")
        if self._unpacked is not None:
            return io.BytesIO(self._unpacked.read(member.start, member.size))
        try:
            with self.path.open("rb") as file:
                return io.BytesIO(_unpack(file, member))
        except (OSError, EOFError, ValueError, struct.error, zlib.error, lzma.LZMAError) as error:
            raise PictureError(f"damaged in the archive: {error or type(error).__name__}") from error

    def fingerprint(self) -> str:
        """Digest the names and checksums in the archive, and what tells it from other files."""
        members = [self._members[name] for name in self.names]
        return self._digest(f"archive:{self._stat}", [(each.size, each.start, each.checksum or 0) for each in members])

    def _list(self) -> Iterator[tuple[str, _Member]]:
        """Yield the regular files in the archive."""
        if zipfile.is_zipfile(self.path):
            yield from _list_zip(self.path)
            return
        with _open_tar(self.path) as (tar, compressed):
            if compressed:
                self._unpacked = _Spool()
                yield from _unpack_tar(tar, self._unpacked)
            else:
                yield from ((info.name, _in_tar(info)) for info in tar if info.isreg())


def is_picture_name(name: str) -> bool:
    """Tell whether a name in an archive is that of a picture, by its ending; hidden ones are not."""
    return PurePosixPath(name).suffix.lower() in readable_suffixes() and not _is_hidden(name)


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") and part not in (".", "..") for part in PurePosixPath(name).parts)


def _ending(name: str) -> str:
    return "hidden" if _is_hidden(name) else PurePosixPath(name).suffix.lower() or "no ending"


def _list_zip(path: Path) -> Iterator[tuple[str, _Member]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            problem = "protected by a password" if info.flag_bits & 1 else ""
            if not info.is_dir():
                member = _Member(
                    info.header_offset, info.compress_size, info.file_size, info.compress_type, info.CRC, problem
                )
                yield info.filename.replace("\\", "/"), member


def _in_tar(info: tarfile.TarInfo) -> _Member:
    problem = "stored with holes (a sparse file), which is not supported" if info.issparse() else ""
    return _Member(info.offset_data, info.size, info.size, problem=problem)


def _unpack(file: BinaryIO, member: _Member) -> bytes:
    """Read one member of a .zip or plain .tar file; never more than its announced size."""
    start = member.start
    if member.checksum is not None:  # .zip: a header of 30 bytes, a name and extra fields come before the content
        file.seek(start)
        header = file.read(30)
        if header[:4] != b"PK\3\4":
            raise ValueError("its header is missing")
        start += 30 + sum(struct.unpack("<HH", header[26:30]))
    file.seek(start)
    packed = file.read(min(member.packed, 2 * MAX_BYTES))
    content = _inflate(packed, member)
    if len(content) != member.size or (member.checksum is not None and zlib.crc32(content) != member.checksum):
        raise ValueError("its checksum is wrong" if len(content) == member.size else "the end is missing")
    return content


def _inflate(packed: bytes, member: _Member) -> bytes:
    limit = member.size + 1
    if member.method == zipfile.ZIP_STORED:
        return packed
    if member.method == zipfile.ZIP_DEFLATED:
        return zlib.decompressobj(-15).decompress(packed, limit)
    if member.method == zipfile.ZIP_BZIP2:
        return bz2.BZ2Decompressor().decompress(packed, limit)
    raise ValueError(f"packed in a way (method {member.method}) that is not supported")


class _Spool:
    """Bytes in an unnamed temporary file, read from any place by several threads at once."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="betabloom-")  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._lock = threading.Lock()
        self.end = 0

    def append(self, content: bytes) -> None:
        self._file.write(content)
        self.end += len(content)

    def read(self, start: int, size: int) -> bytes:
        with self._lock:
            self._file.seek(start)
            return self._file.read(size)


class _Bounded:
    """What `tarfile` reads from: refuses to go further than a limit, or to read much at once (a header cannot be)."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file, self._limit = file, limit
        self.tell, self.close = file.tell, file.close

    def read(self, size: int) -> bytes:
        if size > _BLOCK:
            raise tarfile.ReadError("a header in it claims to be very long")
        self._check(self.tell() + size)
        return self._file.read(size)

    def seek(self, position: int) -> int:
        self._check(position)
        return self._file.seek(position)

    def _check(self, position: int) -> None:
        if position > self._limit:
            raise tarfile.ReadError(f"it unpacks to more than {self._limit >> 20:,} MB, far more than pictures do")


@contextlib.contextmanager
def _open_tar(path: Path) -> Iterator[tuple[tarfile.TarFile, bool]]:
    """Open a .tar file; yield it and whether it is compressed."""
    with path.open("rb") as file:
        start = file.read(6)
    for magic, opener in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open)):
        if start.startswith(magic):
            limit = max(_ALWAYS_ALLOWED, _MAX_RATIO * path.stat().st_size)
            with cast("BinaryIO", opener(path, "rb")) as unpacked, _tar(unpacked, limit) as tar:
                yield tar, True
            return
    with path.open("rb") as file, _tar(file, path.stat().st_size) as tar:
        yield tar, False


def _tar(file: BinaryIO, limit: int) -> tarfile.TarFile:
    return tarfile.open(fileobj=cast("Any", _Bounded(file, limit)), mode="r:")


def _unpack_tar(tar: tarfile.TarFile, spool: _Spool) -> Iterator[tuple[str, _Member]]:
    """Unpack the pictures of a compressed .tar file; everything in it counts towards the limit."""
    for info in tar:
        if not info.isreg():
            continue
        start, content = spool.end, None
        if is_picture_name(info.name) and info.size <= MAX_BYTES and not info.issparse():
            content = tar.extractfile(info)
        while content is not None and (block := content.read(_BLOCK)):
            spool.append(block)
        yield info.name, replace(_in_tar(info), start=start)
