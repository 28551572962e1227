"""An atlas of β: models that differ in β and seed alone, measured side by side; what does β do?"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom import metrics
from betabloom.data.sources.drawn import FACTORS, Drawn
from betabloom.data.store.split import evenly_spaced
from betabloom.errors import UsageError
from betabloom.metrics.measure import Measure, interval
from betabloom.model.model import load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from betabloom.data import Store
    from betabloom.model.model import Model
    from betabloom.reports.atlas_sweep import Member

__all__ = ["Atlas", "compared", "measure_atlas"]

PICTURES = 1000  # with known factors, that no member was trained on
FACTOR_SEED = 2_000_003  # of these, far from those that people take for training
HELD_OUT = 500
SHOWN = ("mig", "dci_disentanglement", "dci_es_explicitness", "infom", "infoc", "infoe")
OTHERS = ("mig_sup", "dci_completeness", "dci_informativeness", "sap", "factor_vae", "beta_vae", "modularity", "irs")


@dataclass(frozen=True)
class Atlas:
    """What an atlas found.

    Attributes:
        measures: {β: {name: measure}}, means over trainings, each with its interval over these.
        pca: {name: measure} of as many principal components, with intervals over pictures; empty without factors.
        members: The trainings.
        facts: Source, steps, network, pictures: what all members share.
    """

    measures: dict[float, dict[str, Measure]]
    pca: dict[str, Measure]
    members: list[Member]
    facts: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """All as plain data."""
        return {
            **self.facts,
            "measures": {f"{b:g}": {n: m.to_dict() for n, m in found.items()} for b, found in self.measures.items()},
            "pca": {name: each.to_dict() for name, each in self.pca.items()},
            "members": [{"beta": m.beta, "seed": m.seed, "run": str(m.folder)} for m in self.members],
        }


def measure_atlas(
    members: Sequence[Member], store: Store, progress: Callable[[int, int, str], None] | None = None
) -> Atlas:
    """Measure the finished members of an atlas.

    Rate, distortion and active units are those of each training's last validation; errors, continuity and coverage are
    measured on held-out pictures; disentanglement on 1,000 new drawn flowers, where the pictures are drawn ones and
    scikit-learn is installed; UDR between the seeds of each β.

    Arguments:
        members: From `betabloom.reports.atlas_sweep.train_sweep`.
        store: The pictures that they learned from.
        progress: Called as progress(done, total, text).

    Raises:
        UsageError: No member is finished.
    """
    if not members:
        raise UsageError("No training of this atlas is finished. Give it more time: --budget 20m")
    first = load(members[0].folder)
    known = _known(first, store)
    train, held_out = store.split(first.config.data.split, first.config.data.holdout)
    rows = evenly_spaced(held_out if len(held_out) > 9 else train, HELD_OUT)
    pictures, learned = (np.asarray(store.pictures[each]) for each in (rows, evenly_spaced(train, 2000)))
    values: dict[float, list[dict[str, float]]] = {}
    codes: dict[float, list[tuple[np.ndarray, np.ndarray]]] = {}
    for number, member in enumerate(members):
        if progress:
            progress(number, len(members), f"β {member.beta:g}, seed {member.seed}")
        found, code = _measured(load(member.folder), pictures, learned, known)
        values.setdefault(member.beta, []).append(found)
        codes.setdefault(member.beta, []).append(code)
    for beta, found_of_beta in values.items():
        if beta and len(codes[beta]) > 1:
            for found, score in zip(found_of_beta, metrics.udr(*zip(*codes[beta], strict=True)), strict=True):
                found["udr"] = float(score)
    measures = {beta: _over_trainings(found) for beta, found in sorted(values.items())}
    facts = {
        "source": store.source_name,
        "pictures": len(store),
        "steps": first.training["steps"],
        "latents": first.vae.latents,
        "size": list(first.config.shape),
        "likelihood": first.config.model.likelihood,
        "seconds": round(sum(load(each.folder).training["seconds"] for each in members), 1),
    }
    return Atlas(measures, _pca(learned, first.vae.latents, known), list(members), facts)


def compared(atlas: Atlas, name: str) -> tuple[float, str, str] | None:
    """The β > 1 with the highest score `name`, and how it compares with β = 0 and with PCA.

    Returns:
        (β, against β = 0, against PCA), each "higher" or "lower" if the intervals do not overlap, else
        "not told apart", or "not measured"; None if no β > 1 was measured.
    """
    above = {beta: found[name] for beta, found in atlas.measures.items() if beta > 1 and name in found}
    if not above:
        return None
    beta = max(above, key=lambda each: above[each].value)
    plain = atlas.measures.get(0.0, {}).get(name)
    return beta, _against(above[beta], plain), _against(above[beta], atlas.pca.get(name))


def _against(ours: Measure, theirs: Measure | None) -> str:
    if theirs is None or not all(map(math.isfinite, (ours.low, ours.high))):
        return "not measured"
    if ours.low > theirs.high:
        return "higher"
    return "lower" if ours.high < theirs.low else "not told apart"


def _known(model: Model, store: Store) -> tuple[np.ndarray, np.ndarray] | None:
    """New drawn flowers, prepared for the model, with their factors; None where factors are not known."""
    if store.source_name != "drawn" or importlib.util.find_spec("sklearn") is None:
        return None
    source = Drawn(PICTURES, FACTOR_SEED)
    return model.prepare(source.read(index) for index in range(PICTURES)), source.factors


def _measured(
    model: Model, pictures: np.ndarray, learned: np.ndarray, known: tuple[np.ndarray, np.ndarray] | None
) -> tuple[dict[str, float], tuple[np.ndarray, np.ndarray]]:
    """All values of one member, and its codes of pictures with the rate of each dimension."""
    found = {name: float(model.training["validation"][name]) for name in ("distortion", "rate")}
    means, log_var = model.encode(pictures)
    found["active_units"] = float(metrics.active_units(means))
    error = (model.decode(means).astype(np.float64) - pictures) / 255
    found["squared_error"] = float(np.square(error).sum((1, 2, 3)).mean())
    for each in metrics.decoder_continuity(model.decode, means, 32):
        found[each.name] = each.value
    found["encoder_stretch"] = metrics.encoder_continuity(lambda x: model.encode(x)[0], pictures, 32).value
    extractor = metrics.open_extractor("pixels")
    drawn = model.generate(len(pictures), sampler="prior")
    real, generated = (metrics.features(each, extractor) for each in (learned[:1000], drawn))
    coverage, off = metrics.completeness(real, generated)
    found |= {"coverage": coverage.value, "off_manifold": off.value}
    rates = metrics.rate_per_dimension(means, log_var) if model.vae.posterior.has_density else means.var(0)
    if known is not None:
        from betabloom.metrics.disentanglement.scores import plain_scores

        found |= plain_scores(model.encode(known[0])[0], known[1], [factor.kind for factor in FACTORS])
    return found, (means, rates)


def _over_trainings(found: list[dict[str, float]]) -> dict[str, Measure]:
    """Means over trainings that differ in their seed, with Student's interval; without end for one training."""
    measures = {}
    for name in found[0]:
        values = np.array([each[name] for each in found])
        n, mean = len(values), float(values.mean())
        low, high = -math.inf, math.inf
        if n > 1:
            low, high = interval(mean, float(values.std(ddof=1)) / math.sqrt(n), n - 1)
        warning = "" if n > 2 else f"{n} training{'s' * (n > 1)}: no interval to rely on"
        measures[name] = Measure(name, mean, low, high, {"trainings": n}, "standard error over seeds", None, warning)
    return measures


def _pca(learned: np.ndarray, latents: int, known: tuple[np.ndarray, np.ndarray] | None) -> dict[str, Measure]:
    """Disentanglement of the first principal components of the pixels, fitted to training pictures."""
    if known is None:
        return {}
    x = learned.reshape(len(learned), -1).astype(np.float32) / 255
    mean = x.mean(0)
    _, _, axes = np.linalg.svd(x - mean, full_matrices=False)
    codes = (known[0].reshape(len(known[0]), -1) / 255 - mean) @ axes[:latents].T
    kinds = [factor.kind for factor in FACTORS]
    found = metrics.disentanglement.disentanglement_scores(codes, known[1], kinds, quick=True)
    return {name: dataclasses.replace(each, method=f"{each.method}; PCA has no seed") for name, each in found.items()}
