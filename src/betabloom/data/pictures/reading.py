"""What people can choose about how pictures are read: the same settings for training and for everything after it."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from PIL import ImageColor

from betabloom.errors import UsageError

if TYPE_CHECKING:
    from typing import TypeAlias

    from typing_extensions import Self

    Colour: TypeAlias = tuple[int, int, int]

__all__ = ["DEFAULT", "Reading", "ReadingOptions", "parse_colour"]

_PAGES = ("first", "all")


class ReadingOptions(TypedDict, total=False):
    """The fields of `Reading`, for functions that pass them on."""

    background: str
    min_size: int
    levels: str
    pages: str
    exclude: str


@dataclass(frozen=True)
class Reading:
    """How pictures are read. The fields are settings of a training (`DataConfig`) of the same names and meanings.

    Attributes:
        background: The colour behind transparent pixels: a name, or "#rrggbb".
        min_size: Pictures with a side of fewer pixels cannot be used.
        levels: "LOW,HIGH": stored values from LOW to HIGH become 0 to 255. "auto": the smallest and the largest value
            of each picture. "": by the kind of picture (see `depth.window_of`).
        pages: "first" page or frame of a file that holds several, or "all" of them as pictures of their own.
        exclude: Glob patterns of names to leave out, joined by commas. A pattern without "/" is compared with every
            folder's and file's name, one with "/" with the whole relative path.

    Raises:
        UsageError: A value is not one of these.
    """

    background: str = "white"
    min_size: int = 0
    levels: str = ""
    pages: str = "first"
    exclude: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.min_size, bool) or not isinstance(self.min_size, int) or self.min_size < 0:
            raise UsageError(f"'min_size' should be a number of pixels, 0 or more, not {self.min_size!r}")
        if self.pages not in _PAGES:
            raise UsageError(f"'pages' should be first or all, not {self.pages!r}")
        _ = self.colour, self.window

    @classmethod
    def of(cls, settings: Any) -> Self:
        """Take the fields from settings that have them all, such as `Config.data`."""
        return cls(**{field.name: getattr(settings, field.name) for field in dataclasses.fields(cls)})

    def options(self) -> ReadingOptions:
        """Return the fields as keyword arguments of `open_source` and of the sources."""
        return {
            "background": self.background,
            "min_size": self.min_size,
            "levels": self.levels,
            "pages": self.pages,
            "exclude": self.exclude,
        }

    @functools.cached_property
    def colour(self) -> Colour:
        """The background as RGB values, 0..255."""
        return parse_colour(self.background)

    @functools.cached_property
    def window(self) -> tuple[float, float] | None:
        """(LOW, HIGH) where `levels` gives them."""
        if self.levels in ("", "auto"):
            return None
        match = re.fullmatch(r"\s*(-?[\d.]+(?:e[+-]?\d+)?)\s*[,:]\s*(-?[\d.]+(?:e[+-]?\d+)?)\s*", self.levels, re.I)
        try:
            low, high = (float(text) for text in match.groups()) if match else (0.0, 0.0)
        except ValueError:
            low = high = 0.0
        if not low < high:
            raise UsageError(
                f"'levels' should be LOW,HIGH (as 0,4095) with LOW below HIGH, or auto, not {self.levels!r}"
            )
        return low, high

    def excludes(self, name: str) -> bool:
        """Tell whether a relative path is left out by `exclude`; upper and lower case count as equal."""
        return bool(self._patterns) and any(_matches(name.casefold(), pattern) for pattern in self._patterns)

    @functools.cached_property
    def _patterns(self) -> tuple[str, ...]:
        return tuple(part.strip().casefold().rstrip("/") for part in self.exclude.split(",") if part.strip())


def _matches(name: str, pattern: str) -> bool:
    if "/" in pattern:
        return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"{pattern}/*")
    return any(fnmatch.fnmatchcase(part, pattern) for part in name.split("/"))


def parse_colour(name: str) -> Colour:
    """Return the RGB values, 0..255, of a colour given as a name or as "#rrggbb"."""
    try:
        red, green, blue = ImageColor.getrgb(name)[:3]
    except (ValueError, AttributeError, TypeError):
        raise UsageError(f"'background' should be a colour such as white, black or #ffeedd, not {name!r}") from None
    return red, green, blue


DEFAULT = Reading()
