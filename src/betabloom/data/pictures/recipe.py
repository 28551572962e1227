"""How a person writes a pipeline: by name, in one line, or in a file.

In one line, steps are joined by commas and their values by colons:

    resize:150%:outside,crop,blur:1.5,gamma:1.6:1.1,saturation:1.3

- `resize`, `crop` and `pad` take a size: pixels (64), WIDTHxHEIGHT (96x64), or a share of the target (150%); without
  one they take the target. After it, `resize` takes cover, fill, outside or inside, and then smooth or nearest (for
  pixel art); `pad` takes a colour.
- `blur` takes σ in pixels, or in per cent of the target's shorter side (1.5%), which suits every size.
- `gamma` takes the exponent and the gain; `brightness`, `saturation` and `sharpness` a factor, 1 changing nothing;
  `grey`, `alpha` and `autocontrast` nothing.
- Values may be named: `resize:size=64:fit=inside`.

A .yaml or .json file holds the same as a list, under `steps` or by itself:

    steps:
      - resize: {size: 150%, fit: outside}
      - crop
      - blur: 1.5
      - gamma: [1.6, 1.1]
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from PIL import ImageColor

from betabloom.data.pictures.steps import OPS, REQUIRED, Step, checked, checked_size, final_size
from betabloom.errors import UsageError
from betabloom.system.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["NAMED", "inline", "named_steps", "parse"]

Size = tuple[int, int]

_CHANNELS = {1: "grey", 4: "alpha"}
_SIZED = ("resize", "crop", "pad")
_FILES = (".yaml", ".yml", ".json")
_LARGEST_FILE = 1 << 20


def parse(text: str, size: Size | None, channels: int) -> tuple[str, tuple[Step, ...]]:
    """Return the name and the steps of the pipeline that a person typed; see `Pipeline.parse`."""
    target = None if size is None else checked_size(size)
    if text in NAMED and target is not None:
        return text, tuple(checked(step, text) for step in named_steps(text, target, channels))
    if text in NAMED:
        raise UsageError(f"pipeline '{text}' needs a size")
    if text.lower().endswith(_FILES):
        written = _from_file(local_path(text))
    else:
        written = [part.strip() for part in text.split(",") if part.strip()]
    own = [_step(one, target, f"step {i} of '{text}'") for i, one in enumerate(written, 1)]
    steps = _fitted(_in_channels(own, channels), target, text)
    for name in NAMED if target is not None else ():
        if steps == parse(name, target, channels)[1]:
            return name, steps
    return inline(steps), steps


def inline(steps: Sequence[Step]) -> str:
    """Write checked steps in one line, from which `parse` makes them again."""
    return ",".join(":".join([step["op"], *_arguments(step)]) for step in steps)


def named_steps(name: str, size: Size, channels: int = 3) -> tuple[Step, ...]:
    """Return the steps of a named pipeline for a target (height, width)."""
    first: list[Step] = [{"op": _first(channels)}] if channels != 3 else []
    return (*first, *NAMED[name](*checked_size(size)))


def _from_file(path: Path) -> list[Any]:
    import yaml

    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LARGEST_FILE)
        content = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise UsageError(f"the pipeline '{path}' cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise UsageError(f"the pipeline '{path}' is not valid {path.suffix[1:].upper()}: {error}") from error
    steps = content.get("steps") if isinstance(content, dict) and set(content) <= {"name", "steps"} else content
    if not isinstance(steps, list):
        raise UsageError(f"the pipeline '{path}' should be a list of steps, or have one under 'steps'")
    return steps


def _step(written: Any, target: Size | None, where: str) -> Step:
    """Read one step in any of the ways in which it may be written."""
    name, positional, values = _read(written, where)
    if not isinstance(name, str) or name not in OPS:
        raise UsageError(f"{where}: there is no step {name!r}; choose from {', '.join(OPS)}")
    parameters = [key for key in OPS[name].parameters if key not in ("height", "width")]
    if name in _SIZED:
        parameters = ["size", *parameters]
    if len(positional) > len(parameters):
        raise UsageError(
            f"{where}: '{name}' takes {', '.join(parameters) or 'no value'}, and {len(positional)} were given"
        )
    values = {**dict(zip(parameters, positional, strict=False)), **values}
    return checked({"op": name, **_converted(name, values, target, where)}, where)


def _read(written: Any, where: str) -> tuple[Any, list[Any], dict[str, Any]]:
    """Return the name of a step, its values in order, and those that are named."""
    if isinstance(written, str):
        name, *values = (value.strip() for value in written.split(":"))
        named = dict(value.split("=", 1) for value in values if "=" in value)
        return name, [value for value in values if "=" not in value], named
    if isinstance(written, Mapping) and "op" in written:
        return written["op"], [], {key: written[key] for key in written if key != "op"}
    if not isinstance(written, Mapping) or len(written) != 1:
        raise UsageError(f"{where} should be like 'blur:1.5', not {written!r}")
    name, value = next(iter(written.items()))
    if isinstance(value, Mapping):
        return name, [], dict(value)
    return name, value if isinstance(value, list) else [] if value is None else [value], {}


def _converted(name: str, values: dict[str, Any], target: Size | None, where: str) -> dict[str, Any]:
    """Turn texts into numbers, shares of the target into pixels, and names of colours into colours."""
    if name in _SIZED and not {"height", "width"} & set(values):
        values["height"], values["width"] = _size(values.pop("size", "100%"), target, where)
    if isinstance(values.get("sigma"), str) and values["sigma"].endswith("%"):
        values["sigma"] = round(_share(values["sigma"], where) * min(_known(target, where)), 4)
    if isinstance(values.get("colour"), str):
        try:
            values["colour"] = list(ImageColor.getrgb(values["colour"])[:3])
        except ValueError:
            raise UsageError(f"{where}: there is no colour {values['colour']!r}; write black or #ffeedd") from None
    return {key: _number(value) for key, value in values.items()}


def _size(value: Any, target: Size | None, where: str) -> Size:
    text = str(value).replace("×", "x")
    if text.endswith("%"):
        share = _share(text, where)
        height, width = _known(target, where)
        return max(1, round(height * share)), max(1, round(width * share))
    match = re.fullmatch(r"(\d{1,9})(?:x(\d{1,9}))?", text)
    if match is None:
        raise UsageError(f"{where}: a size is written as 64, 96x64 (WIDTHxHEIGHT) or 150%, not {value!r}")
    return int(match[2] or match[1]), int(match[1])


def _share(text: str, where: str) -> float:
    share = _number(text[:-1].strip())
    if not isinstance(share, int | float) or not 0 < share <= 100_000:
        raise UsageError(f"{where}: a share of the target is written as 150%, not {text!r}")
    return share / 100


def _known(target: Size | None, where: str) -> Size:
    if target is None:
        raise UsageError(f"{where}: a size in percent needs a target size, which is not given; write pixels")
    return target


def _number(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def _in_channels(steps: list[Step], channels: int) -> list[Step]:
    names = {step["op"] for step in steps} & set(_CHANNELS.values())
    wanted = {_first(channels)} if channels != 3 else set[str]()
    if names - wanted:
        name = min(names - wanted)
        count = next(count for count, op in _CHANNELS.items() if op == name)
        raise UsageError(
            f"'{name}' makes {count} channel{'s' * (count > 1)}: add --channels {count}, or remove '{name}'"
        )
    return [*({"op": name} for name in wanted - names), *steps]


def _first(channels: int) -> str:
    """Return the step that turns three channels into `channels`."""
    if channels not in tuple(_CHANNELS):
        raise UsageError(f"'channels' should be 3 (colour), 1 (grey) or 4 (with transparency), not {channels!r}")
    return _CHANNELS[channels]


def _fitted(steps: list[Step], target: Size | None, text: str) -> tuple[Step, ...]:
    """Make the steps end at the target."""
    if target is None or final_size(steps) == target:
        return tuple(steps)
    resize = checked({"op": "resize", "height": target[0], "width": target[1]}, text)
    if any(step["op"] in _SIZED for step in steps):
        return (*steps, resize)
    first = 1 if steps and steps[0]["op"] in _CHANNELS.values() else 0
    return (*steps[:first], resize, *steps[first:])


def _arguments(step: Step) -> list[str]:
    """Write the values of a step, without those at the end that are defaults."""
    values = []
    if step["op"] in _SIZED:
        height, width = step["height"], step["width"]
        values.append(f"{width}" if height == width else f"{width}x{height}")
    rest = [
        (key, default) for key, (_, default) in OPS[step["op"]].parameters.items() if key not in ("height", "width")
    ]
    while rest and rest[-1][1] is not REQUIRED and step[rest[-1][0]] == rest[-1][1]:
        rest.pop()
    return [*values, *(_text(step[key]) for key, _ in rest)]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "#" + "".join(f"{level:02x}" for level in value)
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _square(height: int, width: int) -> list[Step]:
    return [{"op": "resize", "height": height, "width": width, "fit": "cover"}]


def _pad(height: int, width: int) -> list[Step]:
    return [
        {"op": "resize", "height": height, "width": width, "fit": "inside"},
        {"op": "pad", "height": height, "width": width},
    ]


def _at(scale: int, height: int, width: int) -> Step:
    """Return the size that `scale` pixels of the reference document's 136 px target correspond to."""
    return {"height": round(height * scale / 136), "width": round(width * scale / 136)}


def _justcrop(height: int, width: int) -> list[Step]:
    return [
        {"op": "resize", **_at(256, height, width), "fit": "outside"},
        {"op": "crop", "height": height, "width": width},
    ]


def _enhance(height: int, width: int) -> list[Step]:
    blur: Step = {"op": "blur", "sigma": round(2 * min(height, width) / 136, 4)}
    return [
        {"op": "resize", **_at(384, height, width), "fit": "outside"},
        {"op": "crop", **_at(320, height, width)},
        blur,
        {"op": "gamma", "gamma": 1.6, "gain": 1.1},
        {"op": "brightness", "factor": 0.7},
        {"op": "saturation", "factor": 1.5},
        {"op": "autocontrast"},
        {"op": "sharpness", "factor": 4.0},
        blur,
        *_justcrop(height, width),
    ]


def _pixels(height: int, width: int) -> list[Step]:
    return [{"op": "resize", "height": height, "width": width, "fit": "cover", "filter": "nearest"}]


NAMED: Mapping[str, Callable[[int, int], list[Step]]] = {
    "square": _square,
    "justcrop": _justcrop,
    "pad": _pad,
    "enhance": _enhance,
    "pixels": _pixels,
}
