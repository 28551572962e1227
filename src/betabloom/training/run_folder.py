"""The folder of a run: written by one process at a time, and never without a checkpoint that can be read.

    .lock                 held by the process that trains here
    config.yaml           the settings; the first file that a run writes
    checkpoints/step-N/   state.safetensors and state.json; the newest two that are intact are kept

A checkpoint is written under another name, synced, renamed, its folder synced, and read back; only then the oldest
goes. `state.json` has the hash of the tensors and one of itself, so that a bit that flips anywhere is noticed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import re
import shlex
import shutil
from typing import TYPE_CHECKING, Any

import yaml

from betabloom.config import Config
from betabloom.errors import BetabloomError, FormatError, UsageError
from betabloom.system.atomic import is_leftover, remove_leftovers, replacing, sha256, write_json, write_text
from betabloom.system.locks import unless_locked
from betabloom.system.ownership import FolderKind
from betabloom.system.tensors import read_tensors, write_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

__all__ = [
    "claimed",
    "is_free",
    "latest_checkpoint",
    "read_records",
    "resume_command",
    "rewind_metrics",
    "rewind_samples",
    "run_config",
    "save_checkpoint",
    "shell_quoted",
    "why_stopped",
]

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
KEPT_CHECKPOINTS = 2
RECORDED = {"step", "split", "distortion", "rate", "seconds"}  # what every line of metrics.jsonl has
LARGEST_SETTINGS = 1 << 16  # bytes of config.yaml
LARGEST_STATE = 1 << 20  # bytes of state.json; a real one has some thousand
CHECKPOINT = FolderKind("a checkpoint", r"state\.(safetensors|json)")
_LOCK = ".lock"


def is_free(out: Path) -> bool:
    """Whether a new run may be put there: nothing is, or only what a run left that was killed as it began."""
    return not out.exists() or (out.is_dir() and all(p.name == _LOCK or is_leftover(p) for p in out.iterdir()))


@contextlib.contextmanager
def claimed(out: Path, resume: bool) -> Iterator[None]:
    """Keep other processes from training in the folder `out`, which is made if it is not there, while the block runs.

    Raises:
        UsageError: Another process trains there, or there is a run and it is not to be resumed.
        OSError: The folder cannot be made or written.
    """
    if not resume:
        out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            free = stack.enter_context(unless_locked(out / _LOCK))
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            free = True  # its file system knows no locks: better unguarded than not at all
        if not free:
            raise UsageError(f"Another process is training in {out}. Wait for it, or choose another name with -o.")
        if not resume and (out / "config.yaml").exists():
            raise UsageError(f"{out} exists already. Choose another name, or type: {resume_command(out)}")
        if not resume and not is_free(out):
            raise UsageError(f"{out} holds other files, and a run has a folder of its own. Choose another name.")
        for folder in (out, out / "samples", out / "checkpoints", out / "model"):
            remove_leftovers(folder)
        yield


def run_config(out: Path) -> Config:
    """Read the settings of a run.

    Raises:
        UsageError: There is no run, or its config.yaml is damaged.
    """
    path = out / "config.yaml"
    try:
        if path.stat().st_size > LARGEST_SETTINGS:
            raise ValueError(f"it has {path.stat().st_size:,} bytes, and settings some thousand")
        return Config.from_dict(yaml.load(path.read_text(encoding="utf-8"), Loader=_PlainYaml))  # noqa: S506
    except (FileNotFoundError, NotADirectoryError):
        what = f"{out} is not a run directory: it has no config.yaml." if out.exists() else f"There is no run {out}."
        raise UsageError(what) from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(f"{path} is damaged: {error}") from error


class _PlainYaml(yaml.SafeLoader):
    """YAML without references, a few of which can stand for more values than memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("settings do not refer to one another with *")
        return super().compose_node(parent, index)


def resume_command(out: Path) -> str:
    """What to type to go on."""
    return f"betabloom train --resume {shell_quoted(out)}"


def shell_quoted(path: Path) -> str:
    """A path as a shell and a command take it, whatever it begins with."""
    return shlex.quote(f"./{path}" if str(path).startswith("-") else str(path))


