"""Whose a folder is: only what betabloom wrote is ever replaced or removed.

A folder that betabloom writes as a whole is described by a `FolderKind`. It is told from a person's folder by what is
in it: a file that says what it is, and no file that betabloom does not write.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from betabloom.errors import UsageError
from betabloom.system.atomic import is_leftover
from betabloom.system.console import listed, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["RECORD", "FolderKind", "is_result", "is_sheet", "record_in"]

RECORD = "betabloom"  # the text chunk of a PNG that says how betabloom made it

DESCRIBED = f'{{"{RECORD}": {{'.encode()  # how the EXIF description of a JPEG or WebP begins

_HEAD = 4096  # bytes that are read of every file
_HAS_EXIF, _HAS_XMP = 8, 4  # flags of a WebP
_LONGEST_EXIF = 1 << 16
_LONGEST_XMP = 1 << 17
_COMMENT = 1024  # bytes of a comment that are looked at
_BEFORE = 37  # bytes of a PNG before the name of its second chunk
_LONGEST = 1 << 22  # bytes of a record that are read
_OF_THE_SYSTEM = (".DS_Store", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class FolderKind:
    """A kind of folder that betabloom writes.

    Attributes:
        name: What a message calls it, as "a model".
        files: A regular expression that the names of all files in it match, and those of no others.
        is_one: Tells whether a folder is of this kind by what a file in it says.
    """

    name: str
    files: str
    is_one: Callable[[Path], bool] = lambda folder: True

    def others(self, folder: Path) -> list[str]:
        """Names of what is in a folder and was not written there by betabloom."""
        names = sorted(path.name for path in folder.iterdir() if not is_leftover(path))
        return [name for name in names if not re.fullmatch(self.files, name) and name not in _OF_THE_SYSTEM]

    def check(self, path: Path) -> None:
        """Refuse to replace what is at `path`, unless it is empty or a folder of this kind with nothing else in it.

        Raises:
            UsageError: Something of a person's is there; the message names it.
        """
        name = printable(str(path), 200)
        if path.exists() and not path.is_dir():
            raise UsageError(f"{name} is a file, and {self.name} is a folder. Choose another name.")
        if not path.exists() or not any(path.iterdir()):
            return
        others = self.others(path)
        if not self.is_one(path):
            found = listed(map(printable, others or sorted(each.name for each in path.iterdir())))
            raise UsageError(
                f"{name} is not replaced, because it is not {self.name}: it holds {found}. Choose another name."
            )
        if others:
            raise UsageError(
                f"{name} is not replaced, because betabloom did not write all that is in it: "
                f"{listed(map(printable, others))}. Move that elsewhere, or choose another name."
            )


def is_result(names: Collection[str]) -> bool:
    """Whether a folder with entries of these names is a run or a model: what is in it was made, not given."""
    return {"config.yaml", "metrics.jsonl"} <= set(names) or {"config.json", "model.safetensors"} <= set(names)


def is_sheet(record: str) -> bool:
    """Whether the record of a picture (see `RECORD`) is that of several on one sheet, or of one made of several."""
    if not record:
        return False
    try:
        facts = json.loads(record)
        alone = facts.get("alone") or (facts.get("n", 2) == 1 and not (facts.get("size") or facts.get("tile")))
    except (ValueError, AttributeError, RecursionError):
        return False
    return not alone


def record_in(file: Path | BinaryIO) -> str:
    """The record in a PNG, JPEG, WebP or GIF that betabloom made, as JSON; "" for any other file.

    The file is not decoded: this costs one look at the disk, of a WebP with metadata two.
    """
    try:
        with file.open("rb", buffering=0) if isinstance(file, os.PathLike) else contextlib.nullcontext(file) as opened:
            opened.seek(0)
            head = opened.read(_HEAD)
            if head.startswith(b"\x89PNG"):
                return _in_png(opened, head)
            if head.startswith(b"\xff\xd8") and DESCRIBED in head:
                return _described(head + opened.read(_LONGEST_EXIF))
            if head[8:16] == b"WEBPVP8X" and head[20] & (_HAS_EXIF | _HAS_XMP):
                opened.seek(max(0, int.from_bytes(head[4:8], "little") + 8 - _LONGEST_XMP))
                return _described(opened.read(_LONGEST_XMP))
            return _in_gif(head) if head.startswith(b"GIF8") else ""
    except OSError:
        return ""


def _in_png(opened: BinaryIO, head: bytes) -> str:
    mark = b"iTXt" + RECORD.encode() + bytes(5)  # neither compressed nor translated
    start = _BEFORE + len(mark)
    if head[_BEFORE:start] != mark:
        return ""
    opened.seek(start)
    length = int.from_bytes(head[_BEFORE - 4 : _BEFORE], "big") - len(mark) + 4
    return opened.read(min(length, _LONGEST)).decode("utf-8", "replace")


def _described(metadata: bytes) -> str:
    """The record in an EXIF description, or that of an animation in XMP."""
    _, xmp, text = metadata.partition(f"<{RECORD}>".encode())
    if xmp:
        return text.partition(b"</")[0].decode("utf-8", "replace")
    place = metadata.find(DESCRIBED)
    if place < 0:
        return ""
    text = metadata[place:].partition(b"\0")[0]
    try:
        return json.dumps(json.loads(text)[RECORD])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _in_gif(head: bytes) -> str:
    """What is needed of the record of an animation: that it is one of betabloom's, whose comment begins the file."""
    _, comment, text = head.partition(b"!\xfe")
    ours = comment and text[1:2] == b"{" and f'"{RECORD}": "'.encode() in text[:_COMMENT]
    return json.dumps({"frames": 2}) if ours else ""
