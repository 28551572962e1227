"""The book: links lead somewhere, cited sources exist, numbers and formulas are right, snippets run."""

from __future__ import annotations

import ast
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import betabloom
from betabloom.version import __version__

ROOT = Path(__file__).parents[2]
DOCS, TOOLS = ROOT / "docs", ROOT / "tools"
BOOK = DOCS / "book"
CHAPTERS = sorted(BOOK.glob("[0-9]*.md"))
PAGES = [*sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("*.md")), ROOT / "benchmarks" / "README.md"]
TEXT = {path: path.read_text(encoding="utf-8") for path in PAGES}
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.DOTALL | re.MULTILINE)
ALL = "\n".join(TEXT[path] for path in CHAPTERS)


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and the site make it."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", plain).strip())


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_all_pages_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", TEXT[page])):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target) or target == "…":
            continue
        other = page if not path else Path(page.parent / path)
        if not other.exists():
            broken.append(target)
        elif anchor and other.suffix == ".md" and not anchor.startswith("ref-"):
            headings = re.findall(
                r"^#+ (.*)$",
                CODE.sub(lambda match: match[0] if "\n" not in match[0] else "", other.read_text("utf-8")),
                re.M,
            )
            broken += [] if anchor in map(slug, headings) else [target]
    assert not broken


def test_every_source_is_in_the_list_and_every_entry_is_whole() -> None:
    entries = {entry["id"]: entry for entry in json.loads((BOOK / "references.json").read_text(encoding="utf-8"))}
    cited = set(re.findall(r"@([a-z]+\d{4}\w*)", ALL))
    assert cited <= set(entries)
    assert len(cited) > 25
    for entry in entries.values():
        assert {"title", "author", "issued"} <= set(entry)
        assert "container-title" in entry or "publisher" in entry


def test_the_citation_has_the_version_and_promises_name_tests_that_exist() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    promises = re.findall(r"^\| .* \| (`tests/.*`) \|$", TEXT[ROOT / "SECURITY.md"], re.MULTILINE)
    assert len(promises) > 5
    assert all((ROOT / path).exists() for promise in promises for path in re.findall(r"`([^`]+)`", promise))


def test_errata_that_are_named_exist() -> None:
    named = {int(number) for number in re.findall(r"\bE(\d+)\b", ALL)}
    known = {int(number) for number in re.findall(r"\*\*E(\d+)", TEXT[DOCS / "errata.md"])}
    assert len(named) > 15
    assert named <= known


