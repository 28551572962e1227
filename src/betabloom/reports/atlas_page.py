"""The page of an atlas of β: one HTML file that loads nothing."""

from __future__ import annotations

import base64
import io
import math
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from betabloom.imaging import curves, sheets
from betabloom.latent.traversal import traverse
from betabloom.model.model import load
from betabloom.reports.atlas import OTHERS, SHOWN, compared
from betabloom.reports.style import PAGE, STYLE
from betabloom.version import __version__

if TYPE_CHECKING:
    from betabloom.metrics import Measure
    from betabloom.reports.atlas import Atlas
    from betabloom.reports.atlas_sweep import Member

__all__ = ["atlas_html", "verdict"]

OFFSETS = (-2.0, -1.0, 0.0, 1.0, 2.0)
PICTURES = 10
DIMENSIONS = 5
ROWS = {
    "distortion": "distortion D, nats",
    "rate": "rate R, nats",
    "squared_error": "squared error a picture",
    "active_units": "active units",
    "decoder_jump": "decoder jump (1 is even)",
    "decoder_path": "decoder path (1 is direct)",
    "encoder_stretch": "encoder stretch (1 is linear)",
    "coverage": "coverage from the prior",
    "off_manifold": "off-manifold rate from the prior",
    "udr": "UDR, likeness of seeds",
    "mig": "MIG",
    "dci_disentanglement": "DCI disentanglement",
    "dci_es_explicitness": "DCI-ES explicitness",
    "infom": "InfoM",
    "infoc": "InfoC",
    "infoe": "InfoE",
    "mig_sup": "MIG-sup",
    "dci_completeness": "DCI completeness",
    "dci_informativeness": "DCI informativeness",
    "sap": "SAP",
    "factor_vae": "FactorVAE score",
    "beta_vae": "β-VAE score",
    "modularity": "modularity",
    "irs": "IRS",
}


def atlas_html(atlas: Atlas) -> str:
    """Make the page."""
    facts = atlas.facts
    _, height, width = facts["size"]
    lead = (
        f"What β does: {len(atlas.members)} trainings on {facts['pictures']:,} pictures ({escape(facts['source'])}), "
        f"{width} × {height} pixels, {facts['latents']} latents, {facts['steps']:,} steps each; they differ in β and "
        "seed alone."
    )
    parts = [
        f"<p class=lead>{lead}</p>",
        _section("The answer", "".join(f"<p class=note>{escape(each)}</p>" for each in verdict(atlas))),
        _curves(atlas),
        _table(atlas),
        _samples(atlas),
        _traversals(atlas),
    ]
    page = PAGE.format(
        title="Atlas of β", style=STYLE + EXTRA, body="\n".join(filter(None, parts)), made=f"betabloom {__version__}"
    )
    return page.replace("Training report", "Side by side")


EXTRA = """
.wide { overflow-x: auto } .wide td, .wide th { padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--rule);
  font-size: .82rem; white-space: nowrap; font-variant-numeric: tabular-nums; vertical-align: top }
.wide small { display: block; color: var(--faint); font-size: .7rem }
.strip th { width: 6.4rem }
"""


def verdict(atlas: Atlas) -> list[str]:
    """What β did, in sentences that follow from the numbers."""
    betas = sorted(atlas.measures)
    first = next((beta for beta in betas if beta), betas[0])
    low, high = atlas.measures[first], atlas.measures[betas[-1]]
    moved = {name: (low[name].value, high[name].value) for name in ("rate", "squared_error")}
    if moved["rate"][1] < moved["rate"][0] and moved["squared_error"][1] > moved["squared_error"][0]:
        rate, error = (f"{before:.1f} to {after:.1f}" for before, after in moved.values())
        sentences = [
            f"From β = {first:g} to β = {betas[-1]:g} the rate went from {rate} nats and the squared error of held-out "
            f"pictures from {error}: {_price(low['squared_error'], high['squared_error'])}."
        ]
    elif first == betas[-1]:
        sentences = (
            [f"Only one β above 0 was trained ({first:g}): what more of it would cost cannot be said."] if first else []
        )
    else:
        sentences = [
            f"Between β = {first:g} and β = {betas[-1]:g} rate and error did not move in opposite "
            "directions, as they should: these trainings are too short or too few."
        ]
    if not any(name in high for name in SHOWN):
        return [*sentences, "Disentanglement is not measured: the causes of these pictures are not known."]
    better = {name: found for name in SHOWN if (found := compared(atlas, name))}
    if not better:
        return [*sentences, "No β above 1 was trained: whether it disentangles cannot be said."]
    for rival, place in (("β = 0", 1), ("PCA", 2)):
        groups: dict[str, list[str]] = {}
        for name, found in better.items():
            groups.setdefault(str(found[place]), []).append(f"{ROWS[name]} (β = {found[0]:g})")
        told = "; ".join(f"{word}: {', '.join(names)}" for word, names in groups.items())
        sentences.append(f"The best β above 1 against {rival}, by 95 % intervals: {told}.")
    if any("higher" not in found[1:] or found[1] != "higher" for found in better.values()):
        sentences.append(
            f"Where β is not higher, the reasons to look at first: {atlas.facts['steps']:,} steps are few for codes to "
            "settle on axes; few seeds make wide intervals; a hue and a rotation are circles that no single dimension "
            "holds; and nothing in the objective prefers one rotation of the codes but the diagonal posterior "
            "(Locatello et al. 2019)."
        )
    return sentences


