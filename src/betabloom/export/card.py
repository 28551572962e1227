"""What the Hugging Face Hub shows of a model: its card, and a Space that draws in the browser."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from betabloom.errors import UsageError
from betabloom.model.card import model_card
from betabloom.networks.build import count_parameters

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from betabloom.model.model import Model

__all__ = ["hub_card", "write_space"]

SAMPLES = "samples.png"
SHOWN = (
    ("fidelity", "frechet_distance", "Fréchet distance"),
    ("fidelity", "kernel_distance", "kernel distance"),
    ("fidelity", "precision", "precision"),
    ("fidelity", "recall", "recall"),
    ("novelty", "near_copies", "near copies of training pictures, share"),
    ("likelihood", "bits_per_dimension", "bits per dimension, at most"),
)


def hub_card(
    model: Model,
    repository: str,
    licence: str = "",
    report: Mapping[str, Any] | None = None,
    files: Collection[str] = (),
) -> str:
    """The card of a model on the Hub: README.md.

    Arguments:
        model: The model.
        repository: Its name there, as "user/model".
        licence: An identifier that the Hub knows, as "apache-2.0".
        report: What `betabloom evaluate -o report.json` wrote.
        files: Names of what is there beside the model.
    """
    card = model_card(model.config, model.training, count_parameters(model.vae), model.fingerprint)
    _, _, text = card.removeprefix("---\n").partition("\n---\n")
    text = text.replace("path/to/this/folder", repository)
    title, _, rest = text.strip().partition("\n\n")
    parts = [_header(model, licence), title, f"![Pictures that this model drew]({SAMPLES})", rest.strip()]
    parts += [_measures(report) if report else _from_training(model), _beside(files)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(model: Model, licence: str) -> str:
    """The block of YAML that the Hub reads."""
    import yaml

    facts = {
        "library_name": "betabloom",
        "pipeline_tag": "unconditional-image-generation",
        "license": licence or "unknown",
        "tags": ["betabloom", "beta-vae", "variational-autoencoder", "image-generation"],
    }
    return f"---\n{yaml.safe_dump(facts, sort_keys=False)}---"


def _measures(report: Mapping[str, Any]) -> str:
    """The measures that matter most, with their intervals.

    Raises:
        UsageError: It is not what `evaluate` writes.
    """
    try:
        found = [(title, _named(report["measures"][section], name)) for section, name, title in SHOWN]
        rows = [f"| {title} | {m['value']:.4g} | {_interval(m)} |" for title, m in found if m]
        about = f"Features: {report['features']}."
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"The report is not what `betabloom evaluate -o report.json` writes: {error}.") from error
    return "\n".join(["## Measures", "", "| measure | value | 95 % interval |", "|---|---|---|", *rows, "", about])


def _interval(measure: Mapping[str, Any]) -> str:
    low, high = measure["low"], measure["high"]
    return "none" if low is None or high is None else f"{low:.4g} … {high:.4g}"


def _named(subjects: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """A measure of the generated pictures, or of what there is."""
    ordered = sorted(subjects, key=lambda subject: not subject.startswith("generated"))
    return next((subjects[subject][name] for subject in ordered if name in subjects[subject]), None)


def _from_training(model: Model) -> str:
    """What was measured when the samplers were compared, at the end of the training."""
    found = model.training.get("samplers", {}).get(model.sampler, {})
    if "kernel_distance" not in found or "near_copies" not in found:
        return ""
    low, high = found.get("interval", (float("nan"), float("nan")))
    return (
        f"## Measures\n\nOf {found.get('pictures', '?')} pictures of the sampler `{model.sampler}`: kernel distance to "
        f"held-out pictures {found['kernel_distance']:.4g} (95 % interval {low:.4g} … {high:.4g}), near copies of "
        f"training pictures {100 * found['near_copies']:.1f} %."
    )


def _beside(files: Collection[str]) -> str:
    """What else is there, and what it is for."""
    known = {
        "onnx/generator.onnx": "`onnx/`: encoder, decoder and generator (noise in, pictures out) for ONNX Runtime",
        "shared.html": "`shared.html`: a page that draws, steers and morphs pictures in any browser, offline",
    }
    found = [f"- {text}" for name, text in known.items() if name in files]
    return "\n".join(["## Beside the model", "", *found]) if found else ""


def write_space(model: Model, folder: Path, page: Path) -> dict[str, Any]:
    """Fill a folder that can be pushed as a static Space: README.md and the page.

    Arguments:
        model: A trained model.
        folder: An existing folder.
        page: A shared page of the model.
    """
    import yaml

    title = f"betabloom: {model.training.get('source', 'pictures')}"
    facts = {"title": title[:80], "emoji": "🌼", "colorFrom": "yellow", "colorTo": "pink", "sdk": "static"}
    text = "Pictures that do not exist, drawn in your browser by a small β-VAE. Nothing is sent anywhere."
    head = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)
    (folder / "README.md").write_text(f"---\n{head}---\n\n{text}\n", encoding="utf-8")
    shutil.copyfile(page, folder / "index.html")
    return {"title": facts["title"]}
