"""One page about a run, in one HTML file that loads nothing: advice, curves, pictures, measures, settings."""

from __future__ import annotations

import base64
import dataclasses
import io
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from betabloom.arguments import path_of
from betabloom.config import SECTIONS, Config
from betabloom.imaging import curves, sheets
from betabloom.latent.traversal import traverse
from betabloom.model.model import load
from betabloom.reports.style import PAGE, STYLE
from betabloom.stages.record import read_entries
from betabloom.training.checkup import read_advice
from betabloom.training.run_folder import read_records, run_config
from betabloom.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from betabloom.model.model import Model

__all__ = ["report_html"]

SHOWN_SAMPLES = 8  # pictures of every sheet in the table of samples over time
SHOWN_LATENTS = 8  # most active latents that are traversed
OFFSETS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)


def report_html(run: str | Path) -> str:
    """Make the page about the run directory `run`, finished or not.

    Raises:
        UsageError: It is not a run directory, or its settings are damaged.
    """
    run = path_of(run, "'run'")
    config, records = run_config(run), read_records(run)
    model = load(run) if (run / "model" / "config.json").is_file() else None
    parts = [
        _headline(config, records, model),
        _advice(run),
        _stages(run),
        _samples(run, model),
        _curves(records),
        _progress(run, config),
        _reconstructions(run, config),
        _traversals(records, model),
        _measures(run, records, model),
        _settings(config),
    ]
    return PAGE.format(
        title=escape(run.resolve().name),
        style=STYLE,
        body="\n".join(part for part in parts if part),
        made=escape(f"betabloom {__version__} · betabloom report {run}"),
    )


def _headline(config: Config, records: Sequence[Mapping[str, Any]], model: Model | None) -> str:
    """The figures that people ask for first."""
    held_out = [r for r in records if r["split"] == "validation"]
    steps = [r["step"] for r in records if r["split"] in ("train", "validation")]
    figures = [("steps", f"{steps[-1]:,}" if steps else "0"), ("β", f"{config.objective.beta:g}")]
    if held_out:
        last = held_out[-1]
        figures += [
            ("distortion", f"{last['distortion']:,.0f}".replace("-", "−")),
            ("rate", f"{last['rate']:,.0f}"),
            ("active latents", f"{last.get('active_units', '?')} of {config.model.latents}"),
        ]
    if records:
        figures.append(("time", _duration(records[-1]["seconds"])))
    cells = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in figures)
    state = "" if model else "<p class=note>This run is not finished; the page shows it as far as it went.</p>"
    shape = f"{config.data.width} × {config.data.height} pixels"
    what = f"A β-VAE that learned from {escape(Path(config.data.source).name)}, {shape}, {config.model.latents} latents"
    return f"<p class=lead>{what}.</p>{state}<dl class=figures>{cells}</dl>"


def _advice(run: Path) -> str:
    advice = read_advice(run)
    if advice is None:
        return ""
    if not advice:
        return "<p class=healthy>The training doctor found nothing wrong.</p>"
    items = "".join(
        f"<li><strong>{escape(each.illness.replace('-', ' '))}</strong> {escape(each.sentence)}"
        f"<code>{escape(each.command)}</code></li>"
        for each in advice
    )
    return f"<section><h2>Advice</h2><ul class=advice>{items}</ul></section>"


def _stages(run: Path) -> str:
    """What each stage brought, of a run that has some."""
    found = read_entries(run)
    rows = "".join(
        f"<tr><th>{escape(entry.stage)}</th><td>{'kept' if entry.kept else '–'}</td>"
        f"<td>{escape(entry.why)}</td><td>{_duration(entry.seconds)}</td></tr>"
        for entry in found
    )
    text = "A stage is kept if pictures get better by it: nearer to held-out ones, without speckles, grids and copies."
    return f"<section><h2>Stages</h2><p>{text}</p><table class=facts>{rows}</table></section>" if found else ""


