"""Download Flowers102: resumable, checked, and whole or not at all.

Files are fetched into `flowers-102.part/` beside the final folder and moved there, the pictures last, when their
checksums are right; what was interrupted goes on where it stopped when it is asked for again. A second process that
wants the same waits for the first.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import shutil
import socket
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from betabloom.data.sources.flowers102 import FOLDER, complete, data_root
from betabloom.errors import FetchError, UsageError
from betabloom.system.locks import locked
from betabloom.system.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from betabloom.system.console import Progress

__all__ = ["BASE_URL", "MD5", "fetch_flowers102"]

BASE_URL = "https://thor.robots.ox.ac.uk/datasets/flowers-102/"
ARCHIVE = "102flowers.tgz"
MD5: Mapping[str, str] = {
    "imagelabels.mat": "e0620be6f572b9609742df49c70aed4d",
    "setid.mat": "a5357ecc9cb78c4bef273ce3793fc85c",
    ARCHIVE: "52808999861908f626f3c1f4e79d11fa",
}

_LARGEST = 2 << 30  # bytes; a server that sends more sends something else
_PROGRESS = 1 << 20  # bytes; an attempt that brought as many does not count as failed
_log = logging.getLogger(__name__)

_AGAIN = "Type `betabloom fetch flowers102` to go on where it stopped"
_WITHOUT = (
    "To train without a download: `betabloom train drawn` (flowers drawn here), or `betabloom train FOLDER` with a "
    "folder of your pictures"
)


class _TransientError(Exception):
    """What another attempt may mend."""


def fetch_flowers102(
    root: str | os.PathLike[str] | None = None,
    *,
    base_url: str = BASE_URL,
    progress: Progress | None = None,
    md5: Mapping[str, str] = MD5,
    timeout: float = 30.0,
    attempts: int = 4,
    pause: float = 1.0,
) -> Path:
    """Download Flowers102 into `root`/flowers-102, unless a whole copy is there.

    Arguments:
        root: The folder to put it in: $BETABLOOM_DATA or the user's data folder if left out.
        base_url: Where its three files are.
        progress: Called as progress(done, total, text) for each file in turn, in bytes; total is 0 if it is unknown.
        md5: The checksum of each file.
        timeout: Seconds without an answer after which an attempt is given up.
        attempts: How often a file is tried without getting on by a megabyte.
        pause: Seconds before the second attempt; doubled before each further one.

    Returns:
        The folder that holds `jpg/`, `imagelabels.mat` and `setid.mat`.

    Raises:
        FetchError: It could not be downloaded, or the file has another checksum.
        UsageError: `base_url` is not an http(s) address.
    """
    root = local_path(root) if root is not None else data_root()
    found = complete(root)
    if found is not None:
        shutil.rmtree(root / f"{FOLDER}.part", ignore_errors=True)  # left by one that was killed at the very end
        return found
    if urlsplit(base_url).scheme not in ("http", "https"):
        raise UsageError(f"'base_url' should begin with https:// or http://, not {base_url!r}")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with locked(root / f".{FOLDER}.lock", lambda: _log.info("waiting: another process downloads Flowers102")):
            return complete(root) or _fetch(root, base_url, progress, md5, timeout, attempts, pause)
    except (OSError, tarfile.TarError) as error:
        raise FetchError(f"Flowers102 could not be put into '{root}': {error}. {_AGAIN}") from error


def _fetch(
    root: Path,
    base_url: str,
    progress: Progress | None,
    md5: Mapping[str, str],
    timeout: float,
    attempts: int,
    pause: float,
) -> Path:
    part, final = root / f"{FOLDER}.part", root / FOLDER
    for name, checksum in md5.items():
        download = _Download(base_url.rstrip("/") + "/" + name, part / name, checksum, timeout)
        download.run(attempts, pause, progress)
    _install(part, final)
    return final


class _Download:
    """One file on its way from `url` to `path`; what has come so far lies in `path`.part."""

    def __init__(self, url: str, path: Path, checksum: str, timeout: float) -> None:
        self.url, self.path, self.checksum, self.timeout = url, path, checksum, timeout
        self.part = path.with_name(path.name + ".part")

    def run(self, attempts: int, pause: float, progress: Progress | None) -> None:
        """Try until the file is there and right.

        Raises:
            FetchError: It did not come.
        """
        if self.path.is_file() and _md5_of(self.path) == self.checksum:
            return
        failed = 0
        while True:
            before = self._done()
            try:
                self._transfer(progress)
                self._accept()
                return
            except _TransientError as error:
                failed = 0 if self._done() - before >= _PROGRESS else failed + 1
                if failed >= attempts:
                    raise FetchError(f"{self.url}: {error}, in {attempts} attempts. {_AGAIN}. {_WITHOUT}.") from error
            time.sleep(pause * 2 ** max(0, failed - 1))

    def _done(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _transfer(self, progress: Progress | None) -> None:
        done = self._done()
        headers = {"User-Agent": "betabloom", **({"Range": f"bytes={done}-"} if done else {})}
        request = urllib.request.Request(self.url, headers=headers)  # noqa: S310 (the scheme was checked)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:  # noqa: S310
                self._receive(answer, done, progress)
        except urllib.error.HTTPError as error:
            self._explain_status(error, done)
        except urllib.error.URLError as error:
            self._explain_connection(error)
        except TimeoutError:
            raise _TransientError("the server stopped answering") from None
        except (ConnectionError, http.client.HTTPException) as error:
            raise _TransientError(f"the connection broke off ({error})") from error

    def _receive(self, answer: http.client.HTTPResponse, done: int, progress: Progress | None) -> None:
        """Append what arrives, or start again where the server does not resume at `done`."""
        if answer.status != 206 or not answer.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            if answer.status == 206:
                self.part.unlink()
                raise _TransientError("the server sent another part than the one asked for")
            done = 0
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length and length.isdigit() else 0
        self.part.parent.mkdir(parents=True, exist_ok=True)
        with self.part.open("ab" if done else "wb", buffering=0) as file:
            while chunk := answer.read1(1 << 18):
                file.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, total, "")
                if done > _LARGEST:
                    break
        if done > _LARGEST:
            self.part.unlink()
            raise FetchError(f"{self.url}: the server sends more than the whole data set. {_WITHOUT}.")
        if done < total:
            raise _TransientError(f"the connection broke off after {done} of {total} bytes")

    def _explain_status(self, error: urllib.error.HTTPError, done: int) -> None:
        error.close()
        if error.code == 416:  # nothing beyond `done`: it is whole, or longer than it should be
            return
        if error.code in (408, 425, 429) or error.code >= 500:
            raise _TransientError(f"the server answers {error.code} {error.reason}") from error
        reason = str(error.reason).partition("\n")[0].rstrip(".")
        raise FetchError(f"{self.url}: the server answers {error.code} {reason}. {_WITHOUT}.") from error

    def _explain_connection(self, error: urllib.error.URLError) -> None:
        reason = error.reason
        if isinstance(reason, TimeoutError):
            raise _TransientError("the server does not answer") from error
        if isinstance(reason, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
            raise _TransientError(f"the connection broke off ({reason})") from error
        host = urlsplit(self.url).hostname
        why = getattr(reason, "strerror", None) or reason
        offline = isinstance(reason, socket.gaierror | OSError)
        what = f"this machine seems to be offline: {host} cannot be reached" if offline else f"{host} cannot be reached"
        raise FetchError(f"{what} ({why}). {_WITHOUT}. With a network: `betabloom fetch flowers102`.") from error

    def _accept(self) -> None:
        found = _md5_of(self.part)
        if found != self.checksum:
            self.part.unlink()
            raise _TransientError(
                f"the downloaded file is damaged or a different one (MD5 {found}, expected {self.checksum})"
            )
        self.part.replace(self.path)


def _md5_of(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _install(part: Path, final: Path) -> None:
    """Unpack the pictures and move everything into place, the pictures last: only then the copy counts as whole."""
    if (final / "jpg").exists():
        raise FetchError(
            f"'{final}' holds part of a copy: delete '{final / 'jpg'}', then type `betabloom fetch flowers102`"
        )
    unpacked = Path(tempfile.mkdtemp(prefix="unpack-", dir=part))
    try:
        _unpack(part / ARCHIVE, unpacked)
        if not (unpacked / "jpg").is_dir():
            raise FetchError(
                f"'{part / ARCHIVE}' holds no folder 'jpg': delete it, then type `betabloom fetch flowers102`"
            )
        final.mkdir(parents=True, exist_ok=True)
        for name in ("imagelabels.mat", "setid.mat"):
            (part / name).replace(final / name)
        if hasattr(os, "sync"):
            os.sync()  # a power cut must not leave empty pictures where whole ones seem to be
        (unpacked / "jpg").replace(final / "jpg")
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    shutil.rmtree(part, ignore_errors=True)


def _unpack(archive: Path, target: Path) -> None:
    """Unpack files and folders into `target`.

    Raises:
        FetchError: A member is a link or a device, or would lie outside.
    """
    with tarfile.open(archive, "r|*") as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name:
                raise FetchError(
                    f"'{archive}' is refused: its entry '{member.name}' would be written outside its folder"
                )
            if not (member.isreg() or member.isdir()):
                raise FetchError(f"'{archive}' is refused: its entry '{member.name}' is a link or a device")
            file = tar.extractfile(member) if member.isreg() else None
            if file is not None:
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                with (target / path).open("xb") as copy:
                    shutil.copyfileobj(file, copy, 1 << 20)
