"""A pipeline maps any picture to a fixed height × width × channels of uint8: a list of steps, which are plain data.

    {"name": "square", "steps": [{"op": "resize", "height": 64, "width": 64, "fit": "cover"}]}

The steps are the functions of `ops`; `OPS` below says which parameters each takes. Three pipelines have names:

- `square`: the largest centred region of the target's shape, resized. The default.
- `justcrop`: resized to 256/136 of the target, then the middle cut out, which drops background.
- `enhance`: the reference document's chain of smoothing and colour, with one thing mended: its blurs had kernels of 1
  and 3 pixels (`GaussianBlur(kernel_size=1.5)` is truncated to 1: no blur at all); here σ = 2 at its 320 px scale has
  the 13 pixels that such a Gaussian needs. It is no mere blur: it also sharpens and stretches contrast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from betabloom.data import ops
from betabloom.data.picture import decode, upright
from betabloom.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from typing_extensions import Self

__all__ = ["OPS", "Op", "Pipeline"]

Step = dict[str, Any]
Check = Callable[[Any], Any]

_REQUIRED = object()
_LARGEST = 8192


@dataclass(frozen=True)
class Op:
    """One kind of step: its function, whether that works on float arrays, and {parameter: (check, default)}."""

    function: Callable[..., Any]
    on_array: bool
    parameters: Mapping[str, tuple[Check, Any]]


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


_SIZE: dict[str, tuple[Check, Any]] = {"height": (_pixels, _REQUIRED), "width": (_pixels, _REQUIRED)}
_FACTOR: dict[str, tuple[Check, Any]] = {"factor": (_number(0, 100), _REQUIRED)}

OPS: Mapping[str, Op] = {
    "resize": Op(ops.resize, False, {**_SIZE, "fit": (_one_of("cover", "fill", "outside", "inside"), "cover")}),
    "crop": Op(ops.crop, False, _SIZE),
    "pad": Op(ops.pad, False, {**_SIZE, "colour": (_colour, [255, 255, 255])}),
    "grey": Op(ops.grey, False, {}),
    "blur": Op(ops.blur, True, {"sigma": (_number(0.01, 1000), _REQUIRED)}),
    "gamma": Op(ops.gamma, True, {"gamma": (_number(0.01, 100), _REQUIRED), "gain": (_number(0, 100), 1.0)}),
    "brightness": Op(ops.brightness, True, _FACTOR),
    "saturation": Op(ops.saturation, True, _FACTOR),
    "autocontrast": Op(ops.autocontrast, True, {}),
    "sharpness": Op(ops.sharpness, True, _FACTOR),
}


@dataclass(frozen=True)
class Pipeline:
    """A named chain of steps.

    Attributes:
        name: What a person calls it.
        steps: Each a dictionary of JSON values: "op" and the parameters of that op, defaults filled in.

    Raises:
        UsageError: A step is unknown, a parameter is unknown, missing or out of range, or the size is not fixed.
    """

    name: str
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        checked = tuple(_checked(step, f"step {i} of pipeline '{self.name}'") for i, step in enumerate(self.steps, 1))
        object.__setattr__(self, "steps", checked)
        if self._size() is None:
            raise UsageError(
                f"pipeline '{self.name}' does not fix the size of its pictures: end its geometry with a 'resize' that "
                "covers or fills, a 'crop' or a 'pad'"
            )

    @classmethod
    def named(cls, name: str, size: tuple[int, int], channels: int = 3) -> Self:
        """Make a named pipeline for a target size.

        Arguments:
            name: "square", "justcrop" or "enhance".
            size: (height, width) in pixels.
            channels: 3 for colour, 1 for grey.

        Raises:
            UsageError: There is no such pipeline, or the size or the channels cannot be.
        """
        if name not in _NAMED:
            raise UsageError(f"there is no pipeline '{name}': choose one of {', '.join(_NAMED)}")
        if channels not in (1, 3):
            raise UsageError(f"'channels' should be 3 (colour) or 1 (grey), not {channels!r}")
        first: list[Step] = [{"op": "grey"}] if channels == 1 else []
        return cls(name, (*first, *_NAMED[name](*_checked_size(size))))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make a pipeline from what `to_dict` returned or a person wrote.

        Raises:
            UsageError: Something in it cannot be; the message names the key.
        """
        unknown = set(data) - {"name", "steps"}
        if unknown:
            raise UsageError(f"unknown key '{min(unknown)}' in a pipeline: it has 'name' and 'steps'")
        if not isinstance(data.get("name"), str) or not isinstance(data.get("steps"), list | tuple):
            raise UsageError("a pipeline needs a 'name' (text) and 'steps' (a list)")
        return cls(data["name"], tuple(data["steps"]))

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"name": self.name, "steps": [dict(step) for step in self.steps]}

    @property
    def height(self) -> int:
        """Height of the result in pixels."""
        return self._size()[0]  # type: ignore[index]  # checked when made

    @property
    def width(self) -> int:
        """Width of the result in pixels."""
        return self._size()[1]  # type: ignore[index]  # checked when made

    @property
    def channels(self) -> int:
        """Channels of the result: 3, or 1 where a step is "grey"."""
        return 1 if any(step["op"] == "grey" for step in self.steps) else 3

    @property
    def enough(self) -> tuple[int, int] | None:
        """The (height, width) from which on more resolution is not visible in the result, or None when unknown.

        Half as large again as the first resize: a decoder that works at reduced scale need not go below.
        """
        step = next((step for step in self.steps if step["op"] != "grey"), None)
        if step is None or step["op"] != "resize" or step["fit"] == "inside":
            return None
        return -(-step["height"] * 3 // 2), -(-step["width"] * 3 // 2)

    def __call__(self, image: Image.Image) -> np.ndarray:
        """Prepare one decoded picture of any size and mode.

        Returns:
            uint8, shape (height, width, channels).

        Raises:
            PictureError: A step cannot be applied to this picture, for example a crop larger than it.
        """
        picture: Any = upright(image).convert("RGB")
        for step in self.steps:
            op = OPS[step["op"]]
            picture = _floats(picture) if op.on_array else _image(picture)
            picture = op.function(picture, **{key: value for key, value in step.items() if key != "op"})
        pixels = np.asarray(_image(picture))
        return pixels.reshape(self.height, self.width, self.channels)

    def load(self, path: Path) -> np.ndarray:
        """Decode a picture file and prepare it, exactly as `prepare` does for a folder.

        Returns:
            uint8, shape (height, width, channels).

        Raises:
            PictureError: It cannot be decoded or prepared; the message is the reason, without the name.
        """
        return self(decode(path, at_least=self.enough))

    def _size(self) -> tuple[int, int] | None:
        size = None
        for step in self.steps:
            if step["op"] in ("resize", "crop", "pad"):
                size = None if step.get("fit") in ("outside", "inside") else (step["height"], step["width"])
        return size


def _checked(step: Mapping[str, Any], where: str) -> Step:
    if not isinstance(step, Mapping) or step.get("op") not in OPS:
        raise UsageError(f"{where}: 'op' should be one of {', '.join(OPS)}, in {step!r}")
    name, parameters = step["op"], OPS[step["op"]].parameters
    unknown = [key for key in step if key != "op" and key not in parameters]
    if unknown:
        raise UsageError(f"{where}: '{name}' has no '{unknown[0]}'; it takes {', '.join(parameters) or 'nothing'}")
    checked: Step = {"op": name}
    for key, (check, default) in parameters.items():
        value = step.get(key, default)
        if value is _REQUIRED:
            raise UsageError(f"{where}: '{name}' needs '{key}'")
        try:
            checked[key] = check(value)
        except ValueError as error:
            raise UsageError(f"{where}: '{key}' of '{name}' should be {error}, not {value!r}") from None
    return checked


def _checked_size(size: Sequence[int]) -> tuple[int, int]:
    try:
        height, width = size
        return _pixels(height), _pixels(width)
    except (TypeError, ValueError):
        expected = f"(height, width), each a whole number from 1 to {_LARGEST}"
        raise UsageError(f"'size' should be {expected}, not {size!r}") from None


def _floats(picture: Image.Image | np.ndarray) -> np.ndarray:
    """Return float32 in [0, 1] with shape (H, W, C)."""
    if isinstance(picture, np.ndarray):
        return picture
    x = np.asarray(picture, dtype=np.float32) / 255
    return x if x.ndim == 3 else x[..., None]


def _image(picture: Image.Image | np.ndarray) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture
    pixels = np.rint(picture * 255).astype(np.uint8)
    return Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])


def _square(height: int, width: int) -> list[Step]:
    return [{"op": "resize", "height": height, "width": width, "fit": "cover"}]


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


_NAMED: Mapping[str, Callable[[int, int], list[Step]]] = {
    "square": _square,
    "justcrop": _justcrop,
    "enhance": _enhance,
}