def _samples(run: Path, model: Model | None) -> str:
    if model is None:
        return ""
    sheet = _sheet(sheets.grid(model.generate(64), columns=8), model.config, "64 pictures from the model")
    source = "the prior" if model.sampler == "prior" else f"a density fitted to the codes of pictures ({model.sampler})"
    text = f"Codes drawn from {source}, decoded."
    return f"<section><h2>New pictures</h2><p>{text}</p><figure>{sheet}</figure></section>"


def _curves(records: Sequence[Mapping[str, Any]]) -> str:
    titles = {
        "distortion": "Distortion D, nats per image",
        "rate": "Rate R, nats per image",
        "active_units": "Active latents",
        "beta": "β",
        "learning_rate": "Learning rate",
    }
    figures = []
    for key, title in titles.items():
        single = key in ("beta", "learning_rate")  # the same in both splits
        series = {
            split: [(r["step"], r[key]) for r in records if r["split"] == split and _finite(r.get(key))]
            for split in (("train",) if single else ("train", "validation"))
        }
        drawing = curves.line_chart({name: points for name, points in series.items() if points}, title)
        figures.append(f"<figure><figcaption>{title}</figcaption>{drawing}</figure>" if drawing else "")
    dimensions = _dimensions(records)
    if dimensions:
        drawing = curves.bar_chart(sorted(dimensions, reverse=True), "Rate of every latent")
        figures.append(f"<figure><figcaption>Nats in every latent, largest first</figcaption>{drawing}</figure>")
    if not any(figures):
        return ""
    key = '<p class=key><span class="swatch train"></span>training <span class="swatch validation"></span>held out</p>'
    return f"<section><h2>Curves</h2>{key}<div class=charts>{''.join(figures)}</div></section>"


def _progress(run: Path, config: Config) -> str:
    """The first pictures of every sheet of samples, a row a sheet: the same noise, drawn by a model that learns."""
    rows = []
    for path in sorted((run / "samples").glob("step-*.png")):
        try:
            with Image.open(path) as sheet:
                height = config.data.height + 4
                row = sheet.crop((0, 0, min(sheet.width, SHOWN_SAMPLES * (config.data.width + 2) + 2), height))
                step = int(path.stem.removeprefix("step-"))
                rows.append(f"<tr><th>{step:,}</th><td>{_sheet(row, config, f'samples at step {step}')}</td></tr>")
        except (OSError, ValueError):
            continue
    if not rows:
        return ""
    text = (
        "Every row uses the same noise, decoded by the model as it was at that step. During "
        "training, codes come from one "
        "Gaussian fitted to held-out codes; the sampler for new pictures is fitted at the end."
    )
    return f"<section><h2>Samples over time</h2><p>{text}</p><table class=strip>{''.join(rows)}</table></section>"


def _reconstructions(run: Path, config: Config) -> str:
    path = run / "reconstructions.png"
    if not path.is_file():
        return ""
    with Image.open(path) as sheet:
        picture = _sheet(sheet, config, "originals, each with its reconstruction below it")
    text = "Held-out pictures, each row with its reconstructions below it."
    return f"<section><h2>Reconstructions</h2><p>{text}</p><figure>{picture}</figure></section>"


def _traversals(records: Sequence[Mapping[str, Any]], model: Model | None) -> str:
    """From the code of a generated picture along the latents that say most."""
    dimensions = _dimensions(records)
    if model is None or not dimensions:
        return ""
    chosen = sorted(range(len(dimensions)), key=lambda i: -dimensions[i])[:SHOWN_LATENTS]
    drawn = model.generate(SHOWN_SAMPLES)
    vivid = int(drawn.std((1, 2)).mean(1).argmax())  # where there is contrast, changes show
    code = model.encode(drawn[vivid : vivid + 1])[0][0]
    pictures = traverse(model, code, chosen, OFFSETS)
    rows = "".join(
        f"<tr><th>z<sub>{i}</sub><small>{dimensions[i]:.1f} nats</small></th>"
        f"<td>{_sheet(sheets.grid(row, columns=len(OFFSETS)), model.config, f'traversal of latent {i}')}</td></tr>"
        for i, row in zip(chosen, pictures, strict=True)
    )
    text = (
        "One latent at a time, from −3 to +3 around the code of a new picture; the latents with "
        "the highest rate come first."
    )
    return f"<section><h2>Traversals</h2><p>{text}</p><table class=strip>{rows}</table></section>"


