"""A .zip or .tar file of pictures, read in place.

Names inside an archive are only labels: no path of theirs is ever opened or written, so that `../` and the like harm
nobody. Members are read into memory one at a time, up to a limit. A compressed .tar cannot be read from the middle;
its pictures are therefore unpacked, one after the other, into one unnamed temporary file, up to a limit as well.
"""

from __future__ import annotations

import collections
import io
import lzma
import posixpath
import stat
import tarfile
import tempfile
import threading
import weakref
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from betabloom.data.pictures.reading import DEFAULT
from betabloom.data.sources.beside import METADATA, ignored_as, refuse_sheet
from betabloom.data.sources.encoded import Encoded, natural, stamp_of
from betabloom.data.sources.labels import labels_of
from betabloom.data.sources.tar import MAX_BYTES, link_target, open_tar
from betabloom.errors import PictureError, SourceError
from betabloom.system.paths import local_path

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from typing_extensions import Unpack

    from betabloom.data.pictures.reading import ReadingOptions

__all__ = ["SUFFIXES", "Archive"]

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_BLOCK = 1 << 20
_LINKS = 40  # of which one may lead to the next, as in Linux


@dataclass(frozen=True)
class _Member:
    """Where a member's bytes lie and how many they are; of a link, the name of what it points to."""

    start: int
    size: int
    problem: str = ""
    target: str = ""
    info: zipfile.ZipInfo | None = None


class Archive(Encoded):
    """All pictures in a .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz file, found and ordered as in a folder.

    Links to pictures in the archive are pictures too, as in a folder.

    Arguments:
        path: The archive; it is only read.
        options: How pictures are read and which are left out; see `Reading`.

    Raises:
        SourceError: It is not an archive, is damaged, or has no pictures in it.
        UsageError: An option has no such value.
    """

    def __init__(self, path: str | os.PathLike[str], **options: Unpack[ReadingOptions]) -> None:
        super().__init__(**options)
        self.path = local_path(path)
        self.name = self.path.name
        self.splits = {}
        self._unpacked: _Spool | None = None
        self._own = threading.local()
        self.left_alone = others = collections.Counter[str]()
        about = dict[str, _Member]()
        self._members = self._find(others, about)
        if not self._members:
            raise SourceError(f"no pictures in '{self.path}', only {others.total():,} other files")
        self.names = sorted(self._members, key=natural)
        self.label_names, self.labels, self.notes = labels_of(
            self.names, list(about), lambda name, most: self._read(about[name], most)
        )

    def _find(self, others: collections.Counter[str], about: dict[str, _Member]) -> dict[str, _Member]:
        """List the archive; of two pictures with one name the last counts, as in unpacking."""
        found: dict[str, _Member] = {}
        try:
            self._stat = stamp_of(self.path.stat())
            for name, member in self._list():
                if why := ignored_as(name, self.reading):
                    others[why] += 1
                    if name.rpartition("/")[2] in METADATA:
                        about[name] = member
                else:
                    if name in found:
                        others["replaced by a later one of the same name"] += 1
                    found[name] = member
        except (tarfile.TarError, zipfile.BadZipFile) as error:
            raise SourceError(f"'{self.path}' is damaged or not an archive: {error}") from error
        except Exception as error:  # readers of damaged archives raise anything
            raise SourceError(f"'{self.path}' cannot be read: {error or type(error).__name__}") from error
        return _resolved(found, others)

    def open(self, index: int) -> BinaryIO:
        """Return the unpacked bytes of picture `index`."""
        file = io.BytesIO(self._read(self._members[self.names[index]], MAX_BYTES))
        refuse_sheet(file)
        file.seek(0)
        return file

    def _read(self, member: _Member, most: int) -> bytes:
        if member.problem:
            raise PictureError(member.problem)
        if member.size > most:
            raise PictureError(f"too large: {member.size >> 20:,} MB unpacked, and the limit is {most >> 20} MB")
        if self._unpacked is not None:
            return self._unpacked.read(member.start, member.size)
        try:
            content = self._unzipped(member.info) if member.info else self._cut_out(member)
        except zipfile.BadZipFile as error:
            raise PictureError(f"damaged in the archive: its header or checksum is wrong ({error})") from error
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
            raise PictureError(f"damaged in the archive: {error or type(error).__name__}") from error
        except (NotImplementedError, RuntimeError) as error:  # an unknown method, or a password
            raise PictureError(f"packed in a way that is not supported: {error}") from error
        if len(content) != member.size:
            raise PictureError("damaged in the archive: the end is missing")
        return content

    def _unzipped(self, info: zipfile.ZipInfo) -> bytes:
        """Read a member of a .zip file, never more than its announced size; each thread has a handle of its own."""
        if not hasattr(self._own, "zip"):
            self._own.zip = zipfile.ZipFile(self.path)
        with self._own.zip.open(info) as file:
            content: bytes = file.read(info.file_size + 1)
        return content

    def _cut_out(self, member: _Member) -> bytes:
        with self.path.open("rb") as file:
            file.seek(member.start)
            return file.read(member.size)

    def fingerprint(self) -> str:
        """Digest the names, labels and checksums in the archive, and what tells it from other files."""
        classes = "" if self.labels is None else f":{self.label_names}{self.labels.tolist()}"
        members = [self._members[name] for name in self.names]
        stamps = [(each.size, each.start, each.info.CRC if each.info else 0) for each in members]
        return self._digest(f"archive:{self._stat}{classes}", stamps)

    def _list(self) -> Iterator[tuple[str, _Member]]:
        """Yield the files and links in the archive."""
        if zipfile.is_zipfile(self.path):
            yield from _list_zip(self.path)
            return
        with self.path.open("rb") as file, open_tar(file, self.path.stat().st_size) as (tar, compressed):
            if compressed:
                self._unpacked = _Spool()
                yield from _unpack_tar(tar, self._unpacked)
            else:
                yield from ((info.name, _in_tar(info, info.offset_data)) for info in tar if not info.isdir())


