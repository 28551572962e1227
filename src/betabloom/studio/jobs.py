"""Trainings that the page starts: processes of `betabloom train`, which go on without the page and the server.

All that is known of them is on disk, below the studio's folder, so that a server that is started again finds them.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from betabloom.errors import BetabloomError, UsageError
from betabloom.stages.record import is_open

__all__ = ["Jobs"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}")
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic")
MOST_AT_ONCE = 1
POINTS = 400  # of a curve
SAID = 2000  # characters of the log
_started: dict[int, subprocess.Popen[bytes]] = {}  # by this process, which has to notice their ends


@dataclass(frozen=True)
class Jobs:
    """The trainings and the folders of pictures below a folder.

    Attributes:
        folder: `runs/` and `pictures/` are in it.
    """

    folder: Path
    _beginning: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def put(self, folder: str, file: str, content: bytes) -> None:
        """Keep a picture; one of that name is not replaced by another content."""
        _named(folder), _named(Path(file).stem or "x")
        if not file.lower().endswith(ENDINGS):
            raise UsageError(f"{file!r} has no ending of a picture.")
        place = self.folder / "pictures" / folder
        place.mkdir(parents=True, exist_ok=True)
        path = place / Path(file).name
        if path.exists() and path.read_bytes() != content:
            raise UsageError(f"There is another picture named {path.name} in {folder}.")
        path.write_bytes(content)

    def folders(self) -> list[dict[str, Any]]:
        """Name, place and number of pictures of each folder."""
        home = self.folder / "pictures"
        found = sorted(path for path in home.iterdir() if path.is_dir()) if home.is_dir() else []
        return [{"name": each.name, "path": str(each), "pictures": len(list(each.iterdir()))} for each in found]

    def start(self, source: str, name: str, budget: str, model: str = "") -> dict[str, Any]:
        """Begin a training, from a model if one is named."""
        run = self._place(name)
        words = ["train", "--budget", budget, "-o", str(run), *([f"--from={model}"] if model else []), "--", source]
        with self._beginning:
            if run.exists():
                raise UsageError(f"There is a training named {name!r} already. Choose another name.")
            self._room()
            run.parent.mkdir(parents=True, exist_ok=True)
            self._begin(run, words)
        return {"name": name, "state": "running"}

    def resume(self, name: str) -> dict[str, Any]:
        """Go on with one that stopped."""
        run = self._known(name)
        with self._beginning:
            if self._state(run) == "running":
                raise UsageError(f"{name!r} is running.")
            self._room()
            self._begin(run, ["train", "--resume", str(run)])
        return {"name": name, "state": "running"}

    def stop(self, name: str) -> dict[str, Any]:
        """Ask one to save and to stop."""
        run = self._known(name)
        pid = self._pid(run)
        if pid is None:
            raise UsageError(f"{name!r} is not running.")
        os.kill(pid, signal.SIGTERM)
        return {"name": name, "state": "stopping"}

    def all(self) -> list[dict[str, Any]]:
        """Every training with its state, the newest first."""
        home = self.folder / "runs"
        logs = sorted(home.glob("*.log"), key=lambda path: path.stat().st_mtime, reverse=True) if home.is_dir() else []
        return [
            {"name": log.stem, "state": self._state(log.with_suffix("")), "path": str(log.with_suffix(""))}
            for log in logs
        ]

    def about(self, name: str) -> dict[str, Any]:
        """State, curves and last words of a training."""
        run = self._known(name)
        records = _records(run / "metrics.jsonl")
        said = run.with_name(f"{run.name}.log").read_text(encoding="utf-8", errors="replace")[-SAID:]
        return {
            "name": name,
            "state": self._state(run),
            "path": str(run),
            "records": records[:: max(1, len(records) // POINTS)],
            "said": said.replace("\r", "\n").strip(),
            "share": _share(run, records),
            "has_model": (run / "model" / "config.json").is_file(),
            "has_sample": self._sheet(run) is not None,
        }

    def sample(self, name: str) -> bytes:
        """The newest sheet of samples, a PNG."""
        sheet = self._sheet(self._known(name))
        if sheet is None:
            raise UsageError("There are no pictures yet.")
        return sheet.read_bytes()

    @staticmethod
    def _sheet(run: Path) -> Path | None:
        finished = run / "model" / "samples.png"
        return finished if finished.is_file() else max((run / "samples").glob("*.png"), default=None)

    def _place(self, name: str) -> Path:
        return self.folder / "runs" / _named(name)

    def _known(self, name: str) -> Path:
        run = self._place(name)
        if not run.with_name(f"{run.name}.log").is_file():
            raise UsageError(f"There is no training named {name!r}.")
        return run

    def _room(self) -> None:
        if sum(each["state"] == "running" for each in self.all()) >= MOST_AT_ONCE:
            raise UsageError("A training is running already. Stop it first, or wait for its end.")

    def _begin(self, run: Path, words: list[str]) -> None:
        with run.with_name(f"{run.name}.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603  (this program, with words that were checked)
                [sys.executable, "-m", "betabloom", *words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        _started[process.pid] = process
        run.with_name(f"{run.name}.pid").write_text(f"{process.pid} {_born(process.pid)}", encoding="utf-8")

    def _pid(self, run: Path) -> int | None:
        """The process of a training, if it is there."""
        file = run.with_name(f"{run.name}.pid")
        pid, _, born = file.read_text(encoding="utf-8").partition(" ") if file.is_file() else ("", "", "")
        if not pid:
            return None
        return int(pid) if _runs(int(pid)) and _born(int(pid)) == born else None

    def _state(self, run: Path) -> str:
        if self._pid(run) is not None:
            return "running"
        staged = (run / "stages.json").is_file()  # then `model/` is there before the run is done
        if not is_open(run) if staged else (run / "model" / "samples.png").is_file():
            return "finished"
        return "stopped" if staged or (run / "checkpoints").is_dir() else "failed"


def _named(name: str) -> str:
    if not NAME.fullmatch(name) or name.endswith((".log", ".pid")):
        raise UsageError(f"{name!r} cannot be a name: letters, digits, spaces, dots and dashes can.")
    return name


def _runs(pid: int) -> bool:
    """Whether a process runs, whoever started it."""
    if pid in _started:
        return _started[pid].poll() is None
    return _alive(pid)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _born(pid: int) -> str:
    """When a process began, so that another one of the same number is not taken for it."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.read_text().rpartition(")")[2].split()[19] if stat.is_file() else "0"


def _share(run: Path, records: list[dict[str, Any]]) -> float:
    """How much of its steps or its time a training has used, 0 … 1; 0 where that is not known yet."""
    from betabloom.training.run_folder import run_config  # it imports torch

    try:
        planned = run_config(run).train
    except BetabloomError:
        return 0.0
    last = records[-1] if records else {"step": 0, "seconds": 0.0}
    used = [last["step"] / planned.steps if planned.steps else 0.0]
    used += [last["seconds"] / planned.budget if planned.budget else 0.0]
    return float(min(1.0, max(used)))


def _records(path: Path) -> list[dict[str, Any]]:
    """Lines of metrics that are whole."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