def _measures(run: Path, records: Sequence[Mapping[str, Any]], model: Model | None) -> str:
    """The facts that the model carries."""
    if model is None:
        return ""
    facts = {k: v for k, v in model.training.items() if not isinstance(v, (dict, list))}
    held_out = model.training.get("validation", {})  # an enlarged model has none of its size
    facts |= {f"held-out {name.replace('_', ' ')}": value for name, value in held_out.items()}
    facts |= {f"version of {name}": value for name, value in model.training["versions"].items()}
    facts["data_fingerprint"] = str(facts.get("data_fingerprint", ""))[:16]  # as long as that of the model
    facts["fingerprint"] = model.fingerprint
    rows = "".join(
        f"<tr><th>{escape(name.replace('_', ' '))}</th><td>{escape(_number(value))}</td></tr>"
        for name, value in facts.items()
    )
    unit = "Losses, distortions and rates are in nats per image."
    return f"<section><h2>Measures</h2><p>{unit}</p><table class=facts>{rows}</table></section>"


def _settings(config: Config) -> str:
    """Every setting with its meaning; those that are not the default stand out."""
    default, parts = Config(), []
    for name, kind in SECTIONS.items():
        rows = []
        for field in dataclasses.fields(kind):
            value, usual = (getattr(getattr(each, name), field.name) for each in (config, default))
            changed = f' class=changed title="default: {escape(_number(usual))}"' if value != usual else ""
            rows.append(
                f"<tr{changed}><th>{field.name}</th><td>{escape(_number(value)) or '–'}</td>"
                f"<td>{escape(field.metadata['help'])}</td></tr>"
            )
        parts.append(f"<h3>{name}</h3><table class=settings>{''.join(rows)}</table>")
    return f"<section><h2>Settings</h2><p>Those that differ from the defaults are marked.</p>{''.join(parts)}</section>"


def _dimensions(records: Sequence[Mapping[str, Any]]) -> list[float]:
    """The rate of every latent at the newest validation."""
    known = [r["rate_per_dimension"] for r in records if r.get("rate_per_dimension")]
    return list(known[-1]) if known and any(known[-1]) else []


def _sheet(image: Image.Image, config: Config, text: str) -> str:
    """A sheet of pictures as `sheets.grid` arranges them, with the page showing through between them."""
    clear = np.zeros((image.height, image.width), bool)
    clear[np.arange(image.height) % (config.data.height + 2) < 2] = True
    clear[:, np.arange(image.width) % (config.data.width + 2) < 2] = True
    image = image.convert("RGBA")
    for top in range(2, image.height, config.data.height + 2):
        for left in range(2, image.width, config.data.width + 2):
            place = np.s_[top : top + config.data.height, left : left + config.data.width]
            clear[place] = bool((np.asarray(image)[place] == sheets.BACKGROUND).all())  # a place without a picture
    image.putalpha(Image.fromarray(np.where(clear, 0, np.asarray(image)[..., 3]).astype(np.uint8)))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img src="data:image/png;base64,{data}" width={image.width} height={image.height} alt="{escape(text)}">'


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and bool(np.isfinite(value))


def _number(value: Any) -> str:
    """Write a value for people."""
    if isinstance(value, float):
        return (f"{value:,.1f}" if abs(value) >= 100 else f"{value:.5g}").replace("-", "−").removesuffix(".0")
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, (tuple, list)):
        return ", ".join(map(_number, value))
    return str(value)


def _duration(seconds: float) -> str:
    from betabloom.system.console import duration

    return duration(seconds)
