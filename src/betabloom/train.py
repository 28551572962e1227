"""The training loop: set up, fit, validate, save.

Every random number of a run is a function of the seed and of where the run stands (the epoch for the order of the
pictures, the step for noise and mirroring), so that a run that is resumed at any step goes on as if it had not stopped.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml

import betabloom
from betabloom import plot, sample
from betabloom.aggregate import GaussianMixture, fit_aggregate, fit_mixture
from betabloom.checkpoint import Model, latest_checkpoint, make_vae, save_checkpoint, save_model
from betabloom.config import Config
from betabloom.errors import BetabloomError, FormatError, UsageError
from betabloom.hardware import choose_device, choose_precision, keep_memory
from betabloom.metrics import active_units
from betabloom.objective import Capacity, Elbo, FreeBits, Objective, TotalCorrelation, normalised_beta
from betabloom.plan import Clock, Plan
from betabloom.schedule import Linear, make_schedule
from betabloom.vae import bits_per_dimension

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import Tensor

    from betabloom.data import Store
    from betabloom.objective import Regulariser
    from betabloom.vae import VAE

__all__ = ["Interrupted", "fit"]

log = logging.getLogger(__name__)

LOG_EVERY = 50  # steps between lines of metrics.jsonl
CHECKPOINT_EVERY = 120.0  # seconds
VALIDATION_PICTURES = 1024
SAMPLER_PICTURES = 8192  # of which the codes are used to fit the sampler
IN_MEMORY = 2 << 30  # bytes of prepared pictures that are kept in memory; larger stores are read from disk


class Interrupted(BetabloomError):  # noqa: N818  (nothing went wrong)
    """Training was asked to stop and has saved its state."""


@dataclass
class Run:
    """All that changes while training, and what it changes with."""

    config: Config
    store: Store
    train_rows: np.ndarray
    validation_rows: np.ndarray
    device: torch.device
    dtype: torch.dtype
    layout: torch.memory_format
    vae: VAE
    averaged: VAE
    optimiser: torch.optim.AdamW
    objective: Objective
    plan: Plan
    pictures: Tensor | np.ndarray
    out: Path | None
    step: int = 0
    seconds: float = 0.0
    validated: dict[str, float] = field(default_factory=dict)
    held_out_codes: Tensor = field(default_factory=lambda: torch.empty(0))
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def batch(self) -> int:
        """Pictures in a step: the setting, or all there are if they are fewer."""
        return min(self.config.train.batch, len(self.train_rows))

    @property
    def ended(self) -> bool:
        """Whether the planned steps are done."""
        return bool(self.plan.total) and self.step >= self.plan.total


def fit(
    store: Store,
    config: Config | None = None,
    out: Path | None = None,
    resume: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> Model:
    """Train a VAE on prepared pictures.

    Arguments:
        store: The pictures.
        config: The settings; the default preset's if None. The store's size, channels and pipeline take precedence.
        out: Run directory for metrics, samples, checkpoints and the model; None keeps everything in memory.
        resume: Go on from the newest intact checkpoint in `out`.
        progress: Called as progress(step, steps, text); steps is 0 while their number is not known.

    Returns:
        The trained model, with averaged weights, in evaluation mode.

    Raises:
        UsageError: The settings do not fit the pictures, or there is nothing to resume.
        Interrupted: The process was asked to stop; the run is saved and can be resumed.
        BetabloomError: The loss is no longer finite.
    """
    started = time.monotonic()
    run = _setup(store, config or Config(), out)
    if resume:
        _restore(run)
    started -= run.seconds
    with _run_log(out), _stop_requests(out is not None) as stop:
        _describe(run)
        _loop(run, started, stop, progress)
        return _finish(run)


def _setup(store: Store, config: Config, out: Path | None) -> Run:
    _, height, width, channels = store.pictures.shape
    config = config.replace({"height": height, "width": width, "channels": channels, "pipeline": store.pipeline.name})
    train_rows, validation_rows = store.split(config.data.split, config.data.holdout)
    keep_memory()
    device = choose_device(config.train.device)
    dtype = choose_precision(config.train.precision, device)
    torch.manual_seed(config.train.seed)
    vae = make_vae(config)
    # channels_last is up to twice as fast, but group normalisation loses it again
    normed = any(isinstance(module, torch.nn.GroupNorm) for module in vae.modules())
    layout = torch.contiguous_format if normed else torch.channels_last
    vae.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    averaged = copy.deepcopy(vae).requires_grad_(False).eval() if config.train.ema else vae
    optimiser = torch.optim.AdamW(
        vae.parameters(),
        lr=config.train.learning_rate,
        weight_decay=config.train.weight_decay,
        fused=device.type in ("cpu", "cuda"),
    )
    return Run(
        config=config,
        store=store,
        train_rows=train_rows,
        validation_rows=validation_rows[:VALIDATION_PICTURES],
        device=device,
        dtype=dtype,
        layout=layout,
        vae=vae,
        averaged=averaged,
        optimiser=optimiser,
        objective=Objective(_beta(config), _regulariser(config, len(train_rows))),
        plan=Plan(_planned_steps(config, len(train_rows))),
        pictures=_resident(store.pictures, device),
        out=out,
    )


def _beta(config: Config) -> Callable[[float], float]:
    o = config.objective
    return make_schedule(o.beta_schedule, o.beta, o.beta_warmup)


def _regulariser(config: Config, images: int) -> Regulariser:
    o = config.objective
    kinds: dict[str, Regulariser] = {
        "elbo": Elbo(),
        "capacity": Capacity(Linear(0.0, o.capacity, until=0.8)),
        "free-bits": FreeBits(o.free_bits),
        "total-correlation": TotalCorrelation(images),
    }
    if o.regulariser not in kinds:
        raise UsageError(f"Unknown regulariser {o.regulariser!r}. Choose one of: {', '.join(kinds)}.")
    return kinds[o.regulariser]


def _planned_steps(config: Config, images: int) -> int:
    """Steps of the whole training; 0 if a time budget decides."""
    t = config.train
    if t.budget:
        return 0
    return t.steps or max(1, math.ceil(t.epochs * images / min(t.batch, images)))


def _resident(pictures: np.ndarray, device: torch.device) -> Tensor | np.ndarray:
    """Put the pictures where batches are made from: on the device, in memory, or left on disk if they are too many."""
    if pictures.nbytes > IN_MEMORY:
        return pictures
    whole = torch.from_numpy(np.array(pictures))
    if device.type == "cuda" and pictures.nbytes < torch.cuda.mem_get_info(device)[0] // 4:
        return whole.to(device)
    return whole


def _loop(run: Run, started: float, stop: threading.Event, progress: Callable[[int, int, str], None] | None) -> None:
    """Train until the plan is done, logging, validating and saving on the way."""
    t, config = run.plan.progress(run.step), run.config.train
    clock = Clock(config.budget, run.step)
    saved = time.monotonic()
    sums = _Sums(run.device)
    while not run.ended:
        _train_step(run, sums)
        run.step += 1
        run.seconds = time.monotonic() - started
        if config.budget:
            clock.plan(run.plan, run.step, run.seconds)
        before, t = t, run.plan.progress(run.step)
        if run.step % LOG_EVERY == 0 or run.ended:
            _log_train(run, sums)
            sums = _Sums(run.device)
        if int(t * config.validations) > int(before * config.validations) or run.ended:
            clock.pause(lambda: _validate(run))
        if run.out and (stop.is_set() or run.ended or time.monotonic() - saved > CHECKPOINT_EVERY):
            clock.pause(lambda: _save(run))
            saved = time.monotonic()
        if progress:
            progress(run.step, run.plan.total, _summary(run))
        if stop.is_set() and not run.ended:
            raise Interrupted(
                f"Stopped at step {run.step} and saved. To go on, type: betabloom train --resume {run.out}"
            )


def _train_step(run: Run, sums: _Sums) -> None:
    """One step of gradient descent on the objective, and one of the running average of the weights."""
    config, t = run.config.train, run.plan.progress(run.step)
    run.optimiser.param_groups[0]["lr"] = _learning_rate(run)
    run.vae.train()
    x, noise = _batch(run)
    with torch.autocast(run.device.type, run.dtype, enabled=run.dtype != torch.float32):
        terms = run.vae(x, noise)
    loss = run.objective(terms, t)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(run.vae.parameters(), config.clip or math.inf)
    run.optimiser.step()
    run.optimiser.zero_grad(set_to_none=True)
    if config.ema:
        _average(run.averaged, run.vae, min(config.ema, (1 + run.step) / (10 + run.step)))
    floor = () if terms.floor is None else (terms.floor.mean(),)
    sums.add(loss, terms.distortion.mean(), terms.rate.mean(), norm, *floor)


def _batch(run: Run) -> tuple[Tensor, Tensor]:
    """Pictures x (B, C, H, W) in [0, 1] and standard normal noise (B, l) of the step that comes."""
    seed, size, images = run.config.train.seed, run.batch, len(run.train_rows)
    places = np.arange(run.step * size, (run.step + 1) * size)
    epochs = np.unique(places // images)
    order = np.concatenate([_order(seed, int(epoch), images) for epoch in epochs])
    rows = run.train_rows[order[places - epochs[0] * images]]
    rng = np.random.default_rng([seed, 1, run.step])
    pictures = run.pictures[rows] if isinstance(run.pictures, torch.Tensor) else torch.from_numpy(run.pictures[rows])
    x = pictures.to(run.device).permute(0, 3, 1, 2).float().div_(255)
    if run.config.data.flip:
        mirrored = torch.from_numpy(rng.random(size) < 0.5).to(run.device)[:, None, None, None]
        x = torch.where(mirrored, x.flip(3), x)
    noise = torch.from_numpy(rng.standard_normal((size, run.vae.latents), np.float32))
    return x.contiguous(memory_format=run.layout), noise.to(run.device)


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, images: int) -> np.ndarray:
    """The order of the pictures in an epoch."""
    return np.random.default_rng([seed, 0, epoch]).permutation(images)


def _learning_rate(run: Run) -> float:
    """Linear warm-up, then constant, then half a cosine to 0."""
    config, t = run.config.train, run.plan.progress(run.step)
    warmup = min(config.warmup_steps, run.plan.total // 10) if run.plan.total else config.warmup_steps
    rise = min(1.0, (run.step + 1) / warmup) if warmup else 1.0
    if config.decay_from >= 1 or t <= config.decay_from:
        return config.learning_rate * rise
    fall = (t - config.decay_from) / (1 - config.decay_from)
    return config.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * fall))


@torch.no_grad()
def _average(averaged: VAE, vae: VAE, decay: float) -> None:
    """averaged ← decay · averaged + (1 − decay) · vae, for weights and statistics."""
    mine = [*averaged.parameters(), *averaged.buffers()]
    theirs = [*vae.parameters(), *vae.buffers()]
    torch._foreach_lerp_(mine, theirs, 1 - decay)


class _Sums:
    """Running sums of the terms since the last line of the log, kept on the device so that steps need not wait."""

    names = ("loss", "distortion", "rate", "gradient_norm", "distortion_floor")

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(len(self.names), device=device)
        self.count = 0

    def add(self, *values: Tensor) -> None:
        self.sums[: len(values)] += torch.stack(values).detach()
        self.count += 1

    def means(self) -> dict[str, float]:
        means = (self.sums / max(self.count, 1)).tolist()
        return {
            name: value for name, value in zip(self.names, means, strict=True) if name != "distortion_floor" or value
        }


def _log_train(run: Run, sums: _Sums) -> None:
    means = sums.means()
    if not all(math.isfinite(value) for value in means.values()):
        hint = f"a checkpoint from before is in {run.out / 'checkpoints'}; " if run.out else ""
        raise BetabloomError(
            f"The loss is no longer a finite number at step {run.step}: {hint}train again with a smaller step: "
            f"--set learning_rate={run.config.train.learning_rate / 3:.1g}"
        )
    _record(run, "train", means)


def _record(run: Run, split: str, values: dict[str, Any]) -> None:
    """Append one line to the metrics."""
    t = run.plan.progress(run.step)
    beta = run.objective.beta(t)
    record = {
        "step": run.step,
        "split": split,
        **values,
        "beta": beta,
        "beta_normalised": normalised_beta(beta, run.vae.latents, run.config.shape),
        "learning_rate": _learning_rate(run),
        "images": run.step * run.batch,
        "seconds": round(run.seconds, 3),
    }
    run.records.append(record)
    if run.out:
        with (run.out / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


@torch.inference_mode()
def _validate(run: Run) -> None:
    """Measure the averaged weights on held-out pictures, and draw with them."""
    vae = run.averaged.eval()
    totals = np.zeros(3)
    per_dimension, means, codes = torch.zeros(vae.latents), [], []
    rng = np.random.default_rng([run.config.train.seed, 2])
    rows = run.validation_rows
    for first in range(0, len(rows), sample.BATCH):
        x = sample.to_tensor(run.store.pictures[rows[first : first + sample.BATCH]], run.device)
        noise = torch.from_numpy(rng.standard_normal((len(x), vae.latents), np.float32)).to(run.device)
        with torch.autocast(run.device.type, run.dtype, enabled=run.dtype != torch.float32):
            terms = vae(x.contiguous(memory_format=run.layout), noise)
        floor = terms.floor.sum().item() if terms.floor is not None else 0.0
        totals += terms.distortion.sum().item(), terms.rate.sum().item(), floor
        means.append(terms.posterior.mean.float().cpu())
        codes.append(terms.z.float().cpu())
        if terms.rate_per_dimension is not None:
            per_dimension += terms.rate_per_dimension.sum(0).cpu()
    distortion, rate, floor = (totals / len(rows)).tolist()
    run.validated = {
        "loss": distortion + run.objective.beta(run.plan.progress(run.step)) * rate,
        "distortion": distortion,
        "rate": rate,
        **({"distortion_floor": floor} if floor else {}),
        **(
            {"bits_per_dimension": bits_per_dimension(distortion + rate, run.config.shape)}
            if vae.likelihood.discrete
            else {}
        ),
        "active_units": active_units(torch.cat(means).numpy()),
    }
    dimensions = [round(value, 5) for value in (per_dimension / len(rows)).tolist()]
    _record(run, "validation", {**run.validated, "rate_per_dimension": dimensions})
    log.info("step %d: %s", run.step, _summary(run))
    run.held_out_codes = torch.cat(codes)
    _draw(run, vae)


def _draw(run: Run, vae: VAE) -> None:
    """Write sheets of samples and of reconstructions."""
    if not run.out:
        return
    folder = run.out / "samples"
    folder.mkdir(exist_ok=True)
    record = {"run": run.out.name, "step": run.step, "seed": 0}
    codes = run.held_out_codes
    density = fit_mixture(codes, 1).to(run.device) if len(codes) > 1 else None
    generated = plot.grid(sample.generate(vae, 64, density=density), columns=8)
    plot.save_png(generated, folder / f"step-{run.step:09d}.png", {"verb": "train-sample", **record})
    originals = np.asarray(run.store.pictures[run.validation_rows[:32]])
    sheet = plot.pairs(originals, sample.reconstruct(vae, originals))
    plot.save_png(sheet, run.out / "reconstructions.png", {"verb": "train-reconstruction", **record})


def _summary(run: Run) -> str:
    if not run.validated:
        return f"β {run.objective.beta(run.plan.progress(run.step)):.3g}"
    v = run.validated
    return f"distortion {v['distortion']:.0f}, rate {v['rate']:.1f}, active {v['active_units']:.0f}/{run.vae.latents}"


def _save(run: Run) -> None:
    """Write a checkpoint: all that a resumed run needs to be the uninterrupted one."""
    assert run.out is not None  # noqa: S101  (for the type checker; callers checked)
    tensors = {f"vae.{name}": value for name, value in run.vae.state_dict().items()}
    if run.config.train.ema:
        tensors |= {f"averaged.{name}": value for name, value in run.averaged.state_dict().items()}
    for index, moments in run.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": value for name, value in moments.items()}
    state = {
        "plan": vars(run.plan),
        "seconds": run.seconds,
        "validated": run.validated,
        "config": run.config.to_dict(),
        "store": run.store.fingerprint,
        "records": len(run.records),
    }
    save_checkpoint(run.out / "checkpoints", run.step, tensors, state)


def _restore(run: Run) -> None:
    """Take up the newest intact checkpoint."""
    found = latest_checkpoint(run.out / "checkpoints") if run.out else None
    if found is None:
        raise UsageError(f"There is no checkpoint in {run.out} to go on from. Train without --resume.")
    tensors, state, complaints = found
    for complaint in complaints:
        log.warning(complaint)
    if state["store"] != run.store.fingerprint:
        raise UsageError(f"The pictures are not those that the run in {run.out} was trained on: start a new run.")
    try:
        run.vae.load_state_dict(_part(tensors, "vae."))
        if run.config.train.ema:
            run.averaged.load_state_dict(_part(tensors, "averaged."))
        optimiser = run.optimiser.state_dict()
        for name, value in _part(tensors, "optimiser.").items():
            index, _, moment = name.partition(".")
            optimiser["state"].setdefault(int(index), {})[moment] = value
        run.optimiser.load_state_dict(optimiser)
        run.plan, run.step, run.seconds = Plan(**state["plan"]), int(state["step"]), float(state["seconds"])
        run.validated = dict(state["validated"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise FormatError(f"The checkpoint in {run.out} does not fit its settings: {error}") from error
    _rewind_metrics(run, int(state["records"]))


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _rewind_metrics(run: Run, count: int) -> None:
    """Drop the lines of metrics.jsonl that were written after the checkpoint."""
    assert run.out is not None  # noqa: S101
    path = run.out / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()[:count]
    run.records = [json.loads(line) for line in lines]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def _finish(run: Run) -> Model:
    """Make the model of the averaged weights, and write its directory."""
    facts = {
        "source": run.store.source_name,
        "images": len(run.train_rows),
        "data_fingerprint": run.store.fingerprint,
        "steps": run.step,
        "seconds": round(run.seconds, 1),
        "device": str(run.device),
        "precision": "bf16" if run.dtype == torch.bfloat16 else "fp32",
        "threads": torch.get_num_threads(),
        "versions": {"betabloom": betabloom.__version__, "torch": torch.__version__, "numpy": np.__version__},
        "beta_normalised": normalised_beta(run.config.objective.beta, run.vae.latents, run.config.shape),
        "validation": {name: round(value, 4) for name, value in run.validated.items()},
        "validation_images": len(run.validation_rows),
    }
    vae = run.averaged.requires_grad_(False).eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    model = Model(vae, run.config, run.store.pipeline, facts, _fit_sampler(run, vae))
    if not run.out:
        return model
    model = save_model(model, run.out / "model")
    plot.save_png(plot.curves(run.records), run.out / "curves.png", {"verb": "curves", "run": run.out.name})
    samples = plot.grid(model.generate(64), columns=8)
    record = {"verb": "generate", "model": model.fingerprint, "n": 64, "seed": 0}
    plot.save_png(samples, run.out / "model" / "samples.png", record)
    return model


def _fit_sampler(run: Run, vae: VAE) -> GaussianMixture | None:
    """Fit a density to the codes of training pictures, judged by those of held-out ones."""
    if len(run.train_rows) < 2 or len(run.held_out_codes) < 2:
        return None
    rng = np.random.default_rng([run.config.train.seed, 3])
    rows = np.sort(rng.permutation(run.train_rows)[:SAMPLER_PICTURES])
    mean, log_var = sample.encode(vae, run.store.pictures[rows])
    noise = rng.standard_normal(mean.shape, np.float32)
    z = torch.from_numpy(mean + np.exp(0.5 * log_var) * noise)
    return fit_aggregate(z, run.held_out_codes, run.config.train.seed).to(run.device)


def _describe(run: Run) -> None:
    """Start the run directory, and say what is going to happen."""
    if run.out and not run.step:
        text = yaml.safe_dump(run.config.to_dict(), sort_keys=False, allow_unicode=True)
        (run.out / "config.yaml").write_text(text, encoding="utf-8")
        (run.out / "metrics.jsonl").write_text("", encoding="utf-8")
    precision = "bf16" if run.dtype == torch.bfloat16 else "fp32"
    log.info(
        "%s: %d pictures to learn from, %d held out; %s network, %d latents; %s, %s",
        run.store.source_name,
        len(run.train_rows),
        len(run.validation_rows),
        run.config.model.family,
        run.vae.latents,
        run.device,
        precision,
    )


@contextmanager
def _run_log(out: Path | None) -> Iterator[None]:
    """Copy what is logged to log.txt."""
    if out is None:
        yield
        return
    handler = logging.FileHandler(out / "log.txt", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("betabloom")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


@contextmanager
def _stop_requests(enabled: bool) -> Iterator[threading.Event]:
    """Turn the first Ctrl-C or termination signal into a request; the second Ctrl-C leaves at once."""
    stop = threading.Event()
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(number: int, frame: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), request) for name in names}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
