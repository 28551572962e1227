"""What a run in stages has decided and measured, in its `stages.json`: with it a run that was stopped goes on.

stages.json              which stages are done, what each brought, what the model in `model/` is
stages/NAME/model/       the model that a stage made
stages/NAME/checkpoints/ where a stage with a teacher stands
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from betabloom.errors import FormatError
from betabloom.system.atomic import write_json

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Entry", "Record", "is_open", "read_entries", "read_record"]

FILE = "stages.json"
FORMAT_VERSION = 1


@dataclass
class Entry:
    """One stage that is done.

    Attributes:
        stage: Its name.
        kept: Whether what it made is better than what was there.
        why: A sentence for people.
        seconds: How long it took.
        quality: What was measured of its pictures, by name; empty where nothing was.
        facts: What later stages want to know.
    """

    stage: str
    kept: bool
    why: str
    seconds: float = 0.0
    quality: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Record:
    """All stages so far.

    Attributes:
        folder: The run directory.
        entries: Stages that are done, in order.
        seconds: Seconds that they took, with what came before them.
        best: The stage whose model is the best so far; "" if there is none.
        quality: What was measured of that model, as `Quality.numbers` has it.
        planned: Seconds that a stage which has begun may take, by its name.
        finished: Whether all stages are done.
    """

    folder: Path
    entries: list[Entry] = field(default_factory=list)
    seconds: float = 0.0
    best: str = ""
    quality: dict[str, Any] = field(default_factory=dict)
    planned: dict[str, float] = field(default_factory=dict)
    finished: bool = False

    def entry(self, stage: str) -> Entry | None:
        """What a stage left, if it is done."""
        return next((entry for entry in self.entries if entry.stage == stage), None)

    def place(self, stage: str) -> Path:
        """The folder of a stage."""
        return self.folder / "stages" / stage

    def write(self) -> None:
        """Write it, whole or not at all."""
        facts = {name: value for name, value in asdict(self).items() if name != "folder"}
        write_json(self.folder / FILE, {"format_version": FORMAT_VERSION, **facts})


def read_record(folder: Path) -> Record:
    """Read the record of a run; one that has none yet has no stages done.

    Raises:
        FormatError: It is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return Record(folder)
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts.pop("format_version") != FORMAT_VERSION:
            raise ValueError("it is of another version")
        entries = [Entry(**entry) for entry in facts.pop("entries")]
        return Record(folder, entries, **facts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"{path} is damaged: {error}") from error


def is_open(folder: Path) -> bool:
    """Whether a run in stages has stages before it."""
    try:
        return not read_record(folder).finished
    except FormatError:
        return True


def read_entries(folder: Path) -> list[Entry]:
    """The stages of a run that are done; none where it has no stages, or its record cannot be read."""
    try:
        return read_record(folder).entries
    except FormatError:
        return []
