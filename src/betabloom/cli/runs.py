"""The commands that look at runs: list them, and write a page about one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from betabloom.cli.command import Argument, Option
from betabloom.cli.options import Force, Json, aligned, free_path, print_lines, print_result

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["report", "runs"]


def runs(
    folder: Annotated[Path, Argument("Where runs are.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List the runs in a folder with their figures, the newest last."""
    from betabloom.errors import UsageError

    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}. Name the one that runs are in: betabloom runs FOLDER")
    found = [_figures(path.parent) for path in sorted(folder.glob("*/config.yaml"), key=lambda p: p.stat().st_mtime)]
    print_lines(as_json, _table(found) if found else [f"There are no runs in {folder}."], runs=found)


def report(
    run: Annotated[Path, Argument("A run directory, finished or not.", "RUN")],
    out: Annotated[
        Path | None, Option("-o", "--out", help="Where to write the page; RUN/report.html by default.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML page about a run: advice, curves, pictures, measures, settings."""
    from betabloom.errors import UsageError
    from betabloom.reports.run_page import report_html
    from betabloom.system.atomic import write_text

    if not (run / "config.yaml").is_file():
        raise UsageError(f"{run} is not a run directory: it has no config.yaml. To see what there is: betabloom runs")
    path = free_path(out or run / "report.html", "report.html", force, (".html",))
    text = report_html(run)
    write_text(path, text, synced=False)
    print_result(as_json, f"Report on {run}: {path}", made=str(path), run=str(run), bytes=path.stat().st_size)


def _figures(run: Path) -> dict[str, Any]:
    """What is known about a run, from its small files."""
    from betabloom.stages.record import is_open, read_entries
    from betabloom.training.checkup import read_advice
    from betabloom.training.run_folder import read_records

    records = read_records(run)
    last: Mapping[str, Any] = next((r for r in reversed(records) if r["split"] == "validation"), {})
    steps = [r["step"] for r in records if r["split"] in ("train", "validation")]
    advice = read_advice(run) or []
    stages = read_entries(run)
    return {
        "run": str(run),
        "finished": (run / "model" / "config.json").is_file() and not (stages and is_open(run)),
        "stages": [entry.stage for entry in stages],
        "steps": steps[-1] if steps else 0,
        "seconds": records[-1]["seconds"] if records else 0.0,
        **{name: last.get(name) for name in ("loss", "distortion", "rate", "beta", "active_units")},
        "advice": [each.illness for each in advice],
    }


def _table(found: list[dict[str, Any]]) -> list[str]:
    from betabloom.system.console import duration

    rows: list[tuple[str, ...]] = [("run", "state", "steps", "time", "β", "distortion", "rate", "active", "advice")]
    for facts in found:
        measured = [_short(facts[name]) for name in ("beta", "distortion", "rate", "active_units")]
        rows.append((
            shlex.quote(facts["run"]), _state(facts), f"{facts['steps']:,}",
            duration(facts["seconds"]), *measured, ", ".join(facts["advice"]) or "none",
        ))  # fmt: skip
    return aligned(rows)


def _state(facts: dict[str, Any]) -> str:
    """Whether a run is finished, or the stage that was the last to be done."""
    if facts["finished"]:
        return "finished"
    return f"open, after {facts['stages'][-1]}" if facts["stages"] else "open"


def _short(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
