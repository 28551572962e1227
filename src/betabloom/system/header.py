"""What a safetensors file says it holds, compared with what is expected, before anything else of it is read.

The format: 8 bytes N, little-endian; N bytes of JSON; the data (https://github.com/huggingface/safetensors). Needs
nothing but the standard library, so that a program may check a model without loading torch.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from betabloom.errors import FormatError
from betabloom.system.atomic import sha256

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

__all__ = ["BYTES", "Entry", "check_file"]

Entry = tuple[tuple[int, ...], str]
"""Shape and type of a tensor, the type as safetensors writes it."""
LARGEST_HEADER = 1 << 22  # bytes; a model of a thousand tensors has a tenth of that
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def check_file(path: Path, expected: Mapping[str, Entry], digest: str, optional: Collection[str] = ()) -> None:
    """Refuse a file that does not hold tensors of these names, shapes and types, or has another hash.

    Arguments:
        path: The file.
        expected: Shape and type by name.
        digest: The SHA-256 of the file.
        optional: Names that may be missing.

    Raises:
        FormatError: It is missing, damaged, larger than expected, or holds something else.
    """
    try:
        found, size = _header(path)
        known = {name: entry for name, entry in expected.items() if name in found or name not in optional}
        if found != known:
            name = min(name for name in found.keys() | known.keys() if found.get(name) != known.get(name))
            raise FormatError(f"{path} does not fit its settings, first at {name[:100]!r}.")
        if path.stat().st_size != size + sum(math.prod(shape) * BYTES[kind] for shape, kind in known.values()):
            raise FormatError(f"{path} is damaged: its size is not that of its tensors.")
        if sha256(path) != digest:
            raise FormatError(f"{path} is damaged: its hash is not the one that was noted for it.")
    except FileNotFoundError:
        raise FormatError(f"{path} is missing.") from None
    except OSError as error:
        raise FormatError(f"{path} is damaged: {error}") from error


def _header(path: Path) -> tuple[dict[str, Entry], int]:
    """Names, shapes and types in the header of a safetensors file, and the bytes before its data."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > LARGEST_HEADER:
            raise FormatError(f"{path} is damaged: it is no safetensors file, or its header is of {length:,} bytes.")
        text = file.read(length)
    try:
        entries = json.loads(text)
        found = {
            name: (tuple(map(int, entry["shape"])), str(entry["dtype"]))
            for name, entry in entries.items()
            if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise FormatError(f"{path} is damaged: it does not begin as a safetensors file does.") from None
    return found, 8 + length
