"""Many short texts in one memory-mapped file, for what does not fit in memory: names, reasons.

    count N (uint64) | N + 1 offsets into the texts (uint64) | the texts in UTF-8, one after the other

Little-endian. File names that are not valid text (lone surrogates) survive.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["Texts", "write_texts"]

_AT_ONCE = 512


def write_texts(path: Path, texts: Iterable[str], count: int) -> None:
    """Write `count` texts, reading them once and keeping few of them in memory.

    Raises:
        ValueError: There are more or fewer.
    """
    texts, written, end = iter(texts), 0, 0
    with path.open("wb") as blob, path.open("rb+") as table:
        table.write(np.array([count, 0], dtype="<u8").tobytes())
        blob.seek(8 * (count + 2))
        while chunk := [text.encode("utf-8", "surrogatepass") for text in itertools.islice(texts, _AT_ONCE)]:
            written += len(chunk)
            if written > count:
                break
            ends = end + np.cumsum([len(text) for text in chunk], dtype=np.uint64)
            table.write(ends.astype("<u8").tobytes())
            blob.write(b"".join(chunk))
            end = int(ends[-1])
    if written != count:
        raise ValueError(f"{count} texts were announced, and {'more' if written > count else written} were given")


class Texts(Sequence[str]):
    """The texts of a file that `write_texts` wrote, read when they are asked for.

    Raises:
        ValueError: The file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        content = np.memmap(path, dtype=np.uint8, mode="r")
        count = int(content[:8].view("<u8")[0]) if len(content) >= 16 else -1
        if not 0 <= count <= (len(content) - 16) // 8:
            raise ValueError(f"{path.name} is cut short")
        start = 8 * (count + 2)
        self._offsets, self._texts = content[8:start].view("<u8"), content[start:]
        if self._offsets[0] != 0 or int(self._offsets[-1]) != len(self._texts):
            raise ValueError(f"{path.name} is cut short")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        return self._between(int(self._offsets[place]), int(self._offsets[place + 1]))

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _AT_ONCE):
            ends = self._offsets[first : first + _AT_ONCE + 1].tolist()
            for start, end in itertools.pairwise(ends):
                yield self._between(start, end)

    def __repr__(self) -> str:
        return f"<{len(self)} texts in '{self._path}'>"

    def _between(self, start: int, end: int) -> str:
        return self._texts[start:end].tobytes().decode("utf-8", "surrogatepass")
