"""The pictures of a request as files, written in parts by several processes or a Ray cluster.

A part is a stretch of numbers of the series, of whole batches: the noise of picture i follows from the seed and i
alone, so every file is what one process would have written, and a part that is written again is the same.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from betabloom.errors import UsageError
from betabloom.generate.drawing import at_once
from betabloom.generate.request import Request, open_model
from betabloom.generate.writing import write_files
from betabloom.seeds import BATCH
from betabloom.system.parts import results

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from betabloom.model.generator import Generator
    from betabloom.system.console import Progress

__all__ = ["write_in_parts", "write_part"]


def write_in_parts(
    path: str | os.PathLike[str] | None,
    request: Request,
    folder: Path,
    about: Mapping[str, Any],
    *,
    processes: int = 1,
    ray: str | None = None,
    progress: Progress | None = None,
) -> int:
    """Write the pictures of a request into a file each; see `writing.write_files`, whose files these are.

    Arguments:
        path: The model, as for `betabloom.load`.
        request: `checked`. Its pictures are named by numbers, and each can be drawn by itself.
        folder: Made if it is not there.
        about: What each file says of the model, beside the request.
        processes: How many work side by side.
        ray: Address of a Ray cluster that works, or "local".
        progress: Called as progress(done, total, text), in pictures.

    Returns:
        How many were written.

    Raises:
        UsageError: What is asked for needs one picture after the other.
    """
    if request.only_novel or request.named or request.size:
        raise UsageError("--novel, --named, --size and --tile need one picture after the other: leave out --processes.")
    total = len(request.chosen()) if request.numbers is not None else request.n
    model = str(Path(path).resolve()) if path is not None and Path(path).exists() else path
    common = {"model": model, "folder": str(folder.resolve()), "about": dict(about)}
    size = max(at_once(open_model(path, request)), 4 * BATCH)
    calls = ({**common, "request": dataclasses.asdict(each)} for each in _parts(request, size))
    done = 0
    for count in results("betabloom.generate.parts:write_part", calls, processes=processes, ray=ray):
        done += count
        if progress:
            progress(done, total, "")
    return done


def _parts(request: Request, size: int) -> Iterator[Request]:
    """Requests for some of the pictures each, which begin where batches begin."""
    if request.numbers is None:
        for start in range(0, request.n, size):
            yield dataclasses.replace(request, start=request.start + start, n=min(size, request.n - start))
        return
    from betabloom.seeds import numbers_text

    chosen = list(request.chosen())
    for start in range(0, len(chosen), size):
        yield dataclasses.replace(request, numbers=numbers_text(chosen[start : start + size]))


def write_part(model: str | None, request: dict[str, Any], folder: str, about: dict[str, Any]) -> int:
    """Write some of the pictures; returns how many."""
    asked = Request(**request | {"size": None})
    count, _, _ = write_files(_opened(model, asked.needs_torch, asked), asked, Path(folder), about)
    return count


_models: dict[tuple[str | None, bool], Any] = {}


def _opened(model: str | None, torch: bool, request: Request) -> Generator:
    """The model, opened once in every process."""
    if (model, torch) not in _models:
        _models[model, torch] = open_model(model, request)
    found: Generator = _models[model, torch]
    return found
