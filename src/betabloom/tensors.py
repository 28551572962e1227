"""Tensors on disk: safetensors files, which can hold numbers and nothing else.

A file that is read may come from anywhere. Names, shapes, types and the size of the file are compared with what is
expected before anything is allocated, and every number is checked before it is used.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from betabloom.durable import sha256
from betabloom.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from torch import Tensor

__all__ = ["read_tensors", "write_tensors"]

LARGEST_HEADER = 1 << 22  # bytes; a model of a thousand tensors has a tenth of that
TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> str:
    """Write tensors to a file, and return its hash.

    Raises:
        OSError: It cannot be written.
    """
    try:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) if number else OSError(error) from error
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)  # safetensors writes files that nobody else can read
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
    try:
        found, size = _header(path)
        wanted = {name: (tuple(value.shape), value.dtype) for name, value in expected.items()}
        known = {name: entry for name, entry in wanted.items() if name in found or name not in optional}
        if found != known:
            name = min(name for name in found.keys() | known.keys() if found.get(name) != known.get(name))
            raise FormatError(f"{path} does not fit its settings, first at {name[:100]!r}.")
        if path.stat().st_size != size + sum(expected[name].nbytes for name in found):
            raise FormatError(f"{path} is damaged: its size is not that of its tensors.")
        if sha256(path) != digest:
            raise FormatError(f"{path} is damaged: its hash is not the one that was noted for it.")
        tensors = load_file(path)
    except FileNotFoundError:
        raise FormatError(f"{path} is missing.") from None
    except (SafetensorError, OSError) as error:
        raise FormatError(f"{path} is damaged: {error}") from error
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise FormatError(f"{path} is damaged: {name!r} has values that no training leaves.")
    return tensors


def _header(path: Path) -> tuple[dict[str, tuple[tuple[int, ...], torch.dtype | None]], int]:
    """Names, shapes and types in the header of a safetensors file, and the bytes before its data.

    The format: 8 bytes N, little-endian; N bytes of JSON; the data (https://github.com/huggingface/safetensors).
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > LARGEST_HEADER:
            raise FormatError(f"{path} is damaged: it is no safetensors file, or its header is of {length:,} bytes.")
        text = file.read(length)
    try:
        entries = json.loads(text)
        found = {
            name: (tuple(map(int, entry["shape"])), TYPES.get(entry["dtype"]))
            for name, entry in entries.items()
            if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise FormatError(f"{path} is damaged: it does not begin as a safetensors file does.") from None
    return found, 8 + length
