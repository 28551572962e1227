"""Processes that prepare pictures of files side by side.

Threads do not help there: decoding a small picture consists of many small calls, between which the threads wait for one
another. The processes are plain programs that read requests from their standard input, so they need no precaution
in a script or a notebook, and end with whoever started them. Whatever goes wrong with one, its thread does the work.

    request    {"start": index of the first picture, "paths": [one for each]}
    answer     a `Piece` as a line, and the pixels of the pictures that were kept
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.data.pictures import decode
from betabloom.data.pictures.pipeline import Pipeline
from betabloom.data.sources.encoded import Encoded
from betabloom.data.store.partial import Piece
from betabloom.data.store.pieces import prepare_piece
from betabloom.system.locks import locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Unpack

    from betabloom.data.pictures.reading import ReadingOptions
    from betabloom.data.sources.source import Source
    from betabloom.data.store.pieces import Prepared

__all__ = ["main", "preparing_with"]

_MANY = 2000  # pictures for which it is worth starting processes, which takes half a second
_START = "import sys; sys.path[:] = sys.argv[1:]; from betabloom.data.store.processes import main; main()"
_READERS = ("read", "read_reduced", "read_transparent")
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def preparing_with(
    source: Source, pipeline: Pipeline, workers: int, left: int, lock: Path
) -> Iterator[tuple[Callable[[range], Prepared], Callable[[], None]]]:
    """Yield a function that prepares a piece, to be called from `workers` threads at a time, and one that ends it all.

    Arguments:
        source: Where the pictures come from.
        pipeline: What is done to each.
        workers: How many threads there are.
        left: How many pictures they will prepare in all; for few, or for others than files, no process is started.
        lock: A file that can be locked, for pictures so large that one at a time is enough.
    """
    files = _as_files(source) if workers > 1 and left >= _MANY else None
    own, crew, wanted = threading.local(), list[_Process](), True

    def prepare(indices: range) -> Prepared:
        if files is not None and not hasattr(own, "process"):
            own.process = _Process(files, pipeline, lock)
            crew.append(own.process)
        prepared: Prepared | None = own.process.prepare(indices) if files is not None else None
        return prepare_piece(source, pipeline, indices, lambda: wanted) if prepared is None else prepared

    def leave() -> None:
        nonlocal wanted
        wanted = False
        for process in crew:
            process.end()

    try:
        yield prepare, leave
    finally:
        leave()


def _as_files(source: Source) -> Encoded | None:
    """Return the source if paths are all it takes to read it and this is a Python that can be started again."""
    if not (sys.executable and Path(sys.executable).stem.lower().startswith(("python", "pypy"))):
        return None
    kind = type(source)
    if not isinstance(source, Encoded) or any(getattr(kind, name) is not getattr(Encoded, name) for name in _READERS):
        return None
    return source if _paths(source, range(1)) else None


def _paths(source: Encoded, indices: range) -> list[str] | None:
    with contextlib.suppress(Exception):  # whatever it is, reading in this process reports it
        files = [source.place(index) for index in indices]
        if all(isinstance(file, Path) for file in files):
            return [str(file) for file in files]
    return None


class _Process:
    """One process, used by one thread."""

    def __init__(self, source: Encoded, pipeline: Pipeline, lock: Path) -> None:
        self._source, self._shape = source, (pipeline.height, pipeline.width, pipeline.channels)
        self._process: subprocess.Popen[bytes] | None = None
        plan: dict[str, Any] = {"pipeline": pipeline.to_dict(), "reading": source.reading.options(), "lock": str(lock)}
        plan["sheets"] = source.takes_sheets
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-c", _START, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **_ONE_THREAD},
            )
            self._send(self._process, plan)

    def prepare(self, indices: range) -> Prepared | None:
        """Have a piece prepared; None if that cannot be done here."""
        paths, process = _paths(self._source, indices), self._process
        if paths is None or process is None:
            return None
        try:
            self._send(process, {"start": indices.start, "paths": paths})
            return self._receive(process)
        except (OSError, ValueError) as error:
            _log.info("a process that prepared pictures ended (%s); going on without it", error)
            self.end()
            return None

    def end(self) -> None:
        """Let the process end."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()  # first: who still reads from it holds its pipes
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]
            process.wait()

    @staticmethod
    def _send(process: subprocess.Popen[bytes], message: dict[str, Any]) -> None:
        assert process.stdin is not None  # noqa: S101
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()

    def _receive(self, process: subprocess.Popen[bytes]) -> Prepared:
        assert process.stdout is not None  # noqa: S101
        piece = Piece.from_line(process.stdout.readline())
        pictures = np.empty((len(piece.kept), *self._shape), dtype=np.uint8)
        if process.stdout.readinto(pictures.reshape(-1).data) < pictures.size:  # type: ignore[attr-defined]
            raise ValueError("its answer is cut short")
        return piece, pictures


class _Files(Encoded):
    """Files of which the first has the index `start`."""

    def __init__(self, start: int, paths: list[str], takes_sheets: bool, **options: Unpack[ReadingOptions]) -> None:
        super().__init__(**options)
        self._start, self.names, self.takes_sheets = start, paths, takes_sheets

    def open(self, index: int) -> Path:
        return Path(self.names[index - self._start])

    def fingerprint(self) -> str:
        return ""  # these are part of a source that has one


class _OneAtATime:
    """A lock among processes."""

    def __init__(self, path: Path) -> None:
        self._path, self._held = path, contextlib.ExitStack()

    def __enter__(self) -> None:
        self._held.enter_context(locked(self._path))

    def __exit__(self, *_: object) -> None:
        self._held.close()


def main() -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started this decides when it ends
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else gets between the answers
    plan = json.loads(sys.stdin.buffer.readline())
    pipeline = Pipeline.from_dict(plan["pipeline"])
    decode.one_at_a_time = _OneAtATime(Path(plan["lock"]))  # type: ignore[assignment]
    for line in sys.stdin.buffer:
        request = json.loads(line)
        start, paths = request["start"], request["paths"]
        files = _Files(start, paths, plan["sheets"], **plan["reading"])
        piece, pictures = prepare_piece(files, pipeline, range(start, start + len(paths)))
        answers.write(piece.to_line())
        answers.write(np.ascontiguousarray(pictures).data)
        answers.flush()
