"""Checkpoints of a run: written whole, two generations kept, and checked when they are read.

    checkpoints/step-N/   state.safetensors and state.json; the newest two that are intact are kept

A checkpoint is written under another name, synced, renamed, its folder synced, and read back; only then the oldest
goes. `state.json` has the hash of the tensors and one of itself, so that a bit that flips anywhere is noticed; where
the newest is damaged, the one before is read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
import shutil
from typing import TYPE_CHECKING, Any

from betabloom.errors import FormatError
from betabloom.system.atomic import replacing, sha256, write_json
from betabloom.system.ownership import FolderKind
from betabloom.system.paths import shell_quoted
from betabloom.system.tensors import read_tensors, write_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from torch import Tensor

__all__ = [
    "CHECKPOINT",
    "FORMAT_VERSION",
    "KEPT_CHECKPOINTS",
    "LARGEST_STATE",
    "checkpoints_in",
    "latest_checkpoint",
    "resume_command",
    "save_checkpoint",
    "step_of",
]


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
    kept = checkpoints_in(folder)
    for old in [p for p in kept if step_of(p) > step] + [p for p in kept if step_of(p) <= step][KEPT_CHECKPOINTS:]:
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
    for path in checkpoints_in(folder):
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


def checkpoints_in(folder: Path) -> list[Path]:
    """Checkpoint folders, newest first."""
    try:
        found = [path for path in folder.iterdir() if re.fullmatch(r"step-\d{1,18}", path.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found, key=step_of, reverse=True)


FORMAT_VERSION = 1

KEPT_CHECKPOINTS = 2

LARGEST_STATE = 1 << 20  # bytes of state.json; a real one has some thousand

CHECKPOINT = FolderKind("a checkpoint", r"state\.(safetensors|json)")


def resume_command(out: Path) -> str:
    """What to type to go on."""
    return f"betabloom train --resume {shell_quoted(out)}"


def step_of(path: Path) -> int:
    """The step that a checkpoint folder is named by."""
    return int(path.name.removeprefix("step-"))