def _price(low: Measure, high: Measure) -> str:
    """What the cheaper codes cost."""
    apart = low.high < high.low
    return "cheaper codes, blurrier pictures" if apart else "cheaper codes, at an error that is not told apart"


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"


def _curves(atlas: Atlas) -> str:
    betas = sorted(atlas.measures)
    plane = sorted((atlas.measures[b]["rate"].value, atlas.measures[b]["distortion"].value) for b in betas if b)
    figures = [("Distortion over rate, nats: one point a β, from the largest β on the left", plane)]
    for name in ("mig", "dci_disentanglement", "infoc", "decoder_jump"):
        points = [(float(i), atlas.measures[b][name].value) for i, b in enumerate(betas) if name in atlas.measures[b]]
        order = ", ".join(f"{b:g}" for b in betas)
        figures.append((f"{ROWS[name]} (across: β = {order})", points))
    drawn = "".join(
        f"<figure><figcaption>{title}</figcaption>{_line(points, title)}</figure>"
        for title, points in figures
        if len(points) > 1
    )
    return _section("Curves", f"<div class=charts>{drawn}</div>")


def _line(points: list[tuple[float, float]], title: str) -> str:
    return curves.line_chart({"validation": points}, title, whole=True)


def _kind(beta: float) -> str:
    if not beta:
        return "AE"
    return "VAE" if beta == 1 else "β-VAE"


def _table(atlas: Atlas) -> str:
    betas = sorted(atlas.measures)
    heads = "".join(f"<th>{_kind(beta)}<small>β = {beta:g}</small></th>" for beta in betas)
    rows = []
    for name, title in ROWS.items():
        cells = [atlas.measures[beta].get(name) for beta in betas] + [atlas.pca.get(name)]
        if any(cells):
            rows.append(f"<tr><th>{title}</th>{''.join(map(_cell, cells))}</tr>")
    seeds = max(len([m for m in atlas.members if m.beta == beta]) for beta in betas)
    text = (
        f"Means over {seeds} training{'s' * (seeds > 1)} of each β, with 95 % intervals over seeds; PCA has no seed, "
        "and intervals over pictures. Distortion of β = 0 has no rate beside it and is not a bound."
    )
    table = f"<div class=wide><table><tr><th></th>{heads}<th>PCA</th></tr>{''.join(rows)}</table></div>"
    return _section("AE, VAE and β-VAE side by side", f"<p>{text}</p>{table}")


def _cell(each: Measure | None) -> str:
    if each is None:
        return "<td>–</td>"
    span = f"<small>{_number(each.low)} … {_number(each.high)}</small>" if math.isfinite(each.low) else ""
    return f"<td>{_number(each.value)}{span}</td>"


def _number(value: float) -> str:
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
    return text.replace("-", "−")


def _firsts(atlas: Atlas) -> list[Member]:
    """One member of each β: that of the lowest seed."""
    return [min((m for m in atlas.members if m.beta == b), key=lambda m: m.seed) for b in sorted(atlas.measures)]


def _samples(atlas: Atlas) -> str:
    rows = []
    for member in _firsts(atlas):
        drawn = load(member.folder).generate(PICTURES, seed=1, sampler="prior")
        rows.append(_row(member, drawn, PICTURES))
    text = (
        "Codes from N(0, I), the same for all, decoded. Nothing makes a plain auto-encoder fill "
        "that space; its row shows why completeness matters."
    )
    return _section("New pictures", f"<p>{text}</p><table class=strip>{''.join(rows)}</table>")


def _traversals(atlas: Atlas) -> str:
    rows = []
    for member in _firsts(atlas):
        model = load(member.folder)
        drawn = model.generate(8, seed=2)
        code = model.encode(drawn[:1])[0][0]
        spread = model.encode(model.generate(256, seed=3))[0].std(0)
        chosen = [int(i) for i in np.argsort(-spread)[:DIMENSIONS]]
        unit = float(np.median(spread[chosen])) if not member.beta else 1.0
        pictures = traverse(model, code, chosen, [unit * offset for offset in OFFSETS])
        for place, row in enumerate(pictures):
            rows.append(_row(member, row, len(OFFSETS), f"z<sub>{chosen[place]}</sub>"))
    text = (
        "One latent at a time, from −2 to +2 standard deviations, around one picture of each model; those that vary "
        "most come first. A disentangled dimension changes one thing in a row."
    )
    return _section("Traversals", f"<p>{text}</p><table class=strip>{''.join(rows)}</table>")


def _row(member: Member, pictures: np.ndarray, columns: int, what: str = "") -> str:
    file = io.BytesIO()
    sheets.grid(pictures, columns=columns).save(file, "PNG", optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    small = f"<small>{what or _kind(member.beta)}</small>"
    image = f'<img src="data:image/png;base64,{data}" alt="pictures of β = {member.beta:g}">'
    return f"<tr><th>β = {member.beta:g}{small}</th><td>{image}</td></tr>"


assert set(SHOWN) | set(OTHERS) <= set(ROWS)  # noqa: S101
