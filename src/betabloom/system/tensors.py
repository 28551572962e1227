"""Tensors on disk: safetensors files, which can hold numbers and nothing else.

A file that is read may come from anywhere. Names, shapes, types and the size of the file are compared with what is
expected before anything is allocated, and every number is checked before it is used.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from betabloom.errors import FormatError
from betabloom.system.atomic import sha256
from betabloom.system.header import check_file

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from torch import Tensor

    from betabloom.system.header import Entry

__all__ = ["entry_of", "read_tensors", "write_tensors"]

TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
CODES = {kind: code for code, kind in TYPES.items()}


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> str:
    """Write tensors to a file, and return its hash.

    Raises:
        OSError: It cannot be written.
    """
    path.touch()
    mode = path.stat().st_mode  # safetensors makes files that nobody else can read
    try:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) if number else OSError(error) from error
    path.chmod(mode)
    return sha256(path)


def read_tensors(
    path: Path, expected: Mapping[str, Tensor], digest: str, optional: Collection[str] = ()
) -> dict[str, Tensor]:
    """Read tensors whose names, shapes and types are those of `expected`, from a file with the expected hash.

    Arguments:
        path: The file.
        expected: Tensors of any device, "meta" too.
        digest: The SHA-256 of the file.
        optional: Names that may be missing.

    Raises:
        FormatError: It is missing, damaged, larger than expected, or holds something else.
    """
    check_file(path, {name: entry_of(value) for name, value in expected.items()}, digest, optional)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise FormatError(f"{path} is damaged: {error}") from error
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise FormatError(f"{path} is damaged: {name!r} contains NaN or infinite values.")
    return tensors


def entry_of(tensor: Tensor) -> Entry:
    """Shape and type of a tensor."""
    return tuple(tensor.shape), CODES[tensor.dtype]
