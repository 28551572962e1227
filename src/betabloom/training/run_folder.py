"""The folder of a run, written by one process at a time.

.lock                 held by the process that trains here
config.yaml           the settings; the first file that a run writes
checkpoints/          see `betabloom.training.checkpoints`
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
from typing import TYPE_CHECKING, Any

import yaml

from betabloom.config import Config
from betabloom.errors import BetabloomError, UsageError
from betabloom.system.atomic import is_leftover, remove_leftovers, write_text
from betabloom.system.locks import unless_locked
from betabloom.training.checkpoints import checkpoints_in, resume_command, step_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


__all__ = ["claimed", "is_free", "read_records", "rewind_metrics", "rewind_samples", "run_config", "why_stopped"]

log = logging.getLogger(__name__)

RECORDED = {"step", "split", "seconds"}  # what every line of metrics.jsonl has
BY_LIKELIHOOD = {"distortion", "rate"}  # and what those of "train" and "validation" have
LARGEST_SETTINGS = 1 << 16  # bytes of config.yaml
_LOCK = ".lock"


def is_free(out: Path) -> bool:
    """Whether a new run may be put there: it is empty, or has only what a run left that was killed as it began."""
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
        stages = (*out.glob("stages/*"), *out.glob("stages/*/checkpoints"))
        for folder in (out, out / "samples", out / "checkpoints", out / "model", *stages):
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
            raise ValueError(f"it has {path.stat().st_size:,} bytes; settings have a few thousand")
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
            raise yaml.YAMLError("settings cannot refer to one another with *")
        return super().compose_node(parent, index)


def why_stopped(out: Path, step: int, error: OSError) -> BetabloomError:
    """The error for a run that can no longer write to its folder."""
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
    saved = checkpoints_in(out / "checkpoints")
    intact = f" It is saved as it was at step {step_of(saved[0])}." if saved else ""
    return BetabloomError(
        f"Training stopped at step {step}: {reason}.{intact} When that is mended, type: {resume_command(out)}"
    )


def rewind_metrics(path: Path, count: int) -> list[dict[str, Any]]:
    """Drop the lines of metrics.jsonl that were written after the checkpoint, and those that cannot be read."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    records = _records(text.splitlines()[:count])
    if len(records) < count:
        log.warning("%s is damaged: %d of %d lines can be read", path, len(records), count)
    write_text(path, "".join(json.dumps(entry) + "\n" for entry in records))
    return records


def read_records(out: Path) -> list[dict[str, Any]]:
    """Read the lines of a run's metrics.jsonl, except damaged ones."""
    path = out / "metrics.jsonl"
    return _records(path.read_text(encoding="utf-8", errors="replace").splitlines()) if path.is_file() else []


def _records(lines: list[str]) -> list[dict[str, Any]]:
    found = []
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            record = json.loads(line)
            if isinstance(record, dict) and record.keys() >= _expected(record):
                found.append(record)
    return found


def _expected(record: dict[str, Any]) -> set[str]:
    """What a line has to have."""
    return RECORDED | BY_LIKELIHOOD if record.get("split") in ("train", "validation", None) else RECORDED


def rewind_samples(folder: Path, step: int) -> None:
    """Remove the sheets that were drawn after the checkpoint: with a time budget, other steps will be drawn."""
    for path in folder.glob("step-*.png"):
        number = path.stem.removeprefix("step-")
        if number.isdecimal() and int(number) > step:
            path.unlink()