def _figures() -> set[str]:
    """The names that tools/figures.py knows."""
    for node in ast.walk(ast.parse((TOOLS / "figures.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "MAKE":
            assert isinstance(node.value, ast.Dict)
            return {key.value for key in node.value.keys if isinstance(key, ast.Constant)}
    raise AssertionError("There is no MAKE in tools/figures.py.")


def test_every_figure_is_there_with_a_command_that_makes_it() -> None:
    captions = re.findall(r"^!\[(.*)\]\((figures/[\w.-]+)\)$", ALL, re.MULTILINE)
    assert len(captions) > 9
    made = _figures()
    for caption, path in captions:
        assert (BOOK / path).stat().st_size < 400_000
        (name,) = re.findall(r"Made by `python tools/figures.py (\w+)`", caption)
        assert name in made


def test_live_figures_are_there_small_and_load_nothing_from_elsewhere() -> None:
    named = re.findall(r"^\[Live figure: .*\]\((live/[\w-]+\.html)\)$", ALL, re.MULTILINE)
    assert len(set(named)) >= 6
    for path in named:
        text = (BOOK / path).read_text(encoding="utf-8")
        loaded = re.findall(r"""(?:src|href)\s*=\s*["']([^"']+)["']""", text)
        assert not [each for each in loaded if re.match(r"(https?:)?//", each)]
    assert sum(path.stat().st_size for path in (BOOK / "live").iterdir()) < 1_500_000


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(path, marks=[pytest.mark.slow] if "sklearn" in TEXT[path] else [], id=path.stem)
        for path in CHAPTERS
        if "```python" in TEXT[path]
    ],
)
def test_the_python_of_a_chapter_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for code in re.findall(r"^```python\n(.*?)^```", TEXT[page], re.DOTALL | re.MULTILINE):
        if "sklearn" in code:
            pytest.importorskip("sklearn")
        exec(compile(code.replace("max_iter=400", "max_iter=20"), page.name, "exec"), {})


def test_the_codes_of_the_bundled_model_are_as_chapter_5_says() -> None:
    gaussian = betabloom.load().samplers["gaussian"]
    mean, factor = (each[0].double().numpy() for each in (gaussian.mean, gaussian.factor))  # type: ignore[union-attr]
    covariance = factor @ factor.T
    variances, diagonal = np.linalg.eigvalsh(covariance), np.diag(covariance)
    gap, single = (0.5 * (v.sum() + mean @ mean - len(v) - np.log(v).sum()) for v in (variances, diagonal))
    text = TEXT[BOOK / "05-priors.md"]
    for said in (f"= {gap:.1f} \\text", f"{single:.1f} nats are differences", f"{gap - single:.1f} nats are *total"):
        assert said in text
    assert f"from {variances.max():.1f} down to {variances.min():.2f}" in text
    assert f"in {(variances < 1).sum()} of {len(variances)} axes" in text
    low, high = np.quantile(diagonal, [0.05, 0.95])
    assert f"between {low:.2f} and {high:.2f}" in text


@pytest.mark.parametrize(
    ("variance", "beta", "noise"), [(8.0, 1.0, 1.0), (2.0, 4.0, 0.3), (0.5, 1.0, 1.0), (5.0, 0.2, 0.7)]
)
def test_the_linear_model_is_solved_by_water_filling(variance: float, beta: float, noise: float) -> None:
    """Chapter 7: minimise over encoder a, posterior variance v and decoder w, and compare with the table."""
    from scipy.optimize import minimize

    def parts(at: np.ndarray) -> tuple[float, float]:
        a, w, v = at[0], at[1], math.exp(at[2])
        error = variance * (1 - w * a) ** 2 + w * w * v
        return error, 0.5 * (a * a * variance + v - 1 - math.log(v))

    found = minimize(lambda at: parts(at)[0] / (2 * noise) + beta * parts(at)[1], [0.5, 0.5, -0.5], tol=1e-12)
    error, rate = parts(found.x)
    level = beta * noise
    assert error == pytest.approx(min(variance, level), rel=1e-3)
    assert rate == pytest.approx(max(0.0, 0.5 * math.log(variance / level)), abs=1e-3)
    assert found.x[1] ** 2 == pytest.approx(max(0.0, variance - level), abs=2e-2)


def test_the_answers_with_numbers_are_right() -> None:
    answers = TEXT[BOOK / "11-answers.md"]
    numbers = {
        "= 1.81$ nats": 0.5 * (0.01 - 1 - math.log(0.01)),
        "= -3.29$": 0.01 + math.log(0.1) - 1,
        "= 0.83$ nats": -0.5 * math.log(1 - 0.9**2),
        "= 1.39$ nats": 0.5 * math.log(8) + 0.5 * math.log(2),
        "= 0.35$": 0.5 * math.log(2),
        "1.23\\, R": 12_288 * 0.0001,
    }
    for said, value in numbers.items():
        assert said in answers
        assert float(re.search(r"-?[\d.]+", said)[0]) == pytest.approx(value, abs=0.005)  # type: ignore[index]
    for said, count in (("33{,}554{,}496", 524_288 * 64 + 64), ("1{,}048{,}832", 4_096 * 256 + 256)):
        assert said in answers
        assert int(said.replace("{,}", "")) == count


def test_measurements_are_those_of_the_atlas_and_of_the_card() -> None:
    def rows(text: str) -> dict[str, list[str]]:
        cells = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
        ]
        return {row[0]: row[1:] for row in reversed(cells)}  # of rows with one name the first counts

    atlas = rows(TEXT[DOCS / "atlas.md"])
    for chapter, names in (
        ("06-beta", ("rate, nats", "squared error a picture", "coverage from the prior", "decoder jump")),
        ("08-latent-space", ("MIG", "DCI disentanglement", "InfoM", "InfoC")),
    ):
        here = rows(TEXT[BOOK / f"{chapter}.md"])
        for name in names:
            assert here[name] == atlas[name][: len(here[name])]
    card = (ROOT / "src/betabloom/bundled/flowers64/README.md").read_text(encoding="utf-8")
    for value in re.findall(r"\| ([\d.]+ \[[\d.]+, [\d.]+\]) \|$", TEXT[BOOK / "05-priors.md"], re.MULTILINE):
        assert f"| {value} |" in card


@pytest.mark.slow
def test_the_api_has_every_public_name_and_no_empty_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS / "book"))
    import api

    pages = api.api_pages()
    assert set(re.findall(r"^## (\w+)$", pages["betabloom"], re.MULTILINE)) == set(betabloom.__all__)
    assert all("\n## " in pages[room] for room in api.ROOMS)
    assert "**Arguments**" in pages["betabloom"]
    assert all("object at 0x" not in text for text in pages.values())


@pytest.mark.slow
def test_the_site_is_made_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("material")
    pytest.importorskip("pypandoc")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"))
    build(config)
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 60
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"""<(?:script|link|img|iframe)[^>]*(?:src|href)=["'](?:https?:)?//[^"']+""", text), page
        assert "FORMULA" not in re.sub(r"[A-Z_]*FORMULA[A-Z_]+", "", text) or "source" in page.parts
    assert "<math" in (tmp_path / "site/book/02-elbo.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_pdf_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pypandoc")
    pytest.importorskip("typst")
    monkeypatch.syspath_prepend(str(TOOLS / "book"))
    import pdf

    monkeypatch.setattr(sys, "argv", ["pdf.py", "-o", str(tmp_path / "book.pdf")])
    pdf.main()
    made = (tmp_path / "book.pdf").read_bytes()
    assert made.startswith(b"%PDF")
    assert len(made) < 5_000_000
