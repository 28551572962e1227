"""The doctor at work: it gathers facts about a run, logs advice once per problem, and keeps it in advice.json."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from betabloom.networks.build import count_parameters
from betabloom.networks.spec import FAMILIES
from betabloom.system.atomic import write_json
from betabloom.system.hardware import free_disk, free_memory
from betabloom.training.doctor import Advice, RunFacts, diagnose

if TYPE_CHECKING:
    from pathlib import Path

    from betabloom.training.state import Run

__all__ = ["checkup", "facts_of", "read_advice"]

log = logging.getLogger(__name__)

STATES = 4  # a checkpoint has weights, averaged weights and two moments
BYTES = 4  # of a number


def checkup(run: Run) -> list[Advice]:
    """Ask the doctor; log what is new, and keep what applies now in the run's advice.json."""
    found = diagnose(run.state.records, facts_of(run))
    for advice in found:
        if advice.illness not in run.tools.reported:
            log.warning("%s Type: %s", advice.sentence, advice.command)
    run.tools.reported |= {advice.illness for advice in found}
    if run.task.out:
        write_json(run.task.out / "advice.json", [asdict(advice) for advice in found], synced=False)
    return found


def facts_of(run: Run) -> RunFacts:
    """What the doctor has to know about a run besides its records."""
    settings = {name: value for section in run.task.config.to_dict().values() for name, value in section.items()}
    settings["widths"] = settings["widths"] or list(FAMILIES[settings["family"]].widths)
    parameters = count_parameters(run.state.vae)
    return RunFacts(
        settings=settings,
        numbers=math.prod(run.task.config.shape),
        images=0 if run.state.feed else len(run.task.train_rows),
        held_out=len(run.task.validation_rows),
        parameters=parameters,
        progress=run.state.plan.t,
        rollbacks=run.state.rollbacks,
        checkpoint=BYTES * STATES * parameters if run.task.out else 0,
        disk=free_disk(run.task.out) if run.task.out else None,
        memory=free_memory(run.task.device),
    )


def read_advice(folder: Path) -> list[Advice] | None:
    """Read a run's advice.json; None if there is none that can be read."""
    try:
        entries: list[dict[str, Any]] = json.loads((folder / "advice.json").read_text(encoding="utf-8"))
        return [Advice(str(e["illness"]), str(e["sentence"]), str(e["command"])) for e in entries]
    except (OSError, ValueError, TypeError, KeyError):
        return None
