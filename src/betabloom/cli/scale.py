"""The commands for many pictures: prepare them before training, write them as shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from betabloom.cli.command import Option
from betabloom.cli.data import Size
from betabloom.cli.options import (
    Channels,
    Json,
    ReadingOptions,
    SourceArgument,
    SpreadOptions,
    counted,
    print_result,
)
from betabloom.errors import UsageError

__all__ = ["prepare", "shard"]

KEPT = "Stopped. What is prepared is kept; type the same again to go on."


def prepare(
    source: SourceArgument = None,
    size: Size = "64",
    pipeline: Annotated[str, Option(help="A name, steps like crop:150%,blur:1, or a .yaml file.")] = "square",
    channels: Channels = None,
    *,
    reading: ReadingOptions,
    spread: SpreadOptions,
    as_json: Json = False,
) -> None:
    """Prepare pictures now, so that a training on them begins at once. An interrupted preparation goes on.

    Examples:
      betabloom prepare photos --size 64
      betabloom prepare photos --size 128 --processes 16
    """
    from betabloom import data
    from betabloom.config import parse_size
    from betabloom.data.store.spread import Spread
    from betabloom.system.console import progress
    from betabloom.system.signals import when_stopped

    spec = data.resolved(source or "flowers102")
    opened = data.open_source(spec, **reading.settings())
    made = data.Pipeline.parse(pipeline, parse_size(size), channels or 3)
    work = Spread(spec, spread.processes, spread.ray) if spread.asked else None
    with when_stopped(lambda: KEPT), progress("preparing", "pictures") as report:
        store = data.prepare(opened, made, progress=report, spread=work)
    skipped = f", {len(store.skipped):,} left out" if store.skipped else ""
    print_result(
        as_json, f"{counted(len(store), 'picture')} prepared{skipped}: {store.path}",
        made=str(store.path), n=len(store), skipped=len(store.skipped), fingerprint=store.fingerprint,
    )  # fmt: skip


def shard(
    source: SourceArgument = None,
    out: Annotated[Path | None, Option("-o", "--out", help="Folder for the shards.", default="shards")] = None,
    part: Annotated[
        str | None, Option(metavar="I/N", help="Only the I-th of N shares of the shards, for a job array.")
    ] = None,
    per_shard: Annotated[int, Option(minimum=1, help="Pictures in a shard, at most.")] = 1024,
    form: Annotated[str, Option("--format", help="tar (WebDataset) or parquet (Hugging Face).")] = "tar",
    size: Annotated[
        str | None, Option(help="Prepare the pictures at this size instead of copying their files.")
    ] = None,
    pipeline: Annotated[str, Option(help="With --size: what prepares them.")] = "square",
    channels: Channels = None,
    *,
    reading: ReadingOptions,
    spread: SpreadOptions,
    as_json: Json = False,
) -> None:
    """Write pictures as shards, to train on as a stream. What is there already is left alone; the manifest comes last.

    Then type: betabloom train 'shards/part-*.tar' --steps 20000

    Examples:
      betabloom shard photos -o shards/
      betabloom shard photos -o shards/ --size 64 --processes 16
      betabloom shard photos -o shards/ --part 3/10       # the third of ten jobs
    """
    from betabloom import data
    from betabloom.config import parse_size
    from betabloom.data.store.sharding import plan_shards, shard_source
    from betabloom.system.console import progress

    spec, folder = data.resolved(source or "flowers102"), out or Path("shards")
    opened = data.open_source(spec, **reading.settings())
    steps = None if size is None else data.Pipeline.parse(pipeline, parse_size(size), channels or 3)
    plan = plan_shards(spec, opened, per_shard=per_shard, form=form, pipeline=steps)
    with progress("writing", "shards") as report:
        manifest = shard_source(
            plan, folder, share=_share(part), processes=spread.processes, ray=spread.ray, progress=report
        )
    facts: dict[str, Any] = {"made": str(folder), "shards": plan.parts, "complete": manifest is not None}
    if manifest is None:
        print_result(as_json, f"A share of {counted(plan.parts, 'shard')}: {folder}", **facts)
        return
    left_out = f", {len(manifest['skipped']):,} left out" if manifest["skipped"] else ""
    print_result(
        as_json,
        f"{counted(manifest['pictures'], 'picture')} in {counted(plan.parts, 'shard')}{left_out}: {folder}. "
        f"Train on them: betabloom train '{folder}/part-*.{form}' --steps 20000",
        **facts, n=manifest["pictures"], skipped=len(manifest["skipped"]),
    )  # fmt: skip


def _share(part: str | None) -> tuple[int, int]:
    """What --part says."""
    if part is None:
        return 1, 1
    first, _, last = part.partition("/")
    if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
        raise UsageError(f"--part is I/N with I from 1 to N, as 3/10, not {part[:40]}.")
    return int(first), int(last)
