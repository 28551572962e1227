"""Several processes of one program: who this one is, and how they are started and watched on this machine."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from betabloom.errors import BetabloomError, UsageError
from betabloom.system.cores import cores

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Rank", "first_host", "leave_if_started", "present_rank", "start_processes"]

PATIENCE = 10.0  # seconds that the others have to end by themselves when one is gone
LOOK_EVERY = 0.05  # seconds
HEARD = 2  # signals that are passed on; who then still waits for another process, within a library, hears none
STARTED = "BETABLOOM_STARTED"  # in the environment of a process that `start_processes` started
LOST = 3  # exit code of such a process that only misses another one


@dataclass(frozen=True)
class Rank:
    """Which of the processes this is.

    Attributes:
        rank: Its number among all, from 0.
        world: How many there are.
        local: Its number on this machine, from 0.
        local_world: How many there are on this machine.
    """

    rank: int
    world: int
    local: int
    local_world: int


def present_rank(environment: Mapping[str, str] = os.environ) -> Rank | None:
    """Who this process is, as `torchrun`, `--devices` or `srun` say in the environment; None if it is alone.

    Of SLURM only the tasks of a step count, which `srun` starts: a batch script is one process, however many it may
    start. Where to meet is then written into the environment, if it is not there: on the first machine of the job.
    """
    e = environment
    if "RANK" in e and "WORLD_SIZE" in e:
        world = int(e["WORLD_SIZE"])
        return Rank(int(e["RANK"]), world, int(e.get("LOCAL_RANK", 0)), int(e.get("LOCAL_WORLD_SIZE", world)))
    tasks = int(e.get("SLURM_STEP_NUM_TASKS", 1))
    if tasks < 2 or "SLURM_PROCID" not in e:
        return None
    if environment is os.environ:
        _meet_on_slurm(os.environ)
    on_this = re.match(r"\d+", e.get("SLURM_STEP_TASKS_PER_NODE", "1"))
    return Rank(int(e["SLURM_PROCID"]), tasks, int(e.get("SLURM_LOCALID", 0)), int(on_this[0]) if on_this else 1)


def _meet_on_slurm(environment: Mapping[str, str]) -> None:
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "localhost")
    os.environ.setdefault("MASTER_ADDR", first_host(nodes))
    os.environ.setdefault("MASTER_PORT", str(20_000 + int(environment.get("SLURM_JOB_ID", 0)) % 20_000))


def first_host(nodes: str) -> str:
    """The first of SLURM's host names: "gpu[003-004,9],cpu1" → "gpu003"."""
    match = re.match(r"([^,\[]*)(?:\[([^\],-]*)[^\]]*\])?([^,]*)", nodes)
    assert match  # noqa: S101  (it matches whatever there is)
    return match[1] + (match[2] or "") + (match[3] or "")


def start_processes(words: Sequence[str], devices: int, nodes: int = 1) -> None:
    """Run `betabloom WORDS` in a process for each device of this machine, until all have ended.

    When one fails, the others get some seconds to end by themselves. Signals are passed on to them.

    Arguments:
        words: The command.
        devices: Processes on this machine.
        nodes: Machines; each has to be given the same command.

    Raises:
        UsageError: There are several machines, and the environment does not say where they meet.
        BetabloomError: A process was killed, or failed in its own way.
        SystemExit: Process 0 failed and has said why.
    """
    here, shared = _on_this_machine(devices, nodes, os.environ)
    with tempfile.TemporaryDirectory(prefix="betabloom-") as folder, _passing_signals_on() as children:
        for local in range(devices):
            own = {"RANK": str(here * devices + local), "LOCAL_RANK": str(local)}
            with (Path(folder) / str(local)).open("wb") as file:
                quiet = {"stdout": file, "stderr": file} if here * devices + local else {}
                command = [sys.executable, "-m", "betabloom", *words]
                environment = {**os.environ, **shared, **own}
                started = subprocess.Popen(command, env=environment, start_new_session=True, **quiet)  # type: ignore[call-overload]  # noqa: S603
                children.append(started)
        failed = _watch(children)
        if failed is None:
            return
        code, said = children[failed].returncode, _last_line(Path(folder) / str(failed))
    if here * devices + failed == 0 and 0 < code != LOST:
        raise SystemExit(code)
    raise BetabloomError(_why(here * devices + failed, devices * nodes, code, said))


def _on_this_machine(devices: int, nodes: int, e: Mapping[str, str]) -> tuple[int, dict[str, str]]:
    """The number of this machine, and what all processes find in their environment."""
    shared = {"WORLD_SIZE": str(devices * nodes), "LOCAL_WORLD_SIZE": str(devices), STARTED: "1"}
    shared["OMP_NUM_THREADS"] = e.get("OMP_NUM_THREADS", str(max(1, cores() // devices)))
    if nodes == 1:
        return 0, {**shared, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    if "SLURM_NODEID" in e:
        _meet_on_slurm(e)
        return int(e["SLURM_NODEID"]), shared
    if not {"MASTER_ADDR", "MASTER_PORT", "NODE_RANK"} <= e.keys():
        raise UsageError(
            "Several machines have to know where they meet. Set MASTER_ADDR and MASTER_PORT (of the first) and "
            "NODE_RANK (0, 1 …) on each, or start them by srun, or by: torchrun --nnodes 2 … -m betabloom train …"
        )
    return int(e["NODE_RANK"]), shared


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _watch(children: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait for all; the number of the first that failed, if one did, after which none is left running."""
    while any(child.poll() is None for child in children):
        failed = _failed(children)
        if failed is not None:
            _end(children)
            return _failed(children)
        time.sleep(LOOK_EVERY)
    return _failed(children)


def _failed(children: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """One that failed: a killed one before others, and one that only misses another last."""
    codes = {number: child.returncode for number, child in enumerate(children) if child.poll()}
    return min(codes, key=lambda number: (codes[number] == LOST, codes[number] > 0, number), default=None)


def _end(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Let the others end by themselves, then end them."""
    until = time.monotonic() + PATIENCE
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(max(0.1, until - time.monotonic()))
    for child in children:
        if child.poll() is None:
            child.kill()
            child.wait()


def _last_line(file: Path) -> str:
    lines = file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].removeprefix("betabloom: ") if lines else ""


def _why(rank: int, world: int, code: int, said: str) -> str:
    """The sentence for a process that failed."""
    if code < 0:
        with contextlib.suppress(ValueError):
            said = f"it was ended by {signal.Signals(-code).name}"
        hint = " (perhaps for lack of memory)" if -code == getattr(signal, "SIGKILL", 9) else ""
        return f"Process {rank} of {world} is gone: {said}{hint}. All others were stopped."
    return f"Process {rank} of {world} failed: {said or f'exit code {code}'}"


def leave_if_started(error: BaseException) -> None:
    """Leave without a word where `start_processes` is there to say what happened: another process is gone.

    Raises:
        SystemExit: It is.
    """
    if os.environ.get(STARTED):
        raise SystemExit(LOST) from error


@contextlib.contextmanager
def _passing_signals_on() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Yield a list for processes, which get the signals that this process gets; the third one ends them."""
    children: list[subprocess.Popen[bytes]] = []
    times = 0

    def pass_on(number: int, frame: object) -> None:
        nonlocal times
        times += 1
        for child in children:
            if child.poll() is None:
                child.send_signal(number) if times <= HEARD else child.kill()

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {n: signal.signal(n, pass_on) for n in numbers if signal.getsignal(n) is not signal.SIG_IGN}
    try:
        yield children
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()
        for each, handler in before.items():
            signal.signal(each, handler)
