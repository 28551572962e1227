"""The pictures of a request, some at a time, with their numbers and what there is to say of each."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from betabloom.errors import PictureError, UsageError
from betabloom.seeds import BATCH, numbers_text, pieces_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from betabloom.data import Store
    from betabloom.generate.colours import ColourTarget
    from betabloom.generate.request import Request
    from betabloom.model.generator import Generator
    from betabloom.model.model import Model
    from betabloom.seeds import Piece
    from betabloom.vae.prior import Prior

    Described = tuple[np.ndarray, list[int], dict[str, list[Any]]]

__all__ = [
    "BYTES_AT_ONCE",
    "MOST_AT_ONCE",
    "Drawn",
    "Series",
    "at_once",
    "colour_targets",
    "colours_like",
    "draw",
    "pieces",
]

log = logging.getLogger(__name__)

MOST_AT_ONCE = 8 * BATCH  # pictures that are drawn before they are written: whole batches, so that it changes nothing
BYTES_AT_ONCE = 1 << 23  # bytes of them, where pictures are large


@dataclass(frozen=True)
class Drawn:
    """The pictures of a request in memory.

    Attributes:
        pictures: uint8 (N, H, W, C).
        numbers: Their numbers in the series of the seed.
        details: What there is to say of each, by name: "satisfied" (whether it has the colours asked for), "name".
        wanted: What is asked of the colours, in words; "" if nothing.
        crisp: Whether they are pixel art, whose pixels stay squares when they are enlarged.
    """

    pictures: np.ndarray
    numbers: list[int]
    details: dict[str, list[Any]]
    wanted: str = ""
    crisp: bool = False

    def record(self) -> dict[str, Any]:
        """What a sheet of them carries beside the request: how many, which numbers, and the details."""
        return {"n": len(self.numbers), **numbering(self.numbers), **self.details}


def draw(model: Generator, request: Request) -> Drawn:
    """Draw all pictures of a request.

    Arguments:
        model: From `betabloom.generate.request.open_model`, or a `betabloom.Model`.
        request: `checked`.

    Raises:
        UsageError: The model has no such sampler or class, or there is no such colour.
    """
    import numpy as np

    series = Series(model, request)
    every = list(pieces(series))
    details = {key: [value for piece in every for value in piece[2][key]] for key in every[0][2]}
    numbers = [i for piece in every for i in piece[1]]
    return Drawn(
        np.concatenate([piece[0] for piece in every]), numbers, details, series.wanted, model.pipeline.is_crisp
    )


@dataclass
class Series:
    """The pictures of a seed by their numbers; remembers which of them have the colours that are asked for."""

    model: Generator
    request: Request
    targets: list[list[ColourTarget]] = field(init=False)
    wanted: str = field(init=False)
    density: Prior | None = field(init=False, default=None)
    satisfied: dict[int, bool] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.targets, self.wanted = colour_targets(self.request) if self.request.in_colours else ([], "")
        if self.request.label is not None:
            from betabloom.generate.classes import density_of_class

            self.density = density_of_class(self._model(), self._training_pictures(), self.request.label)

    def __call__(self, first: int, count: int) -> np.ndarray:
        r = self.request
        assert r.seed is not None  # noqa: S101  (for the type checker: `checked` chose one)
        if self.targets:
            return self._searched(first, count)
        if self.density is not None:
            from betabloom.vae import inference

            return inference.generate(self._model().vae, count, r.seed, r.temperature, first, self.density, r.precision)
        precisely = {} if r.precision == "fp32" else {"precision": r.precision}
        return self.model.generate(count, r.seed, r.temperature, first, r.sampler, **precisely)

    def _searched(self, first: int, count: int) -> np.ndarray:
        from betabloom.generate.code_search import search
        from betabloom.system.console import progress

        r, model = self.request, self._model()
        density = self.density or model.density(r.sampler)
        with progress("searching", "pictures") as report:
            found = search(model.vae, self.targets, count, r.seed or 0, r.temperature, first, density, report)
        self.satisfied |= dict(zip(range(first, first + count), found.satisfied.tolist(), strict=True))
        return found.pictures

    def _model(self) -> Model:
        from betabloom.model.model import Model

        assert isinstance(self.model, Model)  # noqa: S101  (for the type checker: `open_model` saw to it)
        return self.model

    def _training_pictures(self) -> Store:
        from betabloom.model.training_pictures import training_pictures

        return training_pictures(self.model, self.request.known)


def pieces(series: Series) -> Iterator[Described]:
    """The pictures of a series that its request asks for, some at a time, each piece with its numbers and details."""
    for pictures, numbers in _numbered(series):
        details: dict[str, list[Any]] = {}
        if series.targets:
            details["satisfied"] = [series.satisfied[i] for i in numbers]
            series.satisfied.clear()
        if series.request.named:
            from betabloom.imaging.names import picture_name

            details["name"] = [picture_name(picture) for picture in pictures]
        yield pictures, numbers, details


def _numbered(series: Series) -> Iterator[Piece]:
    """The pictures with their numbers in the series."""
    r = series.request
    if not r.only_novel:
        return pieces_of(series, r.chosen(), at_once(series.model))
    from betabloom.generate import novel

    d = series.model.config.data
    judge = novel.Novelty.of(series._training_pictures(), d.split, d.holdout)
    return _counted(novel.novel_pieces(series, judge, r.n, r.start), r.n, r.start)


def _counted(drawn: Iterator[Piece], n: int, start: int) -> Iterator[Piece]:
    """The same, and in the end the log says how many pictures were left out."""
    last = start - 1
    for pictures, numbers in drawn:
        last = numbers[-1]
        yield pictures, numbers
    log.info("%s near copies of training pictures left out", f"{last + 1 - start - n:,}")


def at_once(model: Generator) -> int:
    """How many pictures are in memory at a time: whole batches, some megabytes of them."""
    return min(MOST_AT_ONCE, max(BATCH, BYTES_AT_ONCE // math.prod(model.config.shape) // BATCH * BATCH))


def numbering(chosen: list[int]) -> dict[str, Any]:
    """What says which numbers of the series were chosen."""
    if chosen == list(range(chosen[0], chosen[0] + len(chosen))):
        return {"start": chosen[0]}
    return {"start": chosen[0], "numbers": numbers_text(chosen)}


def colour_targets(request: Request) -> tuple[list[list[ColourTarget]], str]:
    """What is asked of the colours, for each colour of the palette, and the same in words."""
    from betabloom.generate import colours

    common: list[ColourTarget] = []
    if request.hue is not None:
        common.append(colours.of_hue(request.hue))
    if request.like is not None:
        common.append(colours.like(request.like))
    if request.colourful:
        common.append(colours.colourful())
    if request.avoid is not None:
        common += colours.avoid(request.avoid)
    kinds = colours.palette(request.palette) if request.palette is not None else [[]]
    texts = [" or ".join("+".join(each.text for each in kind) for kind in kinds)] + [each.text for each in common]
    return [kind + common for kind in kinds if kind or common], ", ".join(text for text in texts if text)


def colours_like(like: str | None, load: Callable[[Path], np.ndarray]) -> str | None:
    """The two colours that `like` means: those that are typed, or those of a picture's centre and surroundings.

    Arguments:
        like: Two colours such as "#8040a0,#203010", or a picture file.
        load: Reads a picture file as the model's pictures are prepared, uint8 (H, W, C).

    Raises:
        UsageError: There is no such file.
        PictureError: It cannot be read.
    """
    if like is None or like.startswith("#"):
        return like
    from betabloom.generate.colours import hex_colours

    if not Path(like).is_file():
        raise UsageError(f"There is no picture file {like}.")
    try:
        return hex_colours(load(Path(like)))
    except PictureError as error:
        raise PictureError(f"{like}: {error}") from error
