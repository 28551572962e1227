"""Classes of pictures: from a file beside them, else from the folders that they lie in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.data.sources.encoded import classes_of, natural
from betabloom.data.sources.table import rows_in
from betabloom.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Classes", "labels_of"]

_MOST = 256 << 20  # bytes of such a file

Classes = tuple["list[str] | None", "np.ndarray | None", "list[str]"]


def labels_of(names: Sequence[str], files: Sequence[str], read: Callable[[str, int], bytes]) -> Classes:
    """Find the class of each picture.

    Arguments:
        names: Relative names of the pictures.
        files: Relative names of the files found of `beside.METADATA`: a `metadata.jsonl` or `.csv` as imagefolders of
            Hugging Face have it, or a `dataset.json` as StyleGAN's tools write it.
        read: Called with such a name and the most bytes to read.

    Returns:
        (class names, index of each picture or −1, notes for the report); None twice where there are no classes.
    """
    found: dict[str, str] = {}
    notes = []
    for file in files:
        try:
            theirs = _labels_in(file, read(file, _MOST))
        except (SourceError, OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            notes.append(f"'{file}' is not used for labels: {error}")
            continue
        folder = file.rpartition("/")[0]
        found |= {f"{folder}/{name}" if folder else name: label for name, label in theirs.items() if label}
    labels = [found.get(name) for name in names]
    if not any(labels):
        return (*classes_of(names), notes)
    without = sum(label is None for label in labels)
    if without:
        notes.append(f"{without:,} pictures have no label in {', '.join(files)}")
    classes = sorted({label for label in labels if label is not None}, key=natural)
    index: Mapping[str | None, int] = {name: i for i, name in enumerate(classes)}
    return classes, np.array([index.get(label, -1) for label in labels], dtype=np.int64), notes


def _labels_in(file: str, content: bytes) -> dict[str, str]:
    text = content.decode("utf-8-sig")
    if not file.endswith(".json"):
        return {row.path.replace("\\", "/"): row.label for row in rows_in(file, text)[0]}
    entries: Any = json.loads(text)["labels"] or []
    return {str(name): "" if label is None else _text(label) for name, label in entries}


def _text(label: Any) -> str:
    return " ".join(str(part) for part in label) if isinstance(label, list) else str(label)
