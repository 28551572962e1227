"""A table of paths and labels: a .csv, .tsv or .jsonl file."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.data.pictures.opening import readable_suffixes
from betabloom.data.sources.encoded import Encoded, natural, stamp_of
from betabloom.errors import PictureError, SourceError, UsageError
from betabloom.system.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from typing_extensions import Unpack

    from betabloom.data.pictures.reading import ReadingOptions

__all__ = ["LABELS", "PATHS", "SUFFIXES", "Row", "Table", "rows_in"]

SUFFIXES = (".csv", ".tsv", ".jsonl")
PATHS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "picture", "image_path", "img")
LABELS = ("label", "class", "category", "species", "label_name", "class_name")
_MOST = 256 << 20  # bytes of a table
_LOOKED_AT = 50  # rows that tell what a column holds


@dataclass(frozen=True)
class Row:
    """One row of a table; `path` or `label` is empty where it has none. `number` counts from 1, without a heading."""

    number: int
    path: str
    label: str


class Table(Encoded):
    """Pictures that a table names, one a row, in the order of the rows.

    The columns are found by their names: `path` (or file, filename, image …: see `PATHS`) and, if there is one, `label`
    (or class, category, species: see `LABELS`). Of several columns that may be meant, or where no name fits, the first
    that holds names of pictures is taken. A .csv or .tsv file without a heading has the path in the first column that
    holds such names and the label in the next one. Paths start at the table's folder; those written on Windows, with
    backslashes, are understood. A second row with the same path is named "path (row N)", a row without one "row N".

    Arguments:
        path: The table; it and the pictures are only read.
        options: How pictures are read and which are left out; see `Reading`.

    Raises:
        SourceError: The table cannot be read, or names no pictures.
        UsageError: An option has no such value.
    """

    def __init__(self, path: str | os.PathLike[str], **options: Unpack[ReadingOptions]) -> None:
        super().__init__(**options)
        self.path = local_path(path)
        self.name = self.path.stem
        self.splits = {}
        rows, notes = rows_in(str(self.path), _text_of(self.path))
        kept = [row for row in rows if not self.reading.excludes(row.path.replace("\\", "/"))]
        if not kept:
            raise SourceError(f"no pictures in '{self.path}': it has no rows" + (" but excluded ones" if rows else ""))
        self.notes = notes
        if len(kept) < len(rows):
            self.left_alone = {"excluded": len(rows) - len(kept)}
        self._rows = kept
        self.names = _unique(kept)
        if any(row.label for row in kept):
            labels = [row.label or "(none)" for row in kept]
            self.label_names = sorted(set(labels), key=natural)
            index = {name: i for i, name in enumerate(self.label_names)}
            self.labels = np.array([index[label] for label in labels], dtype=np.int64)

    def open(self, index: int) -> Path:
        """Return the path of picture `index`."""
        row = self._rows[index]
        if not row.path.strip():
            raise PictureError(f"row {row.number} of the table has no path")
        path = _of_address(row.path.strip()) if row.path.strip().lower().startswith("file:") else row.path
        if "://" in path:
            raise PictureError("a web address; download it first")
        if "\0" in path:
            raise PictureError("not a path")
        return _existing(self.path.parent, path)

    def fingerprint(self) -> str:
        """Digest the rows, and what tells the files apart that they name."""
        classes = "" if self.labels is None else f"{self.label_names}{self.labels.tolist()}"
        return self._digest(f"table:{classes}", [self._stat(index) for index in range(len(self))])

    def _stat(self, index: int) -> tuple[int, ...]:
        try:
            status = self.open(index).stat()
        except (OSError, ValueError, PictureError):
            return -1, 0
        return stamp_of(status)


def _existing(folder: Path, path: str) -> Path:
    """Return the file that a cell means: as it is written, without spaces around, or with Windows' backslashes."""
    slashes = path.replace("\\", "/")
    ways = [folder / os.path.expanduser(way) for way in (path, path.strip(), slashes, slashes.strip())]  # noqa: PTH111
    return next((way for way in ways if os.path.lexists(way)), ways[0])  # Path.expanduser raises for unknown users


