"""The training doctor: what the lines of a run's log and facts about it say is wrong, each in a sentence with its cure.

Records and facts go in, advice comes out; nothing is measured here and no model is touched. Every illness has one
function, which returns its advice or None. A wrong learning rate makes everything else look wrong
too, so causes are checked before consequences. A healthy run gets no advice, so every threshold leaves a wide margin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from betabloom.system.console import times

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


__all__ = ["Advice", "RunFacts", "diagnose"]

# The thresholds. Distortions are compared per number, that is in nats per pixel and channel, so that they mean the same
# for every size. "Gain" is how much lower the distortion is than that of the untrained network, in the first record.
JUDGED_FROM = 0.2  # part of the training before which only arithmetic, pictures and resources are judged: β still rises
COLLAPSED = 0.05  # part of the latents: β = 4 models in Burgess et al. 2018 still use a tenth of theirs and more
SILENT = 0.1  # nats per latent: below, a latent's posterior is the prior but for a tenth of a nat
TOLD_APART = 1.0  # nats per picture: I(x; z) ≤ R, so that codes of R nats tell e^R pictures apart, here not even three
ENDLESS = 10.0  # nats per latent: e^10 = 22,000 values of every latent told apart; trained models have 1 to 7
ALIKE = 0.03  # spread of decoded pictures relative to real ones; blurry models a minute old have 0.3 and more
DEAD = 1e-4  # the same, so small that it is rounding: no gradient reaches the codes and no training revives it
WORSE = 0.05  # nats per number above the untrained network: batches differ by 0.01
RELAPSE = 0.5  # part of the gain that is lost again while β stands still
STUCK = 0.02  # nats per number gained; the first hundred steps of a healthy training gain 0.2 and more
SMALL_STEP = 1e-4  # a tenth of the default: only below is a loss that stands still blamed on the learning rate
EVIDENCE = 100  # steps before anything that is learned is judged
FLAT = 0.25  # spread at the end of a run that was too short: 20 steps leave 0.04, healthy runs have 0.8 and more
LONGER = 10  # times as long is what a run that was too short should be
OVERFIT_RISE = 0.1  # part of the gain that held-out distortion has risen above its best
OVERFIT_LEAST = 0.15  # nats per number: twenty held-out pictures differ from the rest by 0.1 if no code helps
OVERFIT_GAP = 0.25  # part of the gain by which the loss of held-out pictures is higher than that of training pictures
STILL = 0.05  # part of the gain that held-out distortion may fall between validations and count as standing still
FEW_HELD_OUT = 8  # held-out pictures: with fewer, averages over them are luck
VARIED = "--set shift=0.05 --set rotate=10 --set colour=0.2"
DISK_SPARE = 2.0  # checkpoints of room: one is written while two are kept
MEMORY_SPARE = 0.03  # part of the memory that is left when the system starts to swap or to end programs


@dataclass(frozen=True)
class Advice:
    """What is wrong, and what to do about it.

    Attributes:
        illness: A short name, the same for the same illness.
        sentence: One sentence for people.
        command: What to type: options for `betabloom train`, or a command.
    """

    illness: str
    sentence: str
    command: str


@dataclass(frozen=True)
class RunFacts:
    """What is known about a run besides its records.

    Attributes:
        settings: Name → value of every setting; `widths` as the network has them.
        numbers: Pixels times channels of a picture.
        images: Pictures to learn from; 0 for a stream, where it is unknown.
        held_out: Pictures held out for validation.
        parameters: Weights of the model.
        progress: t ∈ [0, 1].
        rollbacks: How often the run went back because the loss was not finite.
        checkpoint: Bytes of a checkpoint; 0 if none is written.
        disk: Bytes free where checkpoints go; None if unknown.
        memory: Bytes free and in all where the model computes; None if unknown.
    """

    settings: Mapping[str, Any]
    numbers: int
    images: int
    held_out: int
    parameters: int
    progress: float = 0.0
    rollbacks: int = 0
    checkpoint: int = 0
    disk: float | None = None
    memory: tuple[float, float] | None = None


def diagnose(records: Sequence[Mapping[str, Any]], facts: RunFacts) -> list[Advice]:
    """Say what is wrong with a run.

    Arguments:
        records: The lines of `metrics.jsonl` so far.
        facts: What else is known.
    """
    found = [_not_finite(facts), _too_few(facts), _disk(facts), _memory(facts)]
    history = _History(records, facts)
    if facts.progress >= _judged_from(facts.settings) and history.enough:
        found.append(_step_too_large(history) or _step_too_small(history))
        if not found[-1]:  # else what the codes do follows from it
            found.append(_dead(history) or _collapse(history) or _vanishing(history) or _exploding(history))
        if not found[-1] or found[-1].illness == "exploding-rate":  # else nothing can be memorised
            found.append(_overfitting(history))
    if not any(found[4:]):  # else the end of the run is sick for another reason
        found.append(_undertrained(history))
    return [advice for advice in found if advice]


class _History:
    """The records of a run, sorted out."""

    def __init__(self, records: Sequence[Mapping[str, Any]], facts: RunFacts) -> None:
        self.facts = facts
        self.train = [r for r in records if r["split"] == "train"]
        self.held_out = [r for r in records if r["split"] == "validation"]
        self.numbers = facts.numbers
        self.enough = len(self.train) > 2 and self.train[-1]["step"] >= EVIDENCE
        distortions = [r["distortion"] for r in self.train] or [0.0]
        self.first, self.last = distortions[0], distortions[-1]  # the first is that of the untrained network
        self.gain = max(self.first - self.last, 1e-9)

    @property
    def newest(self) -> Mapping[str, Any] | None:
        """The newest validation, if it says something about codes: it is late, β has risen, and codes have a rate."""
        if not (self.held_out and self.train) or self.facts.settings["posterior"] == "point":
            return None
        newest, last = self.held_out[-1], self.train[-1]["step"]
        progress = self.facts.progress * newest["step"] / last  # then, not now
        if newest["step"] < EVIDENCE or progress < _judged_from(self.facts.settings):
            return None
        return newest if newest["beta"] >= 0.5 * self.facts.settings["beta"] else None


def _judged_from(settings: Mapping[str, Any]) -> float:
    """The progress from which the codes are judged: β has risen and the model has adapted."""
    rises = settings["beta_warmup"] if settings["beta_schedule"] in ("linear", "cosine") else 0.0
    return min(1.0, max(JUDGED_FROM, rises + 0.05))


def _not_finite(facts: RunFacts) -> Advice | None:
    if not facts.rollbacks:
        return None
    return Advice(
        "not-finite",
        f"The loss was not a finite number {times(facts.rollbacks)}, so the run went back to "
        f"earlier weights and continued with a learning rate of {_step(facts, 3**facts.rollbacks)}; "
        "start with that.",
        f"--set learning_rate={_step(facts, 3**facts.rollbacks)}",
    )


def _too_few(facts: RunFacts) -> Advice | None:
    numbers = facts.images * facts.numbers
    if not facts.images or facts.parameters <= numbers:
        return None
    halvings = math.ceil(math.log(facts.parameters / numbers, 4))
    widths = [max(4, width // 2**halvings) for width in facts.settings["widths"]]
    started = facts.settings.get("init_from")  # then the network is given
    what = "vary them while training" if started else "use a smaller network"
    return Advice(
        "too-few-pictures",
        f"{facts.images:,} pictures are too few for this model, which can memorise them: it has "
        f"{facts.parameters:,} weights and they have {numbers:,} numbers; add pictures or {what}.",
        VARIED if started else f"--set widths={','.join(map(str, widths))}",
    )


def _disk(facts: RunFacts) -> Advice | None:
    needed = DISK_SPARE * facts.checkpoint
    if facts.disk is None or facts.disk >= needed:
        return None
    return Advice(
        "disk-full",
        f"The disk is nearly full: {_mb(facts.disk)} are free and the next checkpoints need "
        f"{_mb(needed)}; free some space, for example by removing prepared pictures.",
        "betabloom cache clear",
    )


def _memory(facts: RunFacts) -> Advice | None:
    if facts.memory is None or facts.memory[0] >= MEMORY_SPARE * facts.memory[1]:
        return None
    return Advice(
        "memory-full",
        f"Memory is running out: {_mb(facts.memory[0])} of {_mb(facts.memory[1])} are free; close other programs or "
        f"train with smaller batches.",
        f"--set batch={max(1, facts.settings['batch'] // 2)}",
    )


def _step_too_large(history: _History) -> Advice | None:
    beta = history.train[-1]["beta"]
    steady = [r["distortion"] for r in history.train if abs(r["beta"] - beta) <= 0.01 * beta]
    worse = (history.last - history.first) / history.numbers
    lost = (history.last - min(steady)) / history.numbers
    gained = (history.first - min(steady)) / history.numbers
    if not (worse > WORSE or (gained > WORSE and lost > RELAPSE * gained)):
        return None
    how = "worse than the untrained network" if worse > WORSE else "losing what it had learned"
    return Advice(
        "learning-rate-too-high",
        f"The learning rate {history.facts.settings['learning_rate']:g} is too high: the model is {how}, with a "
        f"distortion of {history.last:.0f} after {min([history.first, *steady]):.0f} nats per image.",
        f"--set learning_rate={min(1e-3, float(_step(history.facts, 10))):g}",
    )


def _step_too_small(history: _History) -> Advice | None:
    rate = history.facts.settings["learning_rate"]
    if rate >= SMALL_STEP or (history.first - history.last) / history.numbers > STUCK:
        return None
    return Advice(
        "learning-rate-too-low",
        f"The learning rate {rate:g} is too low: {history.train[-1]['step']:,} steps brought the distortion from "
        f"{history.first:.0f} to {history.last:.0f} nats per image.",
        "--set learning_rate=0.001",
    )


def _overfitting(history: _History) -> Advice | None:
    judged = [r for r in history.held_out if r["step"] >= EVIDENCE]
    values = [r["distortion"] for r in judged]
    if len(values) < 2 or history.gain / history.numbers < OVERFIT_LEAST:
        return None
    best = min(values)
    if (values[-1] - min(best, history.last)) / history.numbers < OVERFIT_LEAST:
        return None
    risen = values[-1] - best > OVERFIT_RISE * history.gain
    still = values[-2] - values[-1] < STILL * history.gain
    if not (risen or (still and values[-1] - history.last > OVERFIT_GAP * history.gain)):
        return None
    settings = history.facts.settings
    augmented = settings["shift"] or settings["rotate"] or settings["colour"]
    stop = judged[values.index(best)]["step"]
    return Advice(
        "overfitting",
        f"The model memorises its pictures: held-out pictures have a distortion of {values[-1]:.0f}, those "
        f"learned from {history.last:.0f} nats per image; "
        + (
            "stop where the distortion of held-out pictures was lowest."
            if augmented
            else "vary the pictures while training, or add more."
        ),
        f"--steps {stop}" if augmented else VARIED,
    )


def _dead(history: _History) -> Advice | None:
    newest = history.newest
    if not newest or "spread" not in newest or newest["spread"] >= ALIKE:
        return None
    if newest["spread"] >= DEAD and _collapse(history):
        return None  # a decoder learns to ignore codes that say nothing
    return Advice(
        "dead-decoder",
        f"The decoder draws nearly the same picture whatever the code: decoded pictures differ {newest['spread']:.2g} "
        f"times as much as real ones; its units have died, so start again with smaller steps and another seed.",
        f"--set learning_rate={_step(history.facts, 3)} --seed {history.facts.settings['seed'] + 1}",
    )


def _collapse(history: _History) -> Advice | None:
    newest, settings = history.newest, history.facts.settings
    if not newest or history.facts.held_out < FEW_HELD_OUT:
        return None
    latents = settings["latents"]
    if newest["active_units"] > COLLAPSED * latents or newest["rate"] >= SILENT * latents:
        return None
    return Advice(
        "posterior-collapse",
        f"The posterior has collapsed: at β = {newest['beta']:g} only {newest['active_units']} of {latents} latents "
        f"tell pictures apart, so that all pictures come out alike; {_lighter(settings)[0]}.",
        _lighter(settings)[1],
    )


def _undertrained(history: _History) -> Advice | None:
    facts, held_out = history.facts, history.held_out
    if facts.progress < 1 or not held_out or held_out[-1].get("spread", 1.0) >= FLAT:
        return None
    step, losses = held_out[-1]["step"], [r["distortion"] for r in held_out]
    if history.train and history.train[-1]["step"] > step:
        return None  # it is not the last validation
    falls = len(losses) > 1 and losses[-2] - losses[-1] > STILL * (losses[0] - losses[-1])
    if step >= EVIDENCE and not falls:
        return None
    passes = f" and {held_out[-1]['images'] / facts.images:.1f} passes over the pictures" if facts.images else ""
    return Advice(
        "undertrained",
        f"The training was too short: after {step:,} steps{passes}, decoded pictures differ only "
        f"{held_out[-1]['spread']:.2g} times as much as real ones, so new pictures will be nearly flat; train longer.",
        _longer(facts.settings, step),
    )


def _longer(settings: Mapping[str, Any], step: int) -> str:
    """What to type for a longer run: more time if time ended it, else more steps."""
    if settings["budget"] and not 0 < settings["steps"] <= step:
        return f"--budget {math.ceil(LONGER * settings['budget'] / 60)}m"
    return f"--steps {max(LONGER * step, 2 * EVIDENCE)}"


def _vanishing(history: _History) -> Advice | None:
    newest = history.newest
    if not newest or newest["rate"] >= TOLD_APART:
        return None
    return Advice(
        "vanishing-rate",
        f"The rate is vanishing: at β = {newest['beta']:g} codes have {newest['rate']:.2g} nats per image, enough to "
        f"tell {math.exp(newest['rate']):.1f} pictures apart; {_lighter(history.facts.settings)[0]}.",
        _lighter(history.facts.settings)[1],
    )


def _lighter(settings: Mapping[str, Any]) -> tuple[str, str]:
    """How to let codes carry more information, in words and as options."""
    if settings["beta"] > 1:
        return "give the rate a smaller weight", "--beta 1"
    if settings["likelihood"] in ("gaussian", "laplace"):
        return "let the likelihood find its own scale", "--set likelihood=gaussian-optimal"
    return "allow every latent some nats", "--set regulariser=free-bits"


def _exploding(history: _History) -> Advice | None:
    newest, settings = history.newest, history.facts.settings
    if not newest or newest["rate"] < ENDLESS * settings["latents"]:
        return None
    heavier = 1.0 if settings["beta"] < 1 else 10 * settings["beta"]
    return Advice(
        "exploding-rate",
        f"The rate is exploding: at β = {newest['beta']:g} codes have {newest['rate']:,.0f} nats per image, "
        f"{newest['rate'] / settings['latents']:.0f} in every latent, far from the prior that new pictures are drawn "
        f"from; give the rate a larger weight.",
        f"--beta {heavier:g}",
    )


def _step(facts: RunFacts, part: float) -> str:
    """The learning rate divided by `part`, as a person would type it."""
    rate = facts.settings["learning_rate"] / part
    return f"{float(f'{rate:.1g}'):g}"


def _mb(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"
