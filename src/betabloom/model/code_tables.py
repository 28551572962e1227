"""Codes in the formats that other programs read: CSV and Parquet tables, and NumPy arrays of one's own.

A table has the columns `name`, `label` (if there are labels; `class` too, if the classes have names), z0 … z{l−1} (the
posterior means) and log_var0 … log_var{l−1}. To be decoded, the columns z0, z1 … are enough, or numbers alone.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.errors import FormatError, UsageError
from betabloom.model.codes import Codes, load_codes, save_codes
from betabloom.system.atomic import replacing_file

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

__all__ = ["SUFFIXES", "codes_from_array", "holds_codes", "read_codes", "write_codes"]

SUFFIXES = (".npz", ".csv", ".parquet")
MISSING = "Parquet files need one more package: type pip install 'betabloom[hf]'"


def write_codes(codes: Codes, path: str | os.PathLike[str], label_names: Sequence[str] | None = None) -> None:
    """Write codes as .npz, .csv or .parquet, whole or not at all.

    Arguments:
        codes: The codes.
        path: Its ending says which format.
        label_names: Names of the classes, for the column `class` of a table.

    Raises:
        UsageError: The name ends otherwise, or the package for Parquet is missing.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind == ".npz":
        save_codes(codes, path)
    elif kind == ".csv":
        columns = _columns(codes, label_names)
        with (
            replacing_file(path, synced=False) as part,
            part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
    elif kind == ".parquet":
        table = _pyarrow().table(_columns(codes, label_names), metadata={"betabloom_model": codes.model})
        with replacing_file(path) as part:
            _parquet().write_table(table, part)
    else:
        raise UsageError(f"Codes are written as {', '.join(SUFFIXES)}, not as {path.name}.")


def _columns(codes: Codes, label_names: Sequence[str] | None) -> dict[str, Any]:
    """The columns of a table of codes."""
    columns: dict[str, Any] = {"name": list(map(str, codes.names))}
    if codes.labels is not None:
        columns["label"] = [int(each) for each in codes.labels]
        if label_names is not None:
            columns["class"] = [label_names[i] if 0 <= i < len(label_names) else "" for i in columns["label"]]
    columns |= {f"z{i}": column for i, column in enumerate(codes.mean.T)}
    return columns | {f"log_var{i}": column for i, column in enumerate(codes.log_var.T)}


def read_codes(path: str | os.PathLike[str]) -> Codes:
    """Read codes that `write_codes` wrote, or one's own: .csv, .parquet, .npy (N, l), or .npz with one such array.

    Raises:
        UsageError: There is no such file, or the package for Parquet is missing.
        FormatError: It holds no codes.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"There is no file {path}.")
    kind = path.suffix.lower()
    if kind == ".csv":
        return _from_csv(path)
    if kind == ".parquet":
        return _from_parquet(path)
    if kind == ".npy" or (kind == ".npz" and not _is_ours(path)):
        return _from_numpy(path)
    return load_codes(path)


def holds_codes(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one of codes, by its ending, or a table with a column z0 rather than a table of pictures."""
    path = Path(path)
    kind = path.suffix.lower()
    if not path.is_file() or kind not in SUFFIXES:
        return False
    try:
        if kind == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                return "z0" in (name.strip() for name in next(csv.reader(file), []))
        return kind == ".npz" or "z0" in _parquet().read_schema(path).names
    except (ValueError, csv.Error, OSError):  # damaged, or a table in another encoding
        return False


def codes_from_array(array: Any, names: Sequence[str] | None = None, model: str = "") -> Codes:
    """Codes of one's own.

    Arguments:
        array: Finite numbers, (N, l) with N ≥ 1.
        names: N names; "0", "1" … if left out.
        model: Fingerprint of the model that reads them, if it is known.

    Raises:
        UsageError: The array is of another shape, or holds what is not a finite number.
    """
    try:
        mean = np.ascontiguousarray(array, np.float32)
    except (ValueError, TypeError) as error:
        raise UsageError(f"Codes must be numbers of shape (N, latents): {error}.") from None
    if mean.ndim != 2 or 0 in mean.shape:
        raise UsageError(f"Codes must be numbers of shape (N, latents) with N ≥ 1, not {mean.shape}.")
    if not np.isfinite(mean).all():
        raise UsageError("Codes have to be finite numbers; these contain NaN or infinite values.")
    named = [str(i) for i in range(len(mean))] if names is None else list(names)
    return Codes(mean, np.full_like(mean, -np.inf), named, model)


def _from_csv(path: Path) -> Codes:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path} is not a CSV table: {error}.") from error
    if not rows:
        raise FormatError(f"{path} is empty.")
    header = [name.strip() for name in rows[0]]
    if all(map(_is_number, header)):
        return codes_from_array(_numbers(rows, list(range(len(header))), path))
    places = _places(header, path)
    names = [row[header.index("name")] for row in rows[1:]] if "name" in header else None
    return codes_from_array(_numbers(rows[1:], places, path), names)


def _numbers(rows: Sequence[Sequence[str]], places: Sequence[int], path: Path) -> list[list[float]]:
    try:
        return [[float(row[place]) for place in places] for row in rows]
    except (ValueError, IndexError) as error:
        raise FormatError(f"{path} has a row without a number in each of its {len(places)} columns: {error}.") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _places(header: Sequence[str], path: Path) -> list[int]:
    """Where the columns z0, z1 … stand."""
    wanted = [f"z{i}" for i in range(len(header))]
    places = [header.index(name) for name in wanted if name in header]
    if not places or [header[place] for place in places] != wanted[: len(places)]:
        raise FormatError(f"{path} has no columns z0, z1 … of codes. Its columns: {', '.join(header[:12])}.")
    return places


def _from_parquet(path: Path) -> Codes:
    arrow = _pyarrow()
    try:
        table = _parquet().read_table(path)
    except (arrow.ArrowInvalid, OSError) as error:
        raise FormatError(f"{path} is not a Parquet table: {error}.") from error
    header = list(table.column_names)
    mean = np.stack([table.column(place).to_numpy() for place in _places(header, path)], 1)
    names = [str(each) for each in table.column("name").to_pylist()] if "name" in header else None
    model = (table.schema.metadata or {}).get(b"betabloom_model", b"").decode()
    return codes_from_array(mean, names, model)


def _is_ours(path: Path) -> bool:
    """Whether an .npz file has the arrays of a code file."""
    import zipfile

    if not zipfile.is_zipfile(path):
        return True  # let `load_codes` say what is wrong
    with zipfile.ZipFile(path) as archive:
        return "format_version.npy" in archive.namelist()


def _from_numpy(path: Path) -> Codes:
    try:
        with path.open("rb") as opened:
            found = np.load(opened, allow_pickle=False)
            arrays = [found] if isinstance(found, np.ndarray) else [found[name] for name in found.files]
    except (ValueError, OSError, EOFError) as error:
        raise FormatError(f"{path} is not a NumPy file of numbers: {error}") from error
    if len(arrays) != 1:
        raise FormatError(f"{path} holds {len(arrays)} arrays. Save one array of codes, of shape (N, latents).")
    return codes_from_array(arrays[0])


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise UsageError(MISSING) from None
    return pyarrow


def _parquet() -> Any:
    _pyarrow()
    import pyarrow.parquet

    return pyarrow.parquet
