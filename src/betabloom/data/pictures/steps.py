"""The steps that a pipeline may have, as plain data: which there are, and which parameters each takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from betabloom.data.pictures import ops
from betabloom.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["OPS", "REQUIRED", "Op", "Step", "checked", "checked_size", "final_size"]

Step = dict[str, Any]
Check = Callable[[Any], Any]

REQUIRED = object()
_LARGEST = 8192


@dataclass(frozen=True)
class Op:
    """One kind of step.

    Attributes:
        function: What it does.
        on_array: Whether it works on float arrays rather than Pillow's pictures.
        parameters: {name: (check, default)}.
        of_colours: Whether it changes colours, so that transparency has to be kept out of it.
    """

    function: Callable[..., Any]
    on_array: bool
    parameters: Mapping[str, tuple[Check, Any]]
    of_colours: bool = False


def _pixels(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST:
        raise ValueError(f"a whole number of pixels from 1 to {_LARGEST}")
    return value


def _number(low: float, high: float) -> Check:
    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"a number from {low:g} to {high:g}")
        return float(value)

    return check


def _one_of(*choices: str) -> Check:
    def check(value: Any) -> Any:
        if value not in choices:
            raise ValueError("one of " + ", ".join(choices))
        return value

    return check


def _colour(value: Any) -> list[int]:
    if not isinstance(value, list) or len(value) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in value):
        raise ValueError("a list of three whole numbers from 0 to 255")
    return list(value)


_SIZE: dict[str, tuple[Check, Any]] = {"height": (_pixels, REQUIRED), "width": (_pixels, REQUIRED)}
_FACTOR: dict[str, tuple[Check, Any]] = {"factor": (_number(0, 100), REQUIRED)}

OPS: Mapping[str, Op] = {
    "resize": Op(
        ops.resize,
        False,
        {
            **_SIZE,
            "fit": (_one_of("cover", "fill", "outside", "inside"), "cover"),
            "filter": (_one_of("smooth", "nearest"), "smooth"),
        },
    ),
    "crop": Op(ops.crop, False, _SIZE),
    "pad": Op(ops.pad, False, {**_SIZE, "colour": (_colour, [255, 255, 255])}),
    "grey": Op(ops.grey, False, {}),
    "alpha": Op(ops.alpha, False, {}),
    "blur": Op(ops.blur, True, {"sigma": (_number(0.01, 1000), REQUIRED)}),
    "gamma": Op(ops.gamma, True, {"gamma": (_number(0.01, 100), REQUIRED), "gain": (_number(0, 100), 1.0)}, True),
    "brightness": Op(ops.brightness, True, _FACTOR, True),
    "saturation": Op(ops.saturation, True, _FACTOR, True),
    "autocontrast": Op(ops.autocontrast, True, {}, True),
    "sharpness": Op(ops.sharpness, True, _FACTOR, True),
}


def final_size(steps: Sequence[Step]) -> tuple[int, int] | None:
    """Return the (height, width) that checked steps give every picture, or None where it depends on the picture."""
    size = None
    for step in steps:
        if step["op"] in ("resize", "crop", "pad"):
            size = None if step.get("fit") in ("outside", "inside") else (step["height"], step["width"])
    return size


def checked(step: Mapping[str, Any], where: str) -> Step:
    """Return a step with its defaults filled in.

    Raises:
        UsageError: It is unknown, or a parameter is unknown, missing or out of range.
    """
    if not isinstance(step, Mapping) or step.get("op") not in OPS:
        raise UsageError(f"{where}: 'op' should be one of {', '.join(OPS)}, in {step!r}")
    name, parameters = step["op"], OPS[step["op"]].parameters
    unknown = [key for key in step if key != "op" and key not in parameters]
    if unknown:
        raise UsageError(f"{where}: '{name}' has no '{unknown[0]}'; it takes {', '.join(parameters) or 'nothing'}")
    result: Step = {"op": name}
    for key, (check, default) in parameters.items():
        value = step.get(key, default)
        if value is REQUIRED:
            raise UsageError(f"{where}: '{name}' needs '{key}'")
        try:
            result[key] = check(value)
        except ValueError as error:
            raise UsageError(f"{where}: '{key}' of '{name}' should be {error}, not {value!r}") from None
    return result


def checked_size(size: Sequence[int]) -> tuple[int, int]:
    """Return (height, width) in pixels, or raise `UsageError`."""
    try:
        height, width = size
        return _pixels(height), _pixels(width)
    except (TypeError, ValueError):
        expected = f"(height, width), each a whole number from 1 to {_LARGEST}"
        raise UsageError(f"'size' should be {expected}, not {size!r}") from None
