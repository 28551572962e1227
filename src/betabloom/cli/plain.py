"""Options whose values need no judgement: `generate` starts a fifth sooner without what typer loads to judge them.

From 0.29 on, typer has pydantic convert every value, and importing it takes longer than drawing 64 pictures. A number,
text or path that is plainly one is converted here; whatever else is left to typer, with its sentences. Where a typer
works otherwise, everything is.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperGroup

__all__ = ["Plain", "PlainGroup"]


class _Taking:
    """What commands and groups of them do alike."""

    def get_params(self, ctx: Any) -> Any:
        params = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "_runtime_param", "unknown") is None:
                param._runtime_param = _Plain()
        return params


class Plain(_Taking, TyperCommand):
    """A command whose options are numbers, texts, paths and flags."""


class PlainGroup(_Taking, TyperGroup):
    """The same of the group that it is in, which has options too: --help."""


class _Plain:
    """What typer asks to convert the value of a parameter."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        about = param.type_descriptor
        if param.multiple or param.nargs != 1 or about.parameter_info.parser:
            return self._typers(value, param, ctx)
        if value is None:
            return None
        if about.annotation is str and type(value) is str:
            return value
        if about.annotation is Path and type(value) in (str, type(Path())) and not _checked(about.parameter_info):
            return Path(value)
        number = _number(value, about.annotation)
        low, high = about.parameter_info.min, about.parameter_info.max
        if number is not None and (low is None or number >= low) and (high is None or number <= high):
            return number
        return self._typers(value, param, ctx)

    def _typers(self, value: Any, param: Any, ctx: Any) -> Any:
        param._runtime_param = None  # from now on, it makes its own
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def _checked(info: Any) -> bool:
    """Whether a path has to be one that exists, or the like."""
    return bool(info.exists or info.resolve_path or info.allow_dash or info.path_type)


def _number(value: Any, kind: Any) -> int | float | None:
    """An int or float from what is plainly one."""
    if kind is int and (type(value) is int or (type(value) is str and value.isascii() and value.isdecimal())):
        return int(value)
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind is float and type(value) is str and value.isascii() and value.replace(".", "", 1).isdecimal():
        return float(value) if math.isfinite(float(value)) else None
    return None
