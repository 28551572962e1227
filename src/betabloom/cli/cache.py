"""The commands that show and free the cache of prepared pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from betabloom.cli.command import Argument, Option
from betabloom.cli.options import Json, aligned, print_lines, print_result

if TYPE_CHECKING:
    from betabloom.data.store.cache import Entry

__all__ = ["clear", "list_"]


def list_(as_json: Json = False) -> None:
    """Show which prepared pictures are kept, and how much space they take."""
    from betabloom.data.store.cache import cache_folder, entries

    found = entries()
    size = sum(entry.bytes for entry in found)
    total = f"{len(found)} in {cache_folder()}, {_size(size)}"
    print_lines(
        as_json,
        [*_table(found), total + (". Free it: betabloom cache clear" if found else "")],
        cache=str(cache_folder()), bytes=size, stores=[_facts(entry) for entry in found],
    )  # fmt: skip


def clear(
    name: Annotated[str | None, Argument("Remove only those of this source, or the one with this key.")] = None,
    older_than: Annotated[float, Option(metavar="DAYS", minimum=0, help="Remove only what is older.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Remove prepared pictures; they are prepared again when they are needed. Originals are not touched."""
    from betabloom.data.store.cache import clear
    from betabloom.errors import UsageError

    removed, busy = clear(source=name, older_than=older_than)
    if name is not None and not removed and not busy and not older_than:
        raise UsageError(f"there are no prepared pictures of '{name}'. To see what there is: betabloom cache list")
    size = sum(entry.bytes for entry in removed)
    left = f"; {busy} kept because they are in use" if busy else ""
    print_result(
        as_json, f"Removed {len(removed)}, {_size(size)}{left}.",
        bytes=size, busy=busy, removed=[_facts(entry) for entry in removed],
    )  # fmt: skip


def _facts(entry: Entry) -> dict[str, Any]:
    return {
        "key": entry.key, "path": str(entry.path), "complete": entry.complete, "source": entry.source,
        "pipeline": entry.pipeline, "shape": list(entry.shape), "bytes": entry.bytes, "date": _date(entry.used),
    }  # fmt: skip


def _table(found: list[Entry]) -> list[str]:
    if not found:
        return []
    rows = [("source", "pictures", "size", "pipeline", "on disk", "date", "key")]
    for entry in found:
        count, height, width = (str(n) for n in (entry.shape or ("", "", ""))[:3])
        state = entry.pipeline if entry.complete else "(not finished)"
        size = f"{width}×{height}" if count else ""
        rows.append((entry.source, count, size, state, _size(entry.bytes), _date(entry.used)[:16], entry.key[:8]))
    return aligned(rows)


def _date(seconds: float) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(seconds).astimezone().isoformat(sep=" ", timespec="seconds")


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
