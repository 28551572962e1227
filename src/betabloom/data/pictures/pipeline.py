"""A pipeline maps any picture to a fixed height × width × channels of uint8: a list of steps, which are plain data.

    {"name": "square", "steps": [{"op": "resize", "height": 64, "width": 64, "fit": "cover"}]}

The steps are the functions of `ops`; `steps.OPS` says which parameters each takes. These pipelines have names:

- `square`: the largest centred region of the target's shape, resized. The default.
- `justcrop`: resized to 256/136 of the target, then the middle cut out, which drops background.
- `pad`: the whole picture, with white where it has another shape.
- `pixels`: as `square`, but each pixel is the nearest one of the picture, so that pixel art stays pixel art.
- `enhance`: the reference document's chain of smoothing and colour, with one thing mended: its blurs had kernels of 1
  and 3 pixels (`GaussianBlur(kernel_size=1.5)` is truncated to 1: no blur at all); here σ = 2 at its 320 px scale has
  the 13 pixels that such a Gaussian needs. It is no mere blur: it also sharpens and stretches contrast.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from betabloom.arguments import path_of
from betabloom.data.pictures.decode import decode, extent, upright
from betabloom.data.pictures.reading import DEFAULT, Reading
from betabloom.data.pictures.recipe import NAMED, inline, named_steps, parse
from betabloom.data.pictures.steps import OPS, checked, final_size
from betabloom.errors import UsageError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from typing_extensions import Self

    from betabloom.data.pictures.steps import Op, Step

__all__ = ["Pipeline"]

MOST_STEPS = 100


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
        if len(self.steps) > MOST_STEPS:
            raise UsageError(f"a pipeline of {len(self.steps):,} steps is too long: at most {MOST_STEPS}")
        complete = tuple(checked(step, f"step {i} of pipeline '{self.name}'") for i, step in enumerate(self.steps, 1))
        object.__setattr__(self, "steps", complete)
        if final_size(self.steps) is None:
            raise UsageError(
                f"pipeline '{self.name}' does not fix the size of its pictures: end its geometry with a 'resize' that "
                "covers or fills, a 'crop' or a 'pad'"
            )

    @classmethod
    def named(cls, name: str, size: tuple[int, int], channels: int = 3) -> Self:
        """Make a named pipeline for a target size.

        Arguments:
            name: "square", "justcrop", "pad", "enhance" or "pixels".
            size: (height, width) in pixels.
            channels: 3 for colour, 1 for grey, 4 for colour with transparency.

        Returns:
            The pipeline.

        Raises:
            UsageError: There is no such pipeline, or the size or the channels are impossible.
        """
        if name not in NAMED:
            raise UsageError(f"there is no pipeline '{name}': choose one of {', '.join(NAMED)}")
        return cls(name, named_steps(name, size, channels))

    @classmethod
    def parse(cls, text: str | os.PathLike[str], size: tuple[int, int] | None = None, channels: int = 3) -> Self:
        """Make a pipeline from what a person typed: a name, a chain of steps, or a file that holds one.

            square   resize:150%:outside,crop,blur:1.5,saturation:1.3   soft.yaml

        `recipe` describes how chains are written. With a target size, the chain ends at it: one without geometry first
        resizes to it, and one that ends at another size is resized to it in the end.

        Arguments:
            text: The name, chain, or path of a .yaml or .json file.
            size: Target (height, width) in pixels; left out, the chain has to fix the size itself.
            channels: 3 for colour, 1 for grey, 4 for colour with transparency.

        Returns:
            The pipeline. Its name is the chain in one line, from which `parse` makes it again.

        Raises:
            UsageError: There is no such name or file, or a step in it is not valid.
        """
        name, steps = parse(str(path_of(text, "A pipeline")) if not isinstance(text, str) else text, size, channels)
        return cls(name, steps)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make a pipeline from what `to_dict` returned or a person wrote.

        Raises:
            UsageError: Something in it is not valid; the message names the key.
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

    def doubled(self) -> Self:
        """The same for results of twice the height and width: all that is given in pixels is twice as much."""
        return self._times(2)

    def halved(self) -> Self:
        """What `doubled` was called on."""
        return self._times(0.5)

    def _times(self, factor: float) -> Self:
        def times(key: str, value: Any) -> Any:
            return type(value)(factor * value) if key in ("height", "width", "sigma") else value

        if self.name in NAMED and self == type(self).named(self.name, (self.height, self.width), self.channels):
            size = (int(factor * self.height), int(factor * self.width))
            return type(self).named(self.name, size, self.channels)
        steps = [{key: times(key, value) for key, value in step.items()} for step in self.steps]
        return type(self)(inline(steps), tuple(steps))

    @property
    def height(self) -> int:
        """Height of the result in pixels."""
        return self._size[0]

    @property
    def width(self) -> int:
        """Width of the result in pixels."""
        return self._size[1]

    @functools.cached_property
    def channels(self) -> int:
        """Channels of the result: 3, or 1 where a step is "grey", or 4 where one is "alpha".

        Four are red, green and blue, each multiplied by alpha, and alpha: "premultiplied", so that what lies under
        transparent pixels is 0 and counts for nothing.
        """
        ops = {step["op"] for step in self.steps}
        return 1 if "grey" in ops else 4 if "alpha" in ops else 3

    @property
    def is_crisp(self) -> bool:
        """Whether its pictures are pixel art: each pixel is one of the original's, not a mean of several."""
        resizes = [step for step in self.steps if step["op"] == "resize"]
        return bool(resizes) and resizes[-1]["filter"] == "nearest"

    @functools.cached_property
    def enough(self) -> tuple[int, int] | None:
        """The (height, width) from which on more resolution is not visible in the result, or None when unknown.

        A third as large again as the first resize, and 16 pixels at least: a decoder that works at reduced scale need
        not go below.
        """
        step = next((step for step in self.steps if step["op"] not in ("grey", "alpha")), None)
        if step is None or step["op"] != "resize" or step["filter"] == "nearest":
            return None
        height, width = step["height"], step["width"]
        return height + max(height // 3, 16), width + max(width // 3, 16)

    def __call__(self, image: Image.Image) -> np.ndarray:
        """Prepare one decoded picture of any size and mode.

        Returns:
            uint8, shape (height, width, channels).

        Raises:
            PictureError: A step cannot be applied to this picture, for example a crop larger than it.
            UsageError: It is no picture.
        """
        if not isinstance(image, Image.Image):
            raise UsageError(f"A pipeline prepares a picture of PIL, not {type(image).__name__}: see `prepare_few`.")
        clear = self.channels == 4
        picture: Any = image if "extent" in image.info else upright(image, alpha=clear)  # `decode` has done that if so
        if picture.mode not in ("RGB", "RGBa"):
            picture = picture.convert("RGB")
        for op, values in self._calls if not self._leaves(picture) else ():
            picture = _floats(picture) if op.on_array else _image(picture)
            apply = _on_colours(op.function) if op.of_colours and clear else op.function
            picture = apply(picture, **values)
        pixels = np.frombuffer(_image(picture).tobytes(), dtype=np.uint8)
        return pixels.reshape(*self._size, self.channels)

    def load(self, path: Path, reading: Reading = DEFAULT) -> np.ndarray:
        """Decode a picture file and prepare it, exactly as `prepare` does for a folder that is read in the same way.

        Returns:
            uint8, shape (height, width, channels).

        Raises:
            PictureError: It cannot be decoded or prepared; the message is the reason, without the name.
        """
        return self(decode(path, reading, at_least=self.enough, alpha=self.channels == 4))

    def __getstate__(self) -> dict[str, Any]:
        """Without what was worked out, so that it can be sent to other processes."""
        return {
            name: value for name, value in self.__dict__.items() if name not in ("_calls", "_only_resizes", "_size")
        }

    @functools.cached_property
    def _calls(self) -> list[tuple[Op, dict[str, Any]]]:
        return [(OPS[step["op"]], {key: step[key] for key in step if key != "op"}) for step in self.steps]

    def _leaves(self, picture: Image.Image) -> bool:
        """Whether nothing is to be done: the picture has been prepared, as those in shards of `shard --size` have."""
        height, width = self._size
        return self._only_resizes and picture.size == (width, height) == extent(picture)

    @functools.cached_property
    def _only_resizes(self) -> bool:
        return len(self.steps) == 1 and self.steps[0].get("fit") in ("cover", "fill")

    @functools.cached_property
    def _size(self) -> tuple[int, int]:
        size = final_size(self.steps)
        assert size is not None  # noqa: S101  # checked when made
        return size


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
    height, width, channels = pixels.shape
    return Image.frombytes({1: "L", 3: "RGB", 4: "RGBa"}[channels], (width, height), pixels.tobytes())


def _on_colours(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Have a function of colours work on those of premultiplied pixels; the mean stands for what cannot be seen."""

    def apply(x: np.ndarray, **values: Any) -> np.ndarray:
        alpha, seen = x[..., 3:], x[..., 3] > 0
        colours = np.clip(x[..., :3] / np.maximum(alpha, 1e-6), 0, 1)
        if seen.any():
            colours[~seen] = colours[seen].mean(axis=0)
        return np.concatenate([function(colours, **values) * alpha, alpha], axis=-1, dtype=np.float32)

    return apply
