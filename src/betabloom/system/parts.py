"""Work in parts: a function is called many times, in this process, in several, or on a Ray cluster, with equal results.

A call is the name of a function ("package.module:function") and arguments as JSON has them; what it returns is JSON
too, and what is large goes into files. Results come in the order of the calls. Functions that write do so whole or not
at all, and do the same when they are called again: so a call whose process is killed is made again, by another one.
"""

from __future__ import annotations

import collections
import contextlib
import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from betabloom import errors
from betabloom.errors import BetabloomError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["main", "results"]

TRIES = 3  # for a call: one that ends its process each time would do so for ever
START = "import sys; sys.path[:] = sys.argv[1:]; from betabloom.system.parts import main; main()"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def results(
    function: str, calls: Iterable[dict[str, Any]], *, processes: int = 1, ray: str | None = None
) -> Iterator[Any]:
    """Yield what a function returns for each of its calls, in their order.

    Arguments:
        function: "package.module:function".
        calls: The arguments of each call, by name, as JSON has them.
        processes: How many work side by side, with one thread of torch and NumPy each; 1 is this process itself.
        ray: Address of a Ray cluster ("auto" for the one that runs here), or "local" for one of this machine's own; all
            of its machines have to see the files that the arguments name. None for no Ray.

    Raises:
        BetabloomError: A call raised one; or its process was ended `TRIES` times.
        UsageError: Ray is not installed.
    """
    if ray is not None:
        return _on_ray(function, calls, ray)
    if processes == 1:
        return (_function(function)(**call) for call in calls)
    return _in_processes(function, calls, processes)


def _function(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return found


def _in_processes(function: str, calls: Iterable[dict[str, Any]], processes: int) -> Iterator[Any]:
    own, crew = threading.local(), list[_Worker]()

    def call(arguments: dict[str, Any]) -> Any:
        if not hasattr(own, "worker"):
            own.worker = _Worker()
            crew.append(own.worker)
        return _result(own.worker.call(function, arguments))

    waiting: collections.deque[Future[Any]] = collections.deque()
    pool = ThreadPoolExecutor(processes, thread_name_prefix="parts")
    try:
        for arguments in calls:
            waiting.append(pool.submit(call, arguments))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in crew:
            worker.end()
        pool.shutdown()


class _Worker:
    """One process, used by one thread; another one takes its place when it ends."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False

    def call(self, function: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The answer of `main` to a call."""
        request = json.dumps({"function": function, "arguments": arguments}).encode() + b"\n"
        for _ in range(TRIES):
            with contextlib.suppress(OSError, ValueError):
                return self._asked(request)
            self._let_go()
            if self._ended:
                break
        raise BetabloomError(f"A process that worked on {function.rpartition(':')[2]} was ended {TRIES} times.")

    def _asked(self, request: bytes) -> dict[str, Any]:
        if self._process is None:
            command = [sys.executable, "-c", START, *sys.path]
            environment = {**os.environ, **ONE_THREAD}
            self._process = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
            )
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101, PT018
        self._process.stdin.write(request)
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def end(self) -> None:
        """Let the process end, whatever it does."""
        self._ended = True
        self._let_go()

    def _let_go(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]
            process.wait()


def main() -> None:
    """Answer calls until there are no more: what a process that is started here does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started this decides when it ends
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else gets between the answers
    for line in sys.stdin.buffer:
        request = json.loads(line)
        answers.write(json.dumps(_answer(request)).encode() + b"\n")
        answers.flush()


def _result(answer: dict[str, Any]) -> Any:
    """What a call returned, or the error that it raised."""
    if "error" in answer:
        raise getattr(errors, answer["kind"], BetabloomError)(answer["error"])
    return answer["result"]


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """What a call returns, or why it does not."""
    try:
        return {"result": _function(request["function"])(**request["arguments"])}
    except BetabloomError as error:
        return {"error": str(error), "kind": type(error).__name__}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "kind": "BetabloomError"}


def _on_ray(function: str, calls: Iterable[dict[str, Any]], address: str) -> Iterator[Any]:
    """Have Ray Data make the calls: one row each, in order, and again when a worker is gone."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UsageError("Ray is not installed: type pip install 'betabloom[ray]'") from error
    rows = [json.dumps({"function": function, "arguments": call}) for call in calls]
    if not rows:
        return
    if not ray.is_initialized():
        ray.init(address=None if address == "local" else address, log_to_driver=False)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order, context.enable_progress_bars = True, False
    data = ray.data.from_items([{"call": row} for row in rows], override_num_blocks=len(rows))
    for row in data.map_batches(_batch, batch_size=1, batch_format="numpy").iter_rows():
        yield _result(json.loads(row["answer"]))


def _batch(rows: dict[str, Any]) -> dict[str, Any]:
    """What Ray calls in its workers."""
    import numpy as np

    torch = sys.modules.get("torch")
    if torch is None:
        os.environ.update(ONE_THREAD)  # before it is loaded
    elif torch.get_num_threads() > 1:
        torch.set_num_threads(1)
    return {"answer": np.array([json.dumps(_answer(json.loads(row))) for row in rows["call"]])}
