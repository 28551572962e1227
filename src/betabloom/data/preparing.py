"""Source + pipeline → store, in parallel, in bounded memory, and all or nothing.

Pictures are appended in the order of the source, in small pieces that threads prepare ahead (Pillow and the array
operations let other threads run meanwhile). Everything is written to a folder of a unique name beside the final one and
renamed in the end, so that what carries the final name is always whole.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from betabloom.data.store import FORMAT, Store, digest_of, fingerprint_of, open_store, write_facts
from betabloom.errors import BetabloomError, FormatError, PictureError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from betabloom.data.pipeline import Pipeline
    from betabloom.data.source import Source

__all__ = ["cache_folder", "prepare"]

_PIECE = 32
_HEADER = 128


@dataclass
class _Piece:
    """Consecutive pictures of a source: the pixels of the usable ones, their indices, and why others are not."""

    pixels: bytes = b""
    digests: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    seen: int = 0


def prepare(
    source: Source,
    pipeline: Pipeline,
    *,
    cache: Path | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Store:
    """Prepare all pictures of a source once; later calls with the same source and pipeline open the result at once.

    Arguments:
        source: Where the pictures come from; it is only read.
        pipeline: What is done to each.
        cache: The folder to keep results in: $BETABLOOM_CACHE or the user's cache folder if left out.
        workers: Threads; as many as this process may use processors if left out. The result does not depend on it.
        progress: Called with (pictures done, pictures in all).

    Returns:
        The store. Pictures that cannot be read are left out and named in its `skipped`.

    Raises:
        SourceError: Not one picture can be used.
        BetabloomError: The result cannot be written.
    """
    stores = (cache_folder() if cache is None else Path(cache)) / "stores"
    final = stores / _key(source, pipeline)
    with contextlib.suppress(FormatError):
        return open_store(final)
    try:
        stores.mkdir(parents=True, exist_ok=True)
        with _scratch(stores, final.name) as folder:
            _write(folder, source, pipeline, workers or _processors(), progress)
            _publish(folder, final)
        return open_store(final)
    except OSError as error:
        raise BetabloomError(
            f"the prepared pictures cannot be written to '{stores}' ({error.strerror or error}): make room there, or "
            "set BETABLOOM_CACHE to a folder on another disk"
        ) from error


def cache_folder() -> Path:
    """Return $BETABLOOM_CACHE, or the user's cache folder for betabloom."""
    chosen = os.environ.get("BETABLOOM_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("betabloom", appauthor=False))


def _key(source: Source, pipeline: Pipeline) -> str:
    steps = pipeline.to_dict()["steps"]
    facts = {"format": FORMAT, "name": source.name, "source": source.fingerprint(), "pipeline": steps}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def _scratch(stores: Path, name: str) -> Iterator[Path]:
    """Make a folder that no other process has, and remove it in the end unless it was renamed."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}.part-", dir=stores))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(
    folder: Path, source: Source, pipeline: Pipeline, workers: int, progress: Callable[[int, int], None] | None
) -> None:
    """Write a whole store into `folder` and wait until it is on the disk."""
    total = _Piece()
    with (folder / "pictures.npy").open("wb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files: a picture is usable or named
        file.write(bytes(_HEADER))
        for piece in _in_order(source, pipeline, workers):
            file.write(piece.pixels)
            total.digests += piece.digests
            total.kept += piece.kept
            total.skipped += piece.skipped
            total.seen += piece.seen
            if progress is not None:
                progress(total.seen, len(source))
        if not total.kept:
            raise _nothing_usable(source, total.skipped)
        shape = (len(total.kept), pipeline.height, pipeline.width, pipeline.channels)
        _finish_array(file, shape)
    write_facts(folder, _store(folder, source, pipeline, total))
    _sync(folder)


def _in_order(source: Source, pipeline: Pipeline, workers: int) -> Iterator[_Piece]:
    """Prepare pieces in threads, a few ahead of the one that is asked for."""
    waiting: collections.deque[Future[_Piece]] = collections.deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="prepare") as pool:
        try:
            for start in range(0, len(source), _PIECE):
                indices = range(start, min(start + _PIECE, len(source)))
                waiting.append(pool.submit(_prepare_piece, source, pipeline, indices))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _prepare_piece(source: Source, pipeline: Pipeline, indices: range) -> _Piece:
    piece, pixels = _Piece(seen=len(indices)), []
    for index in indices:
        try:
            enough = pipeline.enough
            image = source.read(index) if enough is None else source.read_reduced(index, enough)
            picture = pipeline(image)
        except PictureError as error:
            piece.skipped.append({"name": source.names[index], "reason": str(error)})
            continue
        pixels.append(picture.tobytes())
        piece.digests.append(digest_of(picture))
        piece.kept.append(index)
    piece.pixels = b"".join(pixels)
    return piece


def _nothing_usable(source: Source, skipped: list[dict[str, str]]) -> SourceError:
    first = "; ".join(f"'{entry['name']}' ({entry['reason']})" for entry in skipped[:3])
    more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
    return SourceError(
        f"not one usable picture in '{source.name}': {first}{more}" if skipped else f"'{source.name}' is empty"
    )


def _finish_array(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """Write the header of a .npy file whose numbers of pictures is known only now."""
    file.seek(0)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    if file.tell() != _HEADER:
        raise BetabloomError(f"pictures of shape {shape} do not fit the header that was reserved for them")


def _store(folder: Path, source: Source, pipeline: Pipeline, total: _Piece) -> Store:
    """Describe what was written; splits and labels follow the pictures that were kept."""
    kept = np.array(total.kept, dtype=np.int64)
    place = np.full(len(source), -1, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    names = [source.names[index] for index in total.kept]
    digests = np.array(total.digests, dtype=np.uint64)
    return Store(
        pictures=np.load(folder / "pictures.npy", mmap_mode="r", allow_pickle=False),
        names=names,
        digests=digests,
        pipeline=pipeline,
        source_name=source.name,
        fingerprint=fingerprint_of(names, digests),
        labels=None if source.labels is None else source.labels[kept],
        label_names=None if source.label_names is None else list(source.label_names),
        splits={name: place[indices][place[indices] >= 0] for name, indices in source.splits.items()},
        skipped=total.skipped,
    )


def _sync(folder: Path) -> None:
    """Have the operating system put the files on the disk before their folder gets its final name."""
    for path in folder.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _publish(folder: Path, final: Path) -> None:
    """Give the finished folder its final name, unless another process was first; put a damaged one out of the way."""
    try:
        folder.rename(final)
    except OSError:
        try:
            open_store(final)
        except FormatError:
            with _scratch(final.parent, final.name) as trash:
                final.rename(trash / "damaged")
            folder.rename(final)
