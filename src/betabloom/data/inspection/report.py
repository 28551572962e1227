"""What was found in a source of pictures, for people (`text`) and for programs (`to_dict`)."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from betabloom.system.console import listed, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Report"]

_WIDTH = 100


@dataclass(frozen=True)
class Report:
    """What `inspect` found.

    Attributes:
        source: What a person calls the source.
        total: How many pictures the source has, usable or not.
        looked_at: How many of them were looked at: all, or in a quick look at a large source a part, evenly spread.
        quick: Whether only headers were read; then there are no `exact` and `near`, and damage inside goes unseen.
        unreadable: What cannot be used, as {"name": …, "reason": …}.
        sizes: (width, height) in pixels of the "smallest", "median" and "largest" picture, by their shorter side.
        histogram: How many pictures have a shorter side in a range, as {"under 64 px": 37, …}.
        shapes: How many are "wide", "tall" and "square" (within a tenth).
        formats: How many pictures of each format.
        classes: How many pictures of each class; empty where there are none.
        splits: How many pictures in each official split.
        exact: Groups of names with the same pixels.
        near: Groups of names that look the same; of pictures with the same pixels the first stands for all.
        remarks: What is unusual and how it is handled, with the names.
        left_alone: How many files were not looked at, by ending.
        notes: What was guessed or left out when the source was opened, with the option that changes it.
        levels: The darkest and the brightest level, 0..255, of the decoded pictures; a quick look decodes a few.
        advice: What a person may want to know or do.
    """

    source: str
    total: int
    looked_at: int
    quick: bool
    unreadable: Sequence[Mapping[str, str]] = ()
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    histogram: Mapping[str, int] = field(default_factory=dict)
    shapes: Mapping[str, int] = field(default_factory=dict)
    formats: Mapping[str, int] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)
    splits: Mapping[str, int] = field(default_factory=dict)
    exact: Sequence[Sequence[str]] = ()
    near: Sequence[Sequence[str]] = ()
    remarks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    left_alone: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    levels: tuple[int, int] | None = None
    advice: Sequence[str] = ()

    @property
    def usable(self) -> int:
        """How many of the pictures that were looked at can be used."""
        return self.looked_at - len(self.unreadable)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values; parts of names that are not valid text are escaped."""
        facts = {name: getattr(self, name) for name in self.__dataclass_fields__}
        clean: dict[str, Any] = _plain({"usable": self.usable, **facts})
        return clean

    def text(self) -> str:
        """Return one screen in plain words."""
        lines = [self._headline()]
        for label, sentence in self._entries():
            first = f"  {label:<12}"
            lines += textwrap.wrap(sentence, _WIDTH, initial_indent=first, subsequent_indent=" " * 14) or [first]
            if label == "sizes":
                lines += self._bars()
        for advice in self.advice:
            lines += textwrap.wrap(advice, _WIDTH, initial_indent="  → ", subsequent_indent="    ")
        return "\n".join(lines)

    def _headline(self) -> str:
        what = "picture" if self.total == 1 else "pictures"
        line = f"{printable(self.source)}: {self.total:,} {what}"
        if self.looked_at < self.total:
            return f"{line}, of which {self.looked_at:,}, evenly spread, were looked at and {self.usable:,} can be used"
        return f"{line}, all usable" if not self.unreadable else f"{line}, {self.usable:,} usable"

    def _entries(self) -> Iterator[tuple[str, str]]:
        if self.sizes:
            yield "sizes", ", ".join(f"{name} {w} × {h}" for name, (w, h) in self.sizes.items())
            yield "shapes", ", ".join(f"{count:,} {name}" for name, count in self.shapes.items() if count)
        if self.formats:
            yield "formats", ", ".join(f"{count:,} {name}" for name, count in self.formats.items())
        if self.classes:
            largest = sorted(self.classes.items(), key=lambda item: -item[1])
            yield "classes", f"{len(largest):,}: " + listed(f"{printable(name)} {count:,}" for name, count in largest)
        if self.splits:
            yield "splits", ", ".join(f"{name} {count:,}" for name, count in self.splits.items())
        if self.exact:
            yield "identical", _groups(self.exact)
        if self.near:
            yield "near copies", _groups(self.near)
        for remark, names in self.remarks.items():
            yield "unusual", f"{len(names):,} {remark}: {listed(map(printable, names))}"
        if self.unreadable:
            bad = (f"{printable(entry['name'])} ({entry['reason']})" for entry in self.unreadable)
            yield "unusable", f"{len(self.unreadable):,}: {listed(bad, 5, '; ')}"
        for note in self.notes:
            yield "note", note
        if self.left_alone:
            yield "ignored", ", ".join(f"{count:,} {ending}" for ending, count in self.left_alone.items())

    def _bars(self) -> Iterator[str]:
        most = max(self.histogram.values())
        for label, count in self.histogram.items():
            yield f"{'':14}{label:<16}{count:>9,}  {'#' * round(30 * count / most)}".rstrip()


def _groups(groups: Sequence[Sequence[str]]) -> str:
    pictures = sum(len(group) for group in groups)
    some = listed((" = ".join(printable(name, 40) for name in group[:3]) for group in groups), 2, "; ")
    return f"{pictures:,} pictures in {len(groups):,} {'group' if len(groups) == 1 else 'groups'}: {some}"


def _plain(value: Any) -> Any:
    """Turn mappings and sequences into dictionaries and lists, and text into what any JSON reader accepts."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if hasattr(value, "items"):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
