"""What a safetensors file says it holds, compared with what is expected, before anything else of it is read.

Nothing here loads torch, so that a program may check a model without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from betabloom.errors import FormatError
from betabloom.system.atomic import sha256

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

__all__ = ["Entry", "check_file"]

Entry = tuple[tuple[int, ...], str]
"""Shape and type of a tensor, the type as safetensors writes it."""
LARGEST_HEADER = 1 << 22  # bytes; a model of a thousand tensors has a tenth of that


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
        found = _header(path)
        known = {name: entry for name, entry in expected.items() if name in found or name not in optional}
        if found != known:
            name = min(name for name in found.keys() | known.keys() if found.get(name) != known.get(name))
            raise FormatError(f"{path} does not fit its settings, first at {name[:100]!r}.")
        if sha256(path) != digest:
            raise FormatError(f"{path} is damaged: its hash differs from the recorded one.")
    except FileNotFoundError:
        raise FormatError(f"{path} is missing.") from None
    except OSError as error:
        raise FormatError(f"{path} is damaged: {error}") from error


def _header(path: Path) -> dict[str, Entry]:
    """Names, shapes and types of the tensors that a file holds; safetensors sees to it that they fill it exactly."""
    from safetensors import SafetensorError, safe_open  # here, since `info` needs no tensors

    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > LARGEST_HEADER:
        raise FormatError(
            f"{path} is damaged: it is not a safetensors file, or the length of its header is wrong: {length:,} bytes."
        )
    try:
        with safe_open(path, "np") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
            return {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    except SafetensorError as error:
        raise FormatError(f"{path} is damaged: {error}") from None