def _resolved(found: dict[str, _Member], others: collections.Counter[str]) -> dict[str, _Member]:
    """Put in the place of links what they point to; count those that lead out of the archive, and devices."""
    by_path = {posixpath.normpath(name): member for name, member in found.items()}
    result = {}
    for name, member in found.items():
        steps = 0
        while member.target and steps < _LINKS:
            member, steps = by_path.get(member.target, _Member(0, 0, problem="link")), steps + 1
        if member.target or member.problem in ("link", "special"):
            others["links to elsewhere" if member.problem != "special" else "special files"] += 1
        else:
            result[name] = member
    return result


def _list_zip(path: Path) -> Iterator[tuple[str, _Member]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = info.filename.replace("\\", "/")
            target = ""
            if stat.S_ISLNK(info.external_attr >> 16) and info.file_size < 4096 and not info.flag_bits & 1:
                pointed_to = archive.read(info).decode("utf-8", "replace")
                target = posixpath.normpath(posixpath.join(posixpath.dirname(name), pointed_to))
            problem = "protected by a password" if info.flag_bits & 1 else ""
            if not info.is_dir():
                yield name, _Member(info.header_offset, info.file_size, problem, target, info)


def _in_tar(info: tarfile.TarInfo, start: int) -> _Member:
    if info.islnk() or info.issym():
        return _Member(start, 0, target=link_target(info))
    if not info.isreg():
        return _Member(start, 0, problem="special")
    problem = "stored with holes (a sparse file), which is not supported" if info.issparse() else ""
    return _Member(start, info.size, problem)


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


def _unpack_tar(tar: tarfile.TarFile, spool: _Spool) -> Iterator[tuple[str, _Member]]:
    """Unpack the pictures of a compressed .tar file; everything in it counts towards the limit."""
    for info in tar:
        if info.isdir():
            continue
        start, content = spool.end, None
        wanted = info.isreg() and info.size <= MAX_BYTES and not info.issparse()
        if wanted and (not ignored_as(info.name, DEFAULT) or info.name.rpartition("/")[2] in METADATA):
            content = tar.extractfile(info)
        while content is not None and (block := content.read(_BLOCK)):
            spool.append(block)
        yield info.name, _in_tar(info, start)
