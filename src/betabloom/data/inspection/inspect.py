"""The folder doctor: looks at every picture of a source and says what is there, what is wrong, and what to do."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import itertools
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from betabloom.data.inspection.advice import advice_on
from betabloom.data.inspection.duplicates import Look, exact_groups, look_at, near_groups
from betabloom.data.inspection.report import Report
from betabloom.data.pictures.decode import PictureFacts
from betabloom.data.sources.locate import open_source
from betabloom.data.sources.source import Source
from betabloom.errors import PictureError, UsageError
from betabloom.system.atomic import write_text
from betabloom.system.cores import cores

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from betabloom.data.store.store import Store
    from betabloom.system.console import Progress

__all__ = ["inspect", "summary_of"]

_AT_ONCE = 512
_QUICK = 4_000  # headers that a quick look reads at most: half a second
_TRIED = 8  # pictures that a quick look decodes, to see how bright they are
_THUMB = (32, 32)  # large enough to compare pictures; JPEGs are decoded at reduced scale
_EDGES = (32, 64, 128, 256, 512, 1024, 2048)


@dataclass(frozen=True)
class _Finding:
    """What one picture turned out to be: a reason why it cannot be used, or its facts, and its look."""

    facts: PictureFacts | None = None
    look: Look | None = None
    reason: str = ""


def inspect(
    source: Source | str | os.PathLike[str],
    size: int | tuple[int, int] = 64,
    *,
    quick: bool = False,
    started: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Look at the pictures of a source.

    Arguments:
        source: The pictures, or what `open_source` takes; they are only read.
        size: Side, or (height, width), of the pictures to train on: the advice depends on it.
        quick: Read only headers, and of at most 4,000 pictures, evenly spread, which takes half a second. Otherwise
            every picture is decoded, which finds damage inside, and compared with all others.
        started: The training starts from a model, so that the advice need not say it.
        workers: Threads; as many as there are processors, at most 8, if left out.
        progress: Called as progress(done, total, text), in pictures.

    Returns:
        What was found: `print(report.text())` for people, `report.to_dict()` for programs.

    Raises:
        UsageError: The size is not a positive number of pixels.

    Examples:
        >>> from betabloom import data
        >>> report = data.inspect(data.open_source("drawn:20"), size=64)
        >>> report.total, report.usable
        (20, 20)
    """
    if not isinstance(source, Source):
        source = open_source(source)
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise UsageError(f"'size' should be a number of pixels, not {size!r}")
    indices: Sequence[int] = range(len(source))
    if quick and len(source) > _QUICK:
        indices = [number * len(source) // _QUICK for number in range(_QUICK)]
    findings = list(_findings(source, indices, quick, workers, progress))
    report, sides = _report(source, indices, findings, quick)
    return dataclasses.replace(report, advice=advice_on(report, sides, (height, width), started))


def summary_of(store: Store, source: Source) -> str:
    """Return the text of a quick look at the source of a store; it is kept beside the pictures for the next time."""
    kept = None if store.path is None else store.path / "report.txt"
    if kept is not None and kept.is_file():
        return kept.read_text(encoding="utf-8")
    text = inspect(source, store.pictures.shape[1:3], quick=True).text()
    if kept is not None:
        with contextlib.suppress(OSError):  # it is only there to save time
            write_text(kept, text, synced=False)
    return text


def _findings(
    source: Source,
    indices: Sequence[int],
    quick: bool,
    workers: int | None,
    progress: Progress | None,
) -> Iterator[_Finding]:
    with ThreadPoolExecutor(workers or cores(8)) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files
        for start in range(0, len(indices), _AT_ONCE):
            chosen = indices[start : start + _AT_ONCE]
            if quick:  # reading headers is work for the interpreter, which threads only disturb
                yield from (_glance(source, index) for index in chosen)
            else:
                yield from pool.map(functools.partial(_examine, source), chosen)
            if progress is not None:
                progress(start + len(chosen), len(indices), "")


def _glance(source: Source, index: int) -> _Finding:
    try:
        return _Finding(source.facts(index))
    except PictureError as error:
        return _Finding(reason=str(error))


def _examine(source: Source, index: int) -> _Finding:
    try:
        facts = source.facts(index)
        image = source.read(index) if facts is None else source.read_reduced(index, _THUMB)
        return _Finding(facts or PictureFacts(image.width, image.height), look_at(image))
    except PictureError as error:
        return _Finding(reason=str(error))


def _report(source: Source, indices: Sequence[int], findings: list[_Finding], quick: bool) -> tuple[Report, np.ndarray]:
    names = source.names
    formats: collections.Counter[str] = collections.Counter()
    remarks: dict[str, list[str]] = {}
    for index, finding in zip(indices, findings, strict=True):
        if finding.facts is not None:
            formats[finding.facts.format] += 1
            for remark in finding.facts.remarks:
                remarks.setdefault(remark, []).append(names[index])
    formats.pop("", None)
    sides = np.array([(f.facts.width, f.facts.height) for f in findings if f.facts], dtype=np.int64).reshape(-1, 2)
    exact, near = _copies([names[index] for index in indices], findings)
    report = Report(
        source=source.name,
        total=len(source),
        looked_at=len(findings),
        quick=quick,
        unreadable=[{"name": names[i], "reason": f.reason} for i, f in zip(indices, findings, strict=True) if f.reason],
        sizes=_sizes(sides),
        histogram=_histogram(sides),
        shapes=_shapes(sides),
        formats=dict(formats.most_common()),
        classes=_classes(source),
        splits={name: len(chosen) for name, chosen in source.splits.items()},
        exact=exact,
        near=near,
        remarks=remarks,
        left_alone=dict(sorted(source.left_alone.items())),
        notes=list(source.notes),
        levels=_levels(source, indices, findings),
    )
    return report, sides


def _levels(source: Source, indices: Sequence[int], findings: list[_Finding]) -> tuple[int, int] | None:
    """Return the darkest and brightest level; where only headers were read, of a few pictures decoded for that."""
    looks = [finding.look for finding in findings if finding.look is not None]
    if not looks:
        usable = [index for index, finding in zip(indices, findings, strict=True) if not finding.reason]
        chosen = usable[:: max(1, len(usable) // _TRIED)][:_TRIED]
        looks = [look for look in (_examine(source, index).look for index in chosen) if look is not None]
    if not looks:
        return None
    return min(look.levels[0] for look in looks), max(look.levels[1] for look in looks)


def _sizes(sides: np.ndarray) -> dict[str, tuple[int, int]]:
    if not len(sides):
        return {}
    order = np.lexsort((sides.max(axis=1), sides.min(axis=1)))
    places = {"smallest": 0, "median": len(order) // 2, "largest": -1}
    return {name: (int(sides[order[at], 0]), int(sides[order[at], 1])) for name, at in places.items()}


def _histogram(sides: np.ndarray) -> dict[str, int]:
    """Count shorter sides between powers of two, from the first to the last that occurs."""
    if not len(sides):
        return {}
    counts = np.bincount(np.searchsorted(_EDGES, sides.min(axis=1), side="right"), minlength=len(_EDGES) + 1)
    labels = [f"under {_EDGES[0]} px"]
    labels += [f"{low} to {high - 1} px" for low, high in itertools.pairwise(_EDGES)]
    labels.append(f"{_EDGES[-1]} px or more")
    used = np.flatnonzero(counts)
    return {labels[i]: int(counts[i]) for i in range(used[0], used[-1] + 1)}


def _shapes(sides: np.ndarray) -> dict[str, int]:
    aspect = sides[:, 0] / sides[:, 1]
    wide, tall = int((aspect > 1.1).sum()), int((aspect < 1 / 1.1).sum())
    return {"wide": wide, "tall": tall, "square": len(sides) - wide - tall}


def _classes(source: Source) -> dict[str, int]:
    if source.labels is None:
        return {}
    counts = np.bincount(source.labels[source.labels >= 0], minlength=len(source.label_names or ()))
    names = source.label_names or [str(i) for i in range(len(counts))]
    return {name: int(count) for name, count in zip(names, counts, strict=True) if count}


def _copies(names: list[str], findings: list[_Finding]) -> tuple[list[list[str]], list[list[str]]]:
    """Return the groups of names with the same pixels, and those of names that look the same."""
    seen = [(name, finding.look) for name, finding in zip(names, findings, strict=True) if finding.look is not None]
    if not seen:
        return [], []
    exact = exact_groups(np.array([look.pixels for _, look in seen], dtype=np.uint64))
    again = {index for group in exact for index in group[1:]}
    first = [pair for index, pair in enumerate(seen) if index not in again]
    bits = np.array([look.bits for _, look in first], dtype=np.uint64)
    colours = np.frombuffer(b"".join(look.colours for _, look in first), dtype=np.uint8).reshape(len(first), -1)
    near = near_groups(bits, colours)
    return [[seen[i][0] for i in group] for group in exact], [[first[i][0] for i in group] for group in near]
