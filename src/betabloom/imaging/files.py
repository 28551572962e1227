"""Many pictures, one file each, written in the background."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from betabloom.errors import UsageError
from betabloom.system.ownership import record_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from concurrent.futures import Future

    import numpy as np

    File = tuple[str | int, np.ndarray, Mapping[str, Any]]

__all__ = ["File", "write_each"]


def write_each(
    pieces: Iterable[Sequence[File]],
    folder: Path,
    made: list[str] | None = None,
    scale: float = 1.0,
    crisp: bool = False,
) -> int:
    """Write every picture to a file of its own, while the next piece is made.

    Arguments:
        pieces: Some pictures at a time, each with its name or number in a series, and its record; two pieces are in
            memory at most.
        folder: Made when the first piece is there.
        made: Where the names of the files go, if they are wanted.
        scale: Factor on the size of the pictures.
        crisp: Enlarged pixels stay squares.

    Returns:
        How many were written.

    Raises:
        UsageError: A file of that name is there, and betabloom did not make it.
    """
    from collections import deque
    from concurrent.futures import ThreadPoolExecutor

    from betabloom.system.cores import cores

    count, taken = 0, set[str]()
    waiting: deque[list[Future[None]]] = deque()
    with ThreadPoolExecutor(cores()) as pool:
        try:
            for piece in pieces:
                folder.mkdir(parents=True, exist_ok=True)
                files = [folder / f"{_file_name(name, taken)}.png" for name, _, _ in piece]
                _check_replaceable(files)
                if made is not None:
                    made += map(str, files)
                waiting.append(
                    [
                        pool.submit(_write_one, file, picture, record, scale, crisp)
                        for file, (_, picture, record) in zip(files, piece, strict=True)
                    ]
                )
                count += len(piece)
                if len(waiting) > 1:
                    _wait(waiting.popleft())
            while waiting:
                _wait(waiting.popleft())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return count


def _check_replaceable(files: Iterable[Path]) -> None:
    """Refuse to replace what betabloom did not make and was not asked to replace."""
    for file in files:
        if file.exists() and not record_in(file):
            raise UsageError(f"{file} is not replaced, because betabloom did not make it. Choose another folder.")


def _wait(writing: list[Future[None]]) -> None:
    for each in writing:
        each.result()


def _write_one(file: Path, picture: np.ndarray, record: Mapping[str, Any], scale: float, crisp: bool) -> None:
    from betabloom.imaging import png, sheets

    png.save_png(sheets.grid(picture[None], gap=0, scale=scale, crisp=crisp), file, record)


def _file_name(name: str | int, taken: set[str]) -> str:
    """A file name without ending for a picture of that name, unlike those in `taken`, which it joins."""
    if isinstance(name, int):  # its number in a series, which no other has: nothing to remember, however many there are
        return f"{name:06}"
    from betabloom.system.console import printable

    plain = name.zfill(6) if name.isdigit() else str(Path(name).with_suffix("")).replace("/", "-").replace("\\", "-")
    plain = printable(plain, 120)
    numbers = itertools.chain([plain], (f"{plain}-{i}" for i in itertools.count(2)))
    free = next(each for each in numbers if each not in taken)
    taken.add(free)
    return free
