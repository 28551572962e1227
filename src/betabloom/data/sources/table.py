"""A table of paths and labels: a .csv, .tsv or .jsonl file."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.data.sources.encoded import Encoded, natural, stamp_of
from betabloom.errors import PictureError, SourceError
from betabloom.system.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["SUFFIXES", "Table"]

SUFFIXES = (".csv", ".tsv", ".jsonl")
_PATHS = ("path", "file", "filename", "file_name", "filepath", "image", "picture")
_LABELS = ("label", "class", "category", "species", "label_name", "class_name")
_MOST = 256 << 20  # bytes of a table


class Table(Encoded):
    """Pictures that a table names, one a row, in the order of the rows.

    The columns are found by their names: `path` (or file, filename, file_name, filepath, image, picture) and, if there
    is one, `label` (or class, category, species). A .csv or .tsv file without such a heading has the path in its first
    column and, if there is one, the label in its second. Paths start at the table's folder. A second row with the same
    path is kept and named "path (row N)".

    Arguments:
        path: The table; it and the pictures are only read.
        background: The colour seen through transparent pixels: a name, or "#rrggbb".
        min_size: Leave out pictures with a side of fewer pixels.

    Raises:
        SourceError: The table cannot be read, or names no pictures.
        UsageError: There is no such colour or size.
    """

    def __init__(self, path: str | os.PathLike[str], *, background: str = "white", min_size: int = 0) -> None:
        super().__init__(background=background, min_size=min_size)
        self.path = local_path(path)
        self.name = self.path.stem
        self.splits = {}
        rows = _rows(self.path)
        if not rows:
            raise SourceError(f"no pictures in '{self.path}': it has no rows")
        self._paths = [row[0] for row in rows]
        self.names = _unique(self._paths)
        labels = [row[1] for row in rows]
        if any(labels):
            self.label_names = sorted({label or "(none)" for label in labels}, key=natural)
            index = {name: i for i, name in enumerate(self.label_names)}
            self.labels = np.array([index[label or "(none)"] for label in labels], dtype=np.int64)

    def open(self, index: int) -> Path:
        """Return the path of picture `index`."""
        path = self._paths[index]
        if "://" in path:
            raise PictureError("a web address; download it first")
        if "\0" in path:
            raise PictureError("not a path")
        return self.path.parent / os.path.expanduser(path)  # noqa: PTH111  # Path's raises where there is no such user

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


def _rows(path: Path) -> list[tuple[str, str]]:
    """Read the rows as (path, label), the label empty where there is none."""
    try:
        if path.stat().st_size > _MOST:
            raise SourceError(f"'{path}' is larger than {_MOST >> 20} MB: cut it into several tables")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SourceError(f"'{path}' cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"'{path}' is not text in UTF-8: save it as UTF-8") from error
    return _json_rows(path, text) if path.suffix.lower() == ".jsonl" else _csv_rows(path, text)


def _json_rows(path: Path, text: str) -> list[tuple[str, str]]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"'{path}', line {number} is not JSON: {error}") from error
        if not isinstance(row, dict) or (key := _column(row, _PATHS)) is None:
            raise SourceError(f"""'{path}', line {number} should be like {{"path": "a.jpg", "label": "rose"}}""")
        rows.append((str(row[key]), _text(row.get(_column(row, _LABELS) or ""))))
    return rows


def _csv_rows(path: Path, text: str) -> list[tuple[str, str]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(text)
    try:
        lines = [row for row in csv.reader(text.splitlines(keepends=True), delimiter=delimiter) if any(row)]
    except csv.Error as error:
        raise SourceError(f"'{path}' cannot be read as a table: {error}") from error
    if not lines:
        return []
    heading = {name.strip(): place for place, name in enumerate(lines[0])}
    of_path, of_label = _column(heading, _PATHS), _column(heading, _LABELS)
    if of_path is not None:
        lines, first, second = lines[1:], heading[of_path], heading.get(of_label or "", len(heading) + 1)
    elif Path(lines[0][0]).suffix:
        first, second = 0, 1
    else:
        raise SourceError(f"'{path}' has no column 'path': its first line is {', '.join(lines[0])[:80]}")
    return [(row[first], row[second].strip() if second < len(row) else "") for row in lines if first < len(row)]


def _delimiter(text: str) -> str:
    first = text.partition("\n")[0]
    return ";" if first.count(";") > first.count(",") else ","


def _column(names: Mapping[str, Any], wanted: Sequence[str]) -> str | None:
    by_name = {name.lower(): name for name in names}
    return next((by_name[name] for name in wanted if name in by_name), None)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _unique(paths: Sequence[str]) -> list[str]:
    seen: set[str] = set()
    names = []
    for row, path in enumerate(paths, 1):
        name = path if path not in seen else f"{path} (row {row})"
        seen.add(name)
        names.append(name)
    return names
