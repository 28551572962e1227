"""Measure a model on pictures: fidelity, detail, novelty, likelihood and codes, with intervals and references.

A number alone says little. So the same measures are taken of *held-out* real pictures, the best that can be reached,
and of *reconstructions* of these, the best that this decoder can reach.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from betabloom import metrics
from betabloom.data.store.split import evenly_spaced
from betabloom.errors import UsageError
from betabloom.metrics import Measure
from betabloom.metrics.extractors import kept_features
from betabloom.metrics.measure import of_mean
from betabloom.metrics.spectrum import SMALLEST
from betabloom.reports.evaluation import Evaluation
from betabloom.reports.evaluation_parts import STORED, Subject, Workers, pictures_and_features
from betabloom.system.console import printable
from betabloom.vae import inference
from betabloom.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from betabloom.data import Store
    from betabloom.metrics import Extractor
    from betabloom.metrics.novelty import Nearest
    from betabloom.model.model import Model
    from betabloom.vae.vae import VAE

    Watch = Callable[[str, str], AbstractContextManager[Callable[..., None] | None]]

__all__ = ["evaluate"]

KNOWN = 50_000  # training pictures that generated ones are compared with
LIKELIHOOD_PICTURES = 500
PAIRS = 32
LINES = 32  # from code to code and picture to picture, along which continuity is measured
FEWEST = 6  # pictures of which fidelity can be measured: more than neighbours


@dataclass(frozen=True)
class _Pictures:
    """What is compared: rows of the store, and what the model made."""

    store: Store
    real: np.ndarray
    known: np.ndarray
    held_out: np.ndarray
    generated: np.ndarray
    reconstructed: np.ndarray


@contextlib.contextmanager
def _unwatched(label: str, unit: str) -> Iterator[None]:
    yield None


def evaluate(
    model: Model,
    store: Store,
    n: int = 2000,
    real: int = 5000,
    seed: int = 0,
    extractor: Extractor | None = None,
    sampler: str = "auto",
    samples: int = 16,
    cache: Path | None = None,
    watch: Watch = _unwatched,
    workers: Workers | None = None,
) -> Evaluation:
    """Measure a model.

    Arguments:
        model: The model.
        store: Pictures prepared as the model's were; best those that it was trained on.
        n: Generated pictures.
        real: Training pictures that they are compared with, at most.
        seed: Of the generated pictures and of everything random in the measures.
        extractor: Of the features that fidelity is measured on; "pixels" if None.
        sampler: Where generated codes come from, as in `Model.generate`.
        samples: Importance weights a picture, for the bound on the likelihood.
        cache: Folder that features of real pictures are kept in; None for nowhere.
        watch: Called as watch(label, unit); gives a context with a function that is called as report(done, total).
        workers: Who makes pictures and features, with the same model, sampler and extractor; this process if None. The
            result is the same (that of one thread, on the same kind of processor).

    Raises:
        UsageError: There are too few pictures, or they do not fit the model; or workers cannot read them.
    """
    extractor = extractor or metrics.open_extractor("pixels")
    train, held_out = store.split(model.config.data.split, model.config.data.holdout)
    if min(n, len(train)) < FEWEST:
        raise UsageError(
            f"At least {FEWEST} training and {FEWEST} generated pictures are needed, not {len(train)}, {n}."
        )
    held_out = evenly_spaced(held_out, n)
    rows = {"generated": np.arange(n), "real": evenly_spaced(train, real), "held-out": held_out}
    subject = Subject(model, store, extractor, seed, sampler)
    (generated, reconstructed), found = _looked_at(subject, rows, cache, workers, watch)
    pictures = _Pictures(store, rows["real"], evenly_spaced(train, KNOWN), held_out, generated, reconstructed)
    measures = {"fidelity": _fidelity(found, seed), "detail": _detail(pictures), "novelty": {}}
    near = _novelty(pictures, found, measures["novelty"], watch)
    pairs, pair_facts = _pairs(pictures, *near)
    if len(held_out):
        measures["likelihood"] = _likelihood(
            model, store.pictures[evenly_spaced(held_out, LIKELIHOOD_PICTURES)], samples, seed
        )
    measures["latent"] = _latent(model, store.pictures[pictures.real], seed)
    notes = _notes(model, store, measures)
    facts = _facts(model, store, pictures, seed, extractor, sampler, samples)
    return Evaluation(facts, measures, pairs, pair_facts, notes)


def _looked_at(
    subject: Subject, rows: dict[str, np.ndarray], cache: Path | None, workers: Workers | None, watch: Watch
) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Generated and reconstructed pictures, and the features of these, and of real and held-out ones."""

    def look(what: str, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with watch(f"looking at {what} pictures", "pictures") as report:
            return pictures_and_features(subject, what, numbers, workers, report)

    def features_of(what: str) -> np.ndarray:
        return look(what, rows[what])[1]

    made = [look("generated", rows["generated"]), look("reconstructed", rows["held-out"])]
    found = {"generated": made[0][1], "reconstructions": made[1][1]}
    for what in STORED:
        facts, make = f"{subject.extractor.name} {subject.store.fingerprint}", functools.partial(features_of, what)
        found[what] = make() if cache is None else kept_features(make, rows[what], facts, cache)
    return [pictures for pictures, _ in made], found


def _fidelity(found: dict[str, np.ndarray], seed: int) -> dict[str, list[Measure]]:
    """All distances and overlaps with the real pictures."""
    measures = {}
    for subject in ("generated", "held-out", "reconstructions"):
        if len(found[subject]) >= FEWEST:
            pair = found["real"], found[subject]
            distances = [metrics.frechet_distance(*pair), metrics.kernel_distance(*pair)]
            overlaps = [*metrics.precision_recall(*pair, seed=seed), *metrics.density_coverage(*pair, seed=seed)]
            sizes = {"real": len(pair[0]), subject: len(pair[1])}
            measures[subject] = [dataclasses.replace(each, n=sizes) for each in distances + overlaps]
    return measures


def _detail(pictures: _Pictures) -> dict[str, list[Measure]]:
    """Softness, grids and speckles beside the real pictures; speckles alone where pictures are too small."""
    stored = pictures.store.pictures
    subjects = {
        "generated": pictures.generated,
        "held-out": np.asarray(stored[pictures.held_out]),
        "reconstructions": pictures.reconstructed,
    }
    real = np.asarray(stored[pictures.real])
    measures = {subject: [metrics.speckled(found)] for subject, found in subjects.items() if len(found) >= FEWEST}
    if min(real.shape[1:3]) < SMALLEST:
        return measures
    spectra = metrics.power_spectra(real)
    for subject, found in measures.items():
        own = metrics.power_spectra(subjects[subject])
        compared = [*metrics.bands(spectra, own), *metrics.combs(spectra, own), metrics.checkerboard(spectra, own)]
        sizes = {"real": len(real), subject: len(subjects[subject])}
        found[:0] = [dataclasses.replace(each, n=sizes) for each in compared]
    return measures


def _novelty(
    pictures: _Pictures, found: dict[str, np.ndarray], measures: dict[str, list[Measure]], watch: Watch
) -> tuple[Nearest, np.ndarray]:
    """Fill in the shares of near copies; return the nearest training pictures, in pixels, and which are too near."""
    known = metrics.pixel_rows(pictures.store.pictures[pictures.known])
    with watch("comparing with training pictures", "pictures") as report:
        by_pixels = _in_pixels(pictures.generated, known, report)
        limits = metrics.Limits.learned(_in_pixels(pictures.store.pictures[pictures.held_out], known, None))
    measures["generated, by pixels"] = [metrics.near_copies(by_pixels, limits)]
    by_features, reference = (metrics.nearest(found[what], found["real"]) for what in ("generated", "held-out"))
    learned = metrics.Limits.learned(reference)
    measures["generated, by features"] = [metrics.near_copies(by_features, learned)]
    return by_pixels, limits.is_near_copy(by_pixels)


def _in_pixels(pictures: np.ndarray, known: np.ndarray, report: Callable[..., None] | None) -> Nearest:
    pictures = np.asarray(pictures)
    return metrics.nearest(
        metrics.pixel_rows(pictures), known, metrics.pixel_rows(pictures[:, :, ::-1]), progress=report
    )


def _pairs(
    pictures: _Pictures, near: Nearest, copies: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], list[dict[str, Any]]]:
    """The generated pictures that are nearest to a training picture for their surroundings, and these."""
    order = np.lexsort((near.ratio, ~copies))[:PAIRS]
    rows = pictures.known[near.index[order]]
    training = np.stack([pictures.store.pictures[row] for row in rows])
    training[near.mirrored[order]] = training[near.mirrored[order]][:, :, ::-1]
    facts = [
        {
            "number": int(i),
            "training_picture": printable(pictures.store.names[int(row)]),
            "distance": round(float(near.distance[i]), 3),
            "ratio": round(float(near.ratio[i]), 4),
            "mirrored": bool(near.mirrored[i]),
            "near_copy": bool(copies[i]),
        }
        for i, row in zip(order, rows, strict=True)
    ]
    return (pictures.generated[order], training), facts


