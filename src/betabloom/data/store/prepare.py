"""Source + pipeline → store: in parallel, in bounded memory, only once, and either whole or not at all.

Pictures are appended in the order of the source, in small pieces that are prepared ahead (see `pieces`, `processes`).
They go to a folder of a fixed name beside the final one (see `partial`), which is renamed in the end, so that what
carries the final name is always whole, and an interrupted preparation goes on where it stopped. A lock keeps others out
meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL

from betabloom.data.sources.encoded import Encoded, stamp_of
from betabloom.data.sources.locate import open_source
from betabloom.data.sources.source import Source
from betabloom.data.store.cache import cache_folder, lock_of, part_of, remove, sweep
from betabloom.data.store.partial import Partial, Skip
from betabloom.data.store.pieces import in_order, piece_size, prepare_one
from betabloom.data.store.processes import preparing_with
from betabloom.data.store.spread import Spread, spread_pieces
from betabloom.data.store.store import (
    FORMAT,
    Store,
    fingerprint_of,
    open_store,
    write_facts,
    write_names,
    write_skipped,
)
from betabloom.errors import BetabloomError, FormatError, PictureError, SourceError
from betabloom.system.atomic import sync
from betabloom.system.cores import cores
from betabloom.system.locks import locked

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from betabloom.data.pictures.pipeline import Pipeline
    from betabloom.data.store.pieces import Prepared
    from betabloom.system.console import Progress

__all__ = ["cache_folder", "prepare"]

_MOST = 16  # workers, unless more are asked for: each takes memory
_TRIED_AGAIN = 100  # refused pictures, when a ready store is opened

_log = logging.getLogger(__name__)


def prepare(
    source: Source | str | os.PathLike[str],
    pipeline: Pipeline,
    *,
    cache: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    spread: Spread | None = None,
) -> Store:
    """Prepare all pictures of a source once; later calls with the same source and pipeline open the result at once.

    An interrupted call is continued by the next. Several calls at a time for the same result wait for the first.

    Arguments:
        source: Where the pictures come from; it is only read.
        pipeline: What is done to each.
        cache: The folder to keep results in: $BETABLOOM_CACHE or the user's cache folder if left out.
        workers: Threads, and for many files processes; as many as this process may use processors, up to 16, if left
            out. The result does not depend on it.
        progress: Called as progress(done, total, text), in pictures.
        spread: Other processes, or a cluster, that prepare in place of `workers`.

    Returns:
        The store. Pictures that cannot be read are left out and named in its `skipped`.

    Raises:
        SourceError: Not one picture can be used, or the source is gone.
        BetabloomError: The result cannot be written.
    """
    if not isinstance(source, Source):
        source = open_source(source)
    stores = (cache_folder() if cache is None else Path(cache)) / "stores"
    final = stores / _key(source, pipeline)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files: a picture is usable or named
        ready = _ready(final, source)
        if ready is not None:
            return ready
        try:
            stores.mkdir(parents=True, exist_ok=True)
            with locked(lock_of(final), lambda: _log.info("waiting: another process prepares the same pictures")):
                return _prepare(final, source, pipeline, workers or cores(_MOST), progress, spread)
        except OSError as error:
            raise BetabloomError(
                f"the prepared pictures cannot be written to '{stores}' ({error.strerror or error}): make room there, "
                "or set BETABLOOM_CACHE to a folder on another disk"
            ) from error


def _state(source: Source) -> str:
    try:
        return source.fingerprint()
    except OSError as error:
        where = f" ('{error.filename}')" if error.filename else ""
        raise SourceError(f"the pictures of '{source.name}' are gone: {error.strerror or error}{where}") from error


def _key(source: Source, pipeline: Pipeline) -> str:
    steps = pipeline.to_dict()["steps"]
    facts = {"format": FORMAT, "name": source.name, "source": _state(source), "pipeline": steps}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _ready(final: Path, source: Source) -> Store | None:
    """Open a store that was prepared before, unless it is damaged or pictures that it lacks can be had by now."""
    try:
        store = open_store(final)
    except FormatError:
        return None
    if store.changed or not _still_refused(source, store.refused[:_TRIED_AGAIN].tolist()):
        return None
    return store


def _still_refused(source: Source, indices: list[int]) -> bool:
    for index in indices:
        with contextlib.suppress(PictureError):
            source.read(index)
            return False
    return True


def _prepare(
    final: Path,
    source: Source,
    pipeline: Pipeline,
    workers: int,
    progress: Progress | None,
    spread: Spread | None,
) -> Store:
    """Prepare what is not yet prepared, and give the whole its final name; the lock is held."""
    ready = _ready(final, source)
    if ready is not None:
        return ready
    part = part_of(final)
    sweep(final.parent, keep=part)
    plan = {"key": final.name, "pictures": len(source), "pillow": PIL.__version__, "numpy": np.__version__}
    shape, before = (pipeline.height, pipeline.width, pipeline.channels), _state_now(source)
    plan["state"] = before
    with Partial(part, plan, shape, lambda skips: _same_skips(source, pipeline, skips)) as partial:
        if partial.seen:
            _log.info("continuing with picture %s of %s", f"{partial.seen + 1:,}", f"{len(source):,}")
        left = range(partial.seen, len(source))
        for piece, pictures in _pieces(source, pipeline, workers, left, part, spread):
            partial.append(piece, pictures)
            if progress is not None:
                progress(partial.seen, len(source), "")
        nothing = None if partial.kept else _nothing_usable(source, partial)
        if nothing is None:
            partial.finish_pictures()
            write_facts(partial.store, _store(partial, source, pipeline, changed=_changed(source, before)))
    if nothing is not None:
        remove(part)
        raise nothing
    _publish(part, final)
    return open_store(final)


def _pieces(
    source: Source, pipeline: Pipeline, workers: int, left: range, part: Path, spread: Spread | None
) -> Iterator[Prepared]:
    """What is left of the source, prepared in order."""
    if spread:
        yield from spread_pieces(spread, source, pipeline, left, part)
        return
    with preparing_with(source, pipeline, workers, len(left), part / "large.lock") as (prepare_piece, leave):
        yield from in_order(prepare_piece, left, piece_size(pipeline), workers, leave)


def _same_skips(source: Source, pipeline: Pipeline, skips: list[Skip]) -> bool:
    return all(isinstance(prepare_one(source, pipeline, skip.index), Skip) for skip in skips if skip.refused)


def _skipped(source: Source, partial: Partial) -> Iterator[dict[str, str]]:
    for piece in partial.pieces():
        for skip in piece.skipped:
            yield {"name": source.names[skip.index], "reason": skip.reason}


def _nothing_usable(source: Source, partial: Partial) -> SourceError:
    if not partial.skipped:
        return SourceError(f"'{source.name}' is empty")
    some = itertools.islice(_skipped(source, partial), 3)
    first = "; ".join(f"'{entry['name']}' ({entry['reason']})" for entry in some)
    more = f" and {partial.skipped - 3} more" if partial.skipped > 3 else ""
    return SourceError(f"no usable picture in '{source.name}': {first}{more}")


def _state_now(source: Source) -> str:
    """Digest what tells the pictures apart at this moment: a source of files looks at them only when it is made."""
    digest = hashlib.sha256(_state(source).encode())
    container = getattr(source, "path", None)
    if isinstance(container, Path) and container.is_file():
        digest.update(_stamp(container))
    if isinstance(source, Encoded):
        for index in range(len(source)):
            with contextlib.suppress(PictureError):
                file = source.place(index)
                if not isinstance(file, Path):
                    break
                digest.update(_stamp(file))
    return digest.hexdigest()


def _stamp(file: Path) -> bytes:
    try:
        return repr(stamp_of(file.stat())).encode()
    except OSError:
        return b"gone;"


def _changed(source: Source, before: str) -> bool:
    """Look whether the source still is as it was in the beginning."""
    with contextlib.suppress(SourceError):
        if _state_now(source) == before:
            return False
    _log.warning(
        "'%s' changed while its pictures were prepared: they are used as they were read, and "
        "will be prepared again next time",
        source.name,
    )
    return True


def _store(partial: Partial, source: Source, pipeline: Pipeline, *, changed: bool) -> Store:
    """Describe what was prepared, and write the names; splits and labels follow the pictures that were kept."""
    kept = np.empty(partial.kept, dtype=np.int64)
    digests = np.empty(partial.kept, dtype=np.uint64)
    refused: list[int] = []
    done = 0
    for piece in partial.pieces():
        place = slice(done, done + len(piece.kept))
        kept[place], digests[place] = piece.kept, piece.digests
        refused += [skip.index for skip in piece.skipped if skip.refused][: _TRIED_AGAIN - len(refused)]
        done = place.stop
    names = write_names(partial.store, (source.names[index] for index in map(int, kept)), len(kept))
    return Store(
        pictures=np.load(partial.store / "pictures.npy", mmap_mode="r", allow_pickle=False),
        names=names,
        digests=digests,
        pipeline=pipeline,
        source_name=source.name,
        fingerprint=fingerprint_of(names, digests),
        labels=None if source.labels is None else source.labels[kept],
        label_names=None if source.label_names is None else list(source.label_names),
        splits={name: _places(kept, indices) for name, indices in source.splits.items()},
        skipped=write_skipped(partial.store, _skipped(source, partial), partial.skipped),
        changed=changed,
        reading=getattr(source, "reading", None),
        refused=np.array(refused, dtype=np.int64),
    )


def _places(kept: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Return where in `kept`, which is sorted, those of `indices` are that are in it."""
    places = np.searchsorted(kept, indices)
    found: np.ndarray = places[(places < len(kept)) & (kept[np.minimum(places, len(kept) - 1)] == indices)]
    return found


def _publish(part: Path, final: Path) -> None:
    """Give the finished store its final name once it is on the disk; put a damaged or outdated one out of the way."""
    for path in (part / "store").iterdir():
        sync(path)
    sync(part / "store")
    remove(final)
    (part / "store").rename(final)
    sync(final.parent)
    remove(part)
