"""Codes on disk: what an encoder made of pictures, to be decoded whenever.

A code file is a NumPy `.npz` without pickle: `mean` and `log_var` float32 (N, l), `names` (N,), `labels` int64 (N,) if
there are any, `model` (the fingerprint of the model that reads them) and `format_version`.
"""

from __future__ import annotations

import math
import tokenize
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.errors import FormatError, UsageError
from betabloom.system.atomic import replacing_file

if TYPE_CHECKING:
    import os

__all__ = ["Codes", "load_codes", "save_codes"]

FORMAT_VERSION = 1
DAMAGED = (  # what zipfile and NumPy raise for files that are none
    OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RuntimeError, SyntaxError,
    zipfile.BadZipFile, tokenize.TokenError,
)  # fmt: skip


@dataclass(frozen=True)
class Codes:
    """Posteriors of N pictures.

    Attributes:
        mean: μ, float32 (N, l).
        log_var: log σ², float32 (N, l).
        names: The pictures' names.
        model: Fingerprint of the model.
        labels: Class indices (N,), or None.
    """

    mean: np.ndarray
    log_var: np.ndarray
    names: list[str]
    model: str
    labels: np.ndarray | None = None


def save_codes(codes: Codes, path: str | os.PathLike[str]) -> None:
    """Write a code file, whole or not at all."""
    path = Path(path)
    arrays: dict[str, Any] = {
        "format_version": np.array(FORMAT_VERSION),
        "model": np.array(codes.model),
        "mean": codes.mean,
        "log_var": codes.log_var,
        "names": np.array(codes.names, dtype=np.str_),
        **({} if codes.labels is None else {"labels": np.asarray(codes.labels, np.int64)}),
    }
    with replacing_file(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)


def load_codes(path: str | os.PathLike[str]) -> Codes:
    """Read a code file.

    Raises:
        UsageError: There is none.
        FormatError: It is not one, or is damaged or of another version.
    """
    try:
        with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            _check_members(file.zip)
            version = int(file["format_version"])
            if version != FORMAT_VERSION:
                raise FormatError(f"{path} has format version {version}; this betabloom reads {FORMAT_VERSION}.")
            labels = file.get("labels", None)
            codes = Codes(file["mean"], file["log_var"], file["names"].tolist(), str(file["model"]), labels)
    except FileNotFoundError:
        raise UsageError(f"There is no file {path}.") from None
    except DAMAGED as error:
        raise FormatError(f"{path} is not a code file made by `betabloom encode`.") from error
    if codes.mean.ndim != 2 or codes.mean.shape != codes.log_var.shape or len(codes.names) != len(codes.mean):
        raise FormatError(f"{path} is damaged: its arrays do not fit together.")
    return codes


def _check_members(archive: zipfile.ZipFile) -> None:
    """Raise `ValueError` for members that would take more memory than the file takes on the disk."""
    for member in archive.infolist():
        if member.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{member.filename} is compressed")
        with archive.open(member) as file:
            np.lib.format.read_magic(file)
            shape, _, kind = np.lib.format.read_array_header_1_0(file)
            if math.prod(shape) * kind.itemsize > member.file_size:
                raise ValueError(f"{member.filename} is shorter than it says")