def _likelihood(model: Model, pictures: np.ndarray, samples: int, seed: int) -> dict[str, list[Measure]]:
    """Distortion and rate, and what bounds the likelihood, of held-out pictures."""
    distortion, rate, log_weights = densities(model.vae, pictures, samples, seed)
    measures = [of_mean("distortion", distortion.mean(0)), of_mean("rate", rate.mean(0))]
    if log_weights is None:  # a plain auto-encoder has no likelihood
        return {"held-out": measures[:1]}
    steps = [k for k in (1, 4, 16, 64, 256) if k < samples]
    measures += metrics.bounds(log_weights, (*steps, samples))
    if _is_probability(model.vae, pictures):
        bits = -metrics.importance_bound(log_weights) / (math.prod(model.config.shape) * math.log(2))
        measures.append(of_mean("bits_per_dimension", bits))
    return {"held-out": measures}


def _is_probability(vae: VAE, pictures: np.ndarray) -> bool:
    """Whether p(x|z) is the probability of a picture's values: the Bernoulli likelihood's is so for 0 and 1 only."""
    floor = vae.likelihood.floor(inference.to_tensor(pictures))
    return vae.likelihood.discrete and (floor is None or not bool(floor.any()))


@torch.inference_mode()
def densities(
    vae: VAE, pictures: np.ndarray, samples: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Distortion, rate and log p(x|z) + log p(z) − log q(z|x) in nats, each (K, N), of K samples z ~ q(z|x) a picture.

    The noise of picture i is drawn from (seed, i) alone. The last is None for a point posterior, which has no density.
    """
    device = next(vae.parameters()).device
    parts, size = [], inference.at_once(vae)
    for first in range(0, len(pictures), size):
        x = inference.to_tensor(pictures[first : first + size], device)
        rngs = (np.random.default_rng([seed, first + row]) for row in range(len(x)))
        noise = torch.from_numpy(np.stack([rng.standard_normal((samples, vae.latents), np.float32) for rng in rngs], 1))
        posterior = vae.encode(x)
        rows = []
        for one in noise.to(device):
            z = posterior.sample(one)
            distortion = vae.likelihood.distortion(vae.decoder(z), x)
            if not posterior.has_density:
                rows.append(torch.stack([distortion, torch.zeros_like(distortion), -distortion]))
                continue
            weight = -distortion + vae.prior.log_prob(z) - posterior.log_prob(z)
            rows.append(torch.stack([distortion, vae.prior.kl(posterior, z), weight]))
        parts.append(torch.stack(rows, 1).double().cpu())
    distortion, rate, weights = torch.cat(parts, 2).numpy()
    return distortion, rate, weights if vae.posterior.has_density else None


def _latent(model: Model, pictures: np.ndarray, seed: int) -> dict[str, list[Measure]]:
    """Active units, information, correlations and the gap to the prior of training pictures' codes; continuity."""
    mean, log_var = model.encode(np.asarray(pictures))
    units = metrics.active_units(mean)
    measures = [Measure("active_units", units, units, units, {"pictures": len(mean)}, "a count, without interval")]
    if model.vae.posterior.has_density:
        noise = np.random.default_rng([seed, 0, len(mean)]).standard_normal(mean.shape)
        codes = mean + np.exp(0.5 * log_var) * noise
        measures.append(metrics.aggregate_gap(codes, _log_prior(model), seed))
        measures.append(metrics.mutual_information(mean, log_var, seed))
        if len(codes) > 2 * codes.shape[1]:
            measures.append(metrics.total_correlation(codes, seed))
    return {"training": measures + _continuity(model, np.asarray(pictures), mean, seed)}


def _continuity(model: Model, pictures: np.ndarray, codes: np.ndarray, seed: int) -> list[Measure]:
    """How evenly pictures follow codes and codes pictures; nothing of a model in which nothing changes."""
    try:
        found = metrics.decoder_continuity(model.decode, codes, LINES, seed=seed)
        return [*found, metrics.encoder_continuity(lambda x: model.encode(x)[0], pictures, LINES, seed=seed)]
    except UsageError:
        return []


def _log_prior(model: Model) -> Callable[[np.ndarray], np.ndarray]:
    device = next(model.vae.parameters()).device

    @torch.inference_mode()
    def log_prob(z: np.ndarray) -> np.ndarray:
        values: np.ndarray = model.vae.prior.log_prob(torch.from_numpy(z).float().to(device)).double().cpu().numpy()
        return values

    return log_prob


def _facts(
    model: Model, store: Store, pictures: _Pictures, seed: int, extractor: Extractor, sampler: str, samples: int
) -> dict[str, Any]:
    return {
        "model_path": "a model",
        "model": model.fingerprint,
        "source": store.source_name,
        "data_fingerprint": store.fingerprint,
        "pictures": {
            "generated": len(pictures.generated),
            "real": len(pictures.real),
            "held_out": len(pictures.held_out),
            "compared_for_copies": len(pictures.known),
        },
        "sampler": model.sampler if sampler == "auto" else sampler,
        "seed": seed,
        "features": extractor.name,
        "samples_per_picture": samples,
        "betabloom": __version__,
    }


def _notes(model: Model, store: Store, measures: dict[str, dict[str, list[Measure]]]) -> list[str]:
    """What to know before believing the numbers."""
    notes = []
    if model.training.get("data_fingerprint") != store.fingerprint:
        notes.append(
            "These are not exactly the pictures that the model was trained on: copies of its "
            "training pictures cannot be detected here."
        )
    warned: dict[tuple[str, str], list[str]] = {}
    for subjects in measures.values():
        for subject, found in subjects.items():
            for each in found:
                if each.warning:
                    warned.setdefault((subject, each.warning), []).append(each.name.replace("_", " "))
    return notes + [f"{', '.join(names)} of {subject}: {warning}." for (subject, warning), names in warned.items()]
