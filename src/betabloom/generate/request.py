"""What a person asks for when pictures are generated, and the model that can draw it.

The command line, a page and a script all fill in a `Request`, and hand it to `betabloom.generate.drawing` (pictures in
memory) or `betabloom.generate.writing` (files). Nothing heavy is imported here: a request that is not valid is refused
before anything is loaded.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from betabloom.errors import UsageError
from betabloom.seeds import check, new_seed, parse_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from betabloom.model.generator import Generator

__all__ = ["TILE_SIZE", "Request", "open_model"]

TILE_SIZE = (512, 512)  # width and height of a texture, where no other size is asked for


@dataclass(frozen=True)
class Request:
    """Which pictures to generate, and how.

    Attributes:
        n: How many, ≥ 1.
        seed: Names the series of pictures, ≥ 0; None for a new one each time.
        start: Number of the first picture in the series, ≥ 0.
        numbers: These pictures of the series, as "0-5,8", in place of `n` and `start`.
        temperature: Factor on the noise, > 0: below 1 more typical, above 1 more unusual.
        sampler: A name of `betabloom.samplers`, or "auto".
        palette: Colours such as "violet,gold" (some of each) or "violet+gold" (both in each); "#8040a0" too.
        hue: Hue of the centre in turns, 0 … 1.
        like: A picture file whose colours to take, or two colours such as "#8040a0,#203010".
        colourful: Whether to ask for colourful pictures.
        avoid: Colours to keep out, such as "green,brown".
        named: Whether to name the pictures by their colours.
        label: Draw only pictures of this class; needs the training pictures and their labels.
        novel: Leave out near copies of training pictures.
        known: Where the training pictures are, for `label` and `novel`; where they were, if None.
        precision: What the decoder computes in: "fp32", "bf16" or "auto".
        device: Where it computes: "cpu", "cuda", "auto" …
        size: (width, height) of one large picture of all of them; None for a sheet or a file each.
        tile: Whether that picture has to fit to itself at its edges.
        columns: Pictures in a row of a sheet; 0 for the squarest.
        scale: Factor on the size of the pictures on a sheet or in a file.
    """

    n: int = 64
    seed: int | None = None
    start: int = 0
    numbers: str | None = None
    temperature: float = 1.0
    sampler: str = "auto"
    palette: str | None = None
    hue: float | None = None
    like: str | None = None
    colourful: bool = False
    avoid: str | None = None
    named: bool = False
    label: str | None = None
    novel: bool = False
    known: str | None = None
    precision: str = "fp32"
    device: str = "cpu"
    size: tuple[int, int] | None = None
    tile: bool = False
    columns: int = 0
    scale: float = 1.0

    def checked(self) -> Request:
        """The same with a seed, a size and a precision that are settled.

        Raises:
            UsageError: Two of its parts contradict each other, or one of them is not valid.
        """
        check(self.n, self.temperature)
        if self.seed is not None and self.seed < 0:
            raise UsageError(f"'seed' must be 0 or a positive number, not {self.seed}.")
        if self.start < 0:
            raise UsageError(f"'start', the number of the first picture, must be 0 or more, not {self.start}.")
        if not 0 < self.scale <= 64:
            raise UsageError(f"'scale' must lie between 0 and 64, not {self.scale:g}.")
        if self.numbers is not None and self.only_novel:
            raise UsageError(
                "--numbers names the pictures to draw, so --novel cannot choose among them. Leave out one of the two."
            )
        self.chosen()
        if sum(each is not None for each in (self.palette, self.hue, self.like)) > 1:
            raise UsageError("--palette, --hue and --like each say what the colours are. Choose one of them.")
        size = self.size or (TILE_SIZE if self.tile else None)
        if size:
            from betabloom.imaging.wallpaper import check_size

            check_size(*size)
        device, precision = _settled(self.device, self.precision)
        if self.in_colours and precision != "fp32":
            raise UsageError("Colours are searched for in fp32. Leave out --precision.")
        seed = new_seed() if self.seed is None else self.seed
        return dataclasses.replace(self, seed=seed, size=size, device=device, precision=precision)

    def chosen(self) -> Sequence[int]:
        """The numbers in the series that are asked for; with `novel`, those that are tried first."""
        return range(self.start, self.start + self.n) if self.numbers is None else parse_numbers(self.numbers)

    @property
    def in_colours(self) -> bool:
        """Whether anything is asked of the colours."""
        return self.colourful or any(each is not None for each in (self.palette, self.hue, self.like, self.avoid))

    @property
    def only_novel(self) -> bool:
        """Whether near copies of training pictures are left out."""
        return self.novel or (self.known is not None and self.label is None)

    @property
    def needs_torch(self) -> bool:
        """Whether the model has to be more than a decoder."""
        return self.in_colours or self.label is not None or self.precision != "fp32" or self.device != "cpu"

    def record(self) -> dict[str, Any]:
        """What a picture carries of it: enough to make the picture again."""
        always = {"verb": "generate", "seed": self.seed, "temperature": self.temperature, "sampler": self.sampler}
        always |= {"device": self.device, "precision": self.precision}
        optional: dict[str, Any] = {
            "palette": self.palette, "hue": self.hue, "like": self.like, "colourful": self.colourful,
            "avoid": self.avoid, "named": self.named, "class": self.label, "tile": self.tile,
            "size": f"{self.size[0]}x{self.size[1]}" if self.size else None,
            "scale": self.scale if self.scale != 1 else None,
            "known": self.known if self.label is not None else None,
        }  # fmt: skip
        return always | {key: value for key, value in optional.items() if value not in (None, False)}


def _settled(device: str, precision: str) -> tuple[str, str]:
    """The device and precision that "auto" means here, so that a picture can say how it was made."""
    if device != "auto" and precision == "fp32":
        return device, precision
    from betabloom.system.hardware import choose_device, choose_precision, precision_name

    chosen = choose_device(device)
    return str(chosen), precision_name(choose_precision(precision, chosen))


def open_model(path: str | os.PathLike[str] | None, request: Request) -> Generator:
    """Open the model, without torch where that will do: importing it takes longer than drawing.

    Arguments:
        path: As for `betabloom.load`.
        request: What it has to draw; `checked`.

    Raises:
        UsageError: There is no model there, or no such device.
        FormatError: There is one, but it is damaged, foreign or of a newer version.
    """
    if not request.needs_torch:
        if not request.only_novel and "numpy" not in sys.modules:  # `NumpyModel` has threads of its own
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        from betabloom.model.without_torch import open_without_torch

        without = open_without_torch(path)
        if without:
            return without
    from betabloom.model.model import load
    from betabloom.system.hardware import choose_device

    return load(path, str(choose_device(request.device)))
