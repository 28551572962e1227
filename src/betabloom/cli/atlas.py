"""The command that asks what β does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from betabloom.cli.command import Argument, Option
from betabloom.cli.options import Json, print_result
from betabloom.errors import UsageError

if TYPE_CHECKING:
    from betabloom.config import Config

__all__ = ["atlas"]


def atlas(
    source: Annotated[str, Argument("Pictures to learn from, as for train; drawn has known causes.", "SOURCE")],
    betas: Annotated[str, Option(help="The β to compare, each once; 0 is a plain auto-encoder.")] = "0,0.5,1,2,4,8",
    seeds: Annotated[int, Option(minimum=1, help="Trainings of each β.")] = 3,
    budget: Annotated[
        str | None, Option(help="Time for all trainings, such as 10m; the same command again continues.")
    ] = None,
    steps: Annotated[
        int | None, Option(minimum=1, help="Steps of each training; by default, what the budget allows.")
    ] = None,
    size: Annotated[str, Option(help="Side in pixels, or WIDTHxHEIGHT.")] = "32",
    latents: Annotated[int, Option(minimum=1, help="Number of latent dimensions.")] = 10,
    preset: Annotated[str, Option(help="tiny, flowers64, flowers128 or seed.")] = "tiny",
    settings: Annotated[list[str] | None, Option("--set", metavar="KEY=VALUE", help="Any setting.")] = None,
    device: Annotated[str, Option(help="auto, cpu, cuda, mps …")] = "auto",
    out: Annotated[Path, Option("-o", "--out", help="Folder of the atlas; an existing one is continued.")] = Path(
        "atlas"
    ),
    as_json: Json = False,
) -> None:
    """Train the same network with several β and compare them on one page: what does β do?"""
    from betabloom.config import parse_duration
    from betabloom.library import prepare
    from betabloom.reports.atlas import measure_atlas
    from betabloom.reports.atlas_page import atlas_html, verdict
    from betabloom.reports.atlas_sweep import check_betas, train_sweep
    from betabloom.system.atomic import with_null, write_json, write_text
    from betabloom.system.console import progress

    chosen = check_betas(_numbers(betas))
    config = _config(preset, source, size, {"latents": latents, "device": device, "steps": steps or 0}, settings or [])
    seconds = parse_duration(budget) if budget else 0.0
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file. Name a folder with -o.")
    with progress("preparing", "pictures") as report:
        store = prepare(source, (config.data.height, config.data.width), progress=report)
    with progress("training") as report:
        members = train_sweep(store, config, chosen, out, seeds, seconds, report)
    with progress("measuring", "models") as report:
        found = measure_atlas(members, store, report)
    write_json(out / "measures.json", with_null(found.to_dict()))
    write_text(out / "atlas.html", atlas_html(found))
    missing = len(chosen) * seeds - len(members)
    rest = f" {missing} trainings are missing; the same command goes on." if missing else ""
    print_result(
        as_json, f"{len(members)} trainings compared: {out / 'atlas.html'}.{rest}",
        made=str(out / "atlas.html"), missing=missing, answer=verdict(found), **found.to_dict(),
    )  # fmt: skip


def _numbers(betas: str) -> list[float]:
    """Read 0,0.5,1."""
    try:
        return [float(part) for part in betas.split(",") if part.strip()]
    except ValueError:
        raise UsageError(f"--betas needs numbers with commas between them, as 0,0.5,1,4, not {betas!r}.") from None


def _config(preset: str, source: str, size: str, options: dict[str, Any], settings: list[str]) -> Config:
    from betabloom.config import Config, parse_size

    height, width = parse_size(size)
    pairs = [pair.partition("=") for pair in settings]
    if wrong := [name for name, sign, _ in pairs if not sign or name.rpartition(".")[2] in ("beta", "seed", "budget")]:
        raise UsageError(f"--set needs KEY=VALUE, of a setting other than beta, seed and budget, not {wrong[0]!r}.")
    changes = {name: value for name, _, value in pairs}
    return Config.preset(preset, source=source, height=height, width=width, **options).replace(changes)