def _of_address(address: str) -> str:
    try:
        return str(local_path(address))
    except UsageError as error:
        raise PictureError(str(error)) from None


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST:
            raise SourceError(f"'{path}' is larger than {_MOST >> 20} MB: cut it into several tables")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SourceError(f"'{path}' cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"'{path}' is not text in UTF-8: save it as UTF-8") from error


def rows_in(name: str, text: str) -> tuple[list[Row], list[str]]:
    """Read the rows of a table, and notes on what of it is not read.

    Arguments:
        name: Its path, whose ending tells the format.
        text: Its content.

    Raises:
        SourceError: It is damaged, or no column holds paths; the message names the line.
    """
    lines = _json_lines(name, text) if name.lower().endswith(".jsonl") else _csv_lines(name, text)
    if not lines:
        return [], []
    of_path, others = _path_column(name, lines)
    of_label = _named(lines[0], LABELS)
    if of_label is None and "" in lines[0]:  # without a heading: the column behind that of the paths
        of_label = next((column for column in lines[0] if column > of_path and column != ""), None)
    rows = [
        Row(number, path, line.get(of_label or "", "").strip() if path.strip() else "")
        for number, line in enumerate(lines, 1)
        for path in (line.get(of_path, ""),)
    ]
    notes = [f"paths are read from the column '{of_path}'; '{other}' holds some too" for other in others]
    return rows, notes


def _path_column(name: str, lines: Sequence[Mapping[str, str]]) -> tuple[str, list[str]]:
    """Return the column of the paths, and others with a name or content like it."""
    columns = list(dict.fromkeys(column for line in lines[:_LOOKED_AT] for column in line if column))
    holding = [column for column in columns if _holds_pictures(line.get(column, "") for line in lines[:_LOOKED_AT])]
    by_name = [column for wanted in PATHS for column in columns if column.lower() == wanted]
    choices = [*(column for column in by_name if column in holding), *by_name, *holding]
    if not choices:
        found = ", ".join(columns)[:80]
        hint = """; write {"path": "a.jpg", "label": "rose"}""" if name.lower().endswith(".jsonl") else ""
        raise SourceError(f"'{name}' has no column 'path', nor one that holds names of pictures: it has {found}{hint}")
    return choices[0], [column for column in holding if column != choices[0]]


def _holds_pictures(cells: Iterator[str]) -> bool:
    filled = [cell for cell in cells if cell.strip()]
    return bool(filled) and 2 * sum(_is_picture(cell) for cell in filled) >= len(filled)


def _is_picture(cell: str) -> bool:
    return os.path.splitext(cell.strip())[1].lower() in readable_suffixes()  # noqa: PTH122


def _named(names: Mapping[str, Any], wanted: Sequence[str]) -> str | None:
    by_name = {name.lower(): name for name in names}
    return next((by_name[name] for name in wanted if name in by_name), None)


def _json_lines(name: str, text: str) -> list[dict[str, str]]:
    lines = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"'{name}', line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise SourceError(f"""'{name}', line {number} should be like {{"path": "a.jpg", "label": "rose"}}""")
        lines.append({key: "" if value is None else str(value) for key, value in row.items()})
    return lines


def _csv_lines(name: str, text: str) -> list[dict[str, str]]:
    """Read lines as {column: cell}; without a heading the columns are called by their numbers, and "" marks that."""
    delimiter = "\t" if name.lower().endswith(".tsv") else _delimiter(text)
    try:
        # Only the ends of lines that the format knows: str.splitlines would also cut at U+2028 and others in a cell.
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        raise SourceError(f"'{name}' cannot be read as a table: {error}") from error
    lines = [line for line in lines if any(line)]
    if not lines:
        return []
    heading = [column.strip() for column in lines[0]]
    if not _named(dict.fromkeys(heading), PATHS) and (any(map(_is_picture, heading)) or Path(lines[0][0]).suffix):
        return [{"": "", **{f"{place:04}": cell for place, cell in enumerate(line)}} for line in lines]
    return [{column: cell for column, cell in zip(heading, line, strict=False) if column} for line in lines[1:]]


def _delimiter(text: str) -> str:
    first = text.partition("\n")[0]
    return max(",;\t|", key=first.count)


def _unique(rows: Sequence[Row]) -> list[str]:
    seen: set[str] = set()
    names = []
    for row in rows:
        name = row.path if row.path.strip() else f"row {row.number}"
        if name in seen:
            name = f"{name} (row {row.number})"
        seen.add(name)
        names.append(name)
    return names