def why_stopped(out: Path, step: int, error: OSError) -> BetabloomError:
    """The sentence for a run that cannot write its folder any more."""
    reasons = {
        errno.ENOSPC: f"the disk of {out} is full",
        errno.EDQUOT: f"no more may be written to {out} (quota)",
        errno.EROFS: f"{out} has become read-only",
        errno.EACCES: f"{out} may not be written",
        errno.EPERM: f"{out} may not be written",
    }
    if step and not out.is_dir():
        return BetabloomError(f"Training stopped at step {step}: its folder {out} is gone.")
    reason = reasons.get(error.errno or 0, f"{error.strerror or error} ({error.filename or out})")
    if not (out / "config.yaml").exists():
        return BetabloomError(f"No run can be put in {out}: {reason}. Choose another folder with -o.")
    saved = _checkpoints(out / "checkpoints")
    intact = f" What it was at step {_step(saved[0])} is saved." if saved else ""
    return BetabloomError(
        f"Training stopped at step {step}: {reason}.{intact} To go on after that: {resume_command(out)}"
    )


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write `folder`/step-N, read it back, and keep it and the one before.

    Raises:
        OSError: It cannot be written, or is not what was written when it is read back; older ones are as they were.
    """
    folder.mkdir(exist_ok=True)  # not its parents: a run whose folder is gone is to stop
    path = folder / f"step-{step:09d}"
    with replacing(path, CHECKPOINT.check) as part:
        digest = write_tensors(tensors, part / "state.safetensors")
        state = {**state, "format_version": FORMAT_VERSION, "step": step, "sha256": digest}
        write_json(part / "state.json", {"state": state, "check": _check(state)}, synced=False)
    if not _is_intact(path, state):
        shutil.rmtree(path, ignore_errors=True)
        raise OSError(errno.EIO, "what was read back is not what was written", str(path))
    kept = _checkpoints(folder)
    for old in [p for p in kept if _step(p) > step] + [p for p in kept if _step(p) <= step][KEPT_CHECKPOINTS:]:
        shutil.rmtree(old, ignore_errors=True)


def _is_intact(path: Path, state: Mapping[str, Any]) -> bool:
    """Whether what is read back from the disk is what was written."""
    try:
        same_state = _plain(_read_state(path)) == _plain(state)
    except FormatError:
        return False
    return same_state and sha256(path / "state.safetensors", from_disk=True) == state["sha256"]


def latest_checkpoint(
    folder: Path,
    expected: Mapping[str, Tensor],
    optional: Collection[str] = (),
    fits: Callable[[Mapping[str, Any]], None] = lambda state: None,
) -> tuple[dict[str, Tensor], dict[str, Any], list[str]] | None:
    """Read the newest intact checkpoint: its tensors, its state and what was wrong with newer ones; None if none is.

    Arguments:
        folder: Where they are.
        expected: Tensors with the names, shapes and types that a checkpoint of the run has; "meta" ones will do.
        optional: Names that may be missing.
        fits: Raises an error of its own if an intact state is not one to go on from; asked before tensors are read.

    Raises:
        FormatError: There are checkpoints, and all are damaged.
    """
    complaints: list[str] = []
    for path in _checkpoints(folder):
        try:
            state = _read_state(path)
            fits(state)
            return read_tensors(path / "state.safetensors", expected, state["sha256"], optional), state, complaints
        except FormatError as error:
            complaints.append(f"{path} is damaged ({error}); trying the one before.")
    if complaints:
        again = f"To start from the beginning, remove that folder and type: {resume_command(folder.parent)}"
        raise FormatError(f"No checkpoint in {folder} can be read: {complaints[0].split(';')[0]}. {again}")
    return None


def _read_state(path: Path) -> dict[str, Any]:
    """The state.json of a checkpoint, if it is intact."""
    file = path / "state.json"
    try:
        if file.stat().st_size > LARGEST_STATE:
            raise ValueError(f"{file.stat().st_size:,} bytes")
        whole = json.loads(file.read_text(encoding="utf-8"))
        state, check = whole["state"], whole["check"]
        if not isinstance(state, dict) or not isinstance(state["sha256"], str) or check != _check(state):
            raise ValueError("its hash does not match")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(f"state.json: {error}") from error
    if state.get("format_version") != FORMAT_VERSION:
        raise FormatError(f"state.json: format version {state.get('format_version')!r}, not {FORMAT_VERSION}")
    return state


def _check(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(_plain(state).encode()).hexdigest()


def _plain(state: Mapping[str, Any]) -> str:
    return json.dumps(state, sort_keys=True)


def _checkpoints(folder: Path) -> list[Path]:
    """Checkpoint folders, newest first."""
    try:
        found = [path for path in folder.iterdir() if re.fullmatch(r"step-\d{1,18}", path.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found, key=_step, reverse=True)


def rewind_metrics(path: Path, count: int) -> list[dict[str, Any]]:
    """Drop the lines of metrics.jsonl that were written after the checkpoint, and those that cannot be read."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    records = _records(text.splitlines()[:count])
    if len(records) < count:
        log.warning("%s is damaged: %d of %d lines are left", path, len(records), count)
    write_text(path, "".join(json.dumps(entry) + "\n" for entry in records))
    return records


def read_records(out: Path) -> list[dict[str, Any]]:
    """Read the lines of a run's metrics.jsonl, but those that are damaged."""
    path = out / "metrics.jsonl"
    return _records(path.read_text(encoding="utf-8", errors="replace").splitlines()) if path.is_file() else []


def _records(lines: list[str]) -> list[dict[str, Any]]:
    found = []
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            record = json.loads(line)
            if isinstance(record, dict) and record.keys() >= RECORDED:
                found.append(record)
    return found


def rewind_samples(folder: Path, step: int) -> None:
    """Remove the sheets that were drawn after the checkpoint: with a time budget, other steps will be drawn."""
    for path in folder.glob("step-*.png"):
        number = path.stem.removeprefix("step-")
        if number.isdecimal() and int(number) > step:
            path.unlink()


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))
