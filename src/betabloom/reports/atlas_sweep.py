"""The trainings of an atlas of β: one model for each β and seed, all else alike; what is finished is kept."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from betabloom.errors import BetabloomError, FileError, UsageError
from betabloom.system.atomic import write_json
from betabloom.system.paths import shell_quoted
from betabloom.training.loop import Interrupted, train
from betabloom.training.run_folder import run_config

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from betabloom.config import Config
    from betabloom.data import Store
    from betabloom.system.console import Progress

__all__ = ["Member", "check_betas", "members_of", "read_sweep", "train_sweep"]

PLAN = "atlas.json"
JUDGELESS = 599.0  # seconds: with a shorter budget no feature network compares samplers, which takes half a minute
LEAST_PART = 0.5  # of the time that the last member took, below which no other is begun


@dataclass(frozen=True)
class Member:
    """One training of an atlas.

    Attributes:
        beta: The weight of the rate. 0 is a plain auto-encoder, which has a point posterior.
        seed: Its seed.
        folder: Its run directory.
    """

    beta: float
    seed: int
    folder: Path

    @property
    def finished(self) -> bool:
        """Whether it was trained to its end."""
        return all((self.folder / name).is_file() for name in ("curves.png", "model/config.json"))


def check_betas(betas: Sequence[float]) -> tuple[float, ...]:
    """Return the β of an atlas in order.

    Raises:
        UsageError: There are fewer than two, one stands there twice, or one is negative or not finite.
    """
    for beta in betas:
        if not 0 <= beta < math.inf:
            raise UsageError(f"Each β must be 0 or a positive number, not {beta:g}.")
    twice = sorted({beta for beta in betas if betas.count(beta) > 1})
    if twice:
        raise UsageError(f"β = {twice[0]:g} stands in the list twice. Name each β once: --betas 0,1,4")
    if len(betas) < 2:
        raise UsageError("An atlas compares at least two β. Type, for instance: --betas 0,1,4")
    return tuple(sorted(betas))


def members_of(out: Path, betas: Sequence[float], seeds: int) -> list[Member]:
    """All trainings of an atlas in `out`, every β of the first seed before the second."""
    return [
        Member(beta, seed, out / "runs" / f"beta-{beta:g}-seed-{seed}")
        for seed in range(1, seeds + 1)
        for beta in betas
    ]


def train_sweep(
    store: Store,
    config: Config,
    betas: Sequence[float],
    out: Path,
    seeds: int = 3,
    budget: float = 0.0,
    progress: Progress | None = None,
) -> list[Member]:
    """Train one model for each β and seed, all with the same network, pictures and number of steps.

    A second call with the same `out` goes on: finished members are kept, interrupted ones resumed, and further β or
    seeds added. With a budget and no number of steps, the first member trains for its share of the time, and the others
    for as many steps as it took. Members that the budget does not reach are not begun.

    Arguments:
        store: The pictures.
        config: The settings of all members but β, seed and, for β = 0, the posterior.
        betas: Each ≥ 0, none twice.
        out: Folder of the atlas; made if it is missing.
        seeds: Trainings of each β, ≥ 1.
        budget: Seconds for all trainings of this call together; 0 for no limit.
        progress: Called as progress(done, total, text), in steps of all members together.

    Returns:
        The members that are finished.

    Raises:
        UsageError: The β are not valid, or the folder holds something else or an atlas with other settings.
        Interrupted: The process was asked to stop; type the same command to go on.
    """
    betas, started = check_betas(betas), time.monotonic()
    members = members_of(out, betas, seeds)
    config = _settled(_planned(config, out, betas, seeds, store), members)
    write_json(out / PLAN, {"config": config.to_dict(), "betas": betas, "seeds": seeds, "data": store.fingerprint})
    took = 0.0
    for number, member in enumerate(members):
        left = budget - (time.monotonic() - started)
        if member.finished:
            continue
        if budget and (left <= 0 or left < LEAST_PART * took):
            break
        begun = time.monotonic()
        share = left / (len(members) - number) if budget else 0.0
        _train_member(store, config, member, share, _counted(progress, number, len(members), member))
        config, took = _settled(config, members), time.monotonic() - begun
    return [member for member in members if member.finished]


def read_sweep(out: Path) -> dict[str, Any]:
    """The plan of the atlas in `out`: config, betas, seeds, data.

    Raises:
        UsageError: There is none, or it cannot be read.
    """
    try:
        plan = json.loads((out / PLAN).read_text(encoding="utf-8"))
        return {name: plan[name] for name in ("config", "betas", "seeds", "data")}
    except FileNotFoundError:
        raise UsageError(f"{out} holds no atlas: there is no {PLAN} in it.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{out / PLAN} is damaged: {error}. Choose another folder with -o.") from error


def _planned(config: Config, out: Path, betas: Sequence[float], seeds: int, store: Store) -> Config:
    """Return the settings to train with, if `out` is free or holds an atlas of the same settings and pictures."""
    if seeds < 1:
        raise UsageError(f"'seeds', the trainings of each β, must be at least 1, not {seeds}.")
    config = config.replace({"batch": config.train.batch or 32, "beta": 1.0, "seed": 0})
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        out.mkdir(parents=True, exist_ok=True)
        return config
    plan = read_sweep(out)
    if plan["data"] != store.fingerprint:
        raise UsageError(f"The atlas in {out} was made of other pictures. Choose another folder with -o.")
    for section, values in config.to_dict().items():
        for name, value in values.items():
            before = plan["config"].get(section, {}).get(name, value)
            if before != value and name not in ("budget", "epochs") and (value or name not in ("steps", "widths")):
                raise UsageError(
                    f"The atlas in {out} was made with {name} = {before}, not {value}. Choose another folder with -o."
                )
    return config


def _settled(config: Config, members: Sequence[Member]) -> Config:
    """The settings with the steps and widths of the first member that is finished, which all others follow."""
    first = next((member for member in members if member.finished), None)
    if first is None:
        return config
    known = run_config(first.folder)
    facts = json.loads((first.folder / "model" / "config.json").read_text(encoding="utf-8"))
    steps = int(facts["training"]["steps"])
    return config.replace({"steps": steps, "widths": known.model.widths, "batch": known.train.batch})


def _train_member(store: Store, config: Config, member: Member, share: float, progress: Progress | None) -> None:
    """Train a member, or go on with it."""
    changes: dict[str, Any] = {"beta": member.beta, "seed": member.seed}
    changes["posterior"] = config.model.posterior if member.beta else "point"
    changes["budget"] = JUDGELESS if config.train.steps else min(share, JUDGELESS)
    try:
        train(store, config.replace(changes), member.folder, (member.folder / "config.yaml").is_file(), progress)
    except Interrupted as error:
        parent = shell_quoted(member.folder.parents[1])
        raise Interrupted(f"Stopped, and saved. Type the same command to go on with the atlas in {parent}.") from error
    except BetabloomError as error:
        if isinstance(error.__cause__, OSError):  # its advice would be to go on with this member alone
            raise FileError.of(error.__cause__, str(member.folder.parents[1])) from error
        raise


def _counted(progress: Progress | None, number: int, total: int, member: Member) -> Progress | None:
    """Progress of one member as progress of all."""
    if progress is None:
        return None

    def report(step: int, steps: int, text: str) -> None:
        steps = max(steps, step, 1)
        progress(number * steps + step, total * steps, f"β {member.beta:g} seed {member.seed} {text}")

    return report
