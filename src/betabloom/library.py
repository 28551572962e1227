"""From Python: pictures in one line, a trained model in the next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from betabloom import data
from betabloom.config import Config, parse_size
from betabloom.errors import UsageError
from betabloom.system import console

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from typing_extensions import Unpack

    from betabloom.model.model import Model

__all__ = ["fit", "prepare"]


def prepare(
    source: Any = None,
    size: int | str | tuple[int, int] = 64,
    pipeline: str = "square",
    channels: int = 3,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[data.ReadingOptions],
) -> data.Store:
    """Prepare pictures for training, once; later calls with the same arguments open the result at once.

    Arguments:
        source: "flowers102" (also None), "drawn", "drawn:COUNT", a folder, archive, table or "hf:NAME"; an array, a
            list of paths, Pillow pictures or arrays; or a `betabloom.data.Source`. See `betabloom.data.open_source`.
        size: Side of the square in pixels, "WIDTHxHEIGHT", or (height, width).
        pipeline: "square", "justcrop", "enhance", a chain of steps, or a file with one.
        channels: 3 for colour, 1 for grey, 4 for colour with transparency.
        progress: Called as progress(done, total).
        options: How pictures are read: background, min_size, levels, pages, exclude. See `betabloom.data.Reading`.

    Returns:
        The prepared pictures: `.pictures` is uint8 (N, H, W, C).

    Raises:
        SourceError: There are no usable pictures.
        FetchError: Flowers102 is not on this machine and cannot be downloaded.
    """
    opened = data.open_source(source, **options)
    shape = size if isinstance(size, tuple) else parse_size(str(size))
    return data.prepare(opened, data.Pipeline.parse(pipeline, shape, channels), progress=progress)


def fit(
    pictures: data.Store,
    preset: str = "flowers64",
    out: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    **settings: Any,
) -> Model:
    """Train a model.

    Arguments:
        pictures: From `prepare`.
        preset: "flowers64", "flowers128", "tiny" or "seed".
        out: A new run directory for metrics, samples, checkpoints and the model; None keeps all in memory.
        progress: Called as progress(step, steps, text); if None, a notebook shows a bar.
        settings: Changes to the preset, such as `beta=4`, `steps=1000`, `budget="20m"`; see `betabloom.Config`.

    Returns:
        The trained `Model`.
    """
    from betabloom.training import loop

    folder = None if out is None else Path(out)
    if folder and folder.exists():
        raise UsageError(f"{folder} exists already. Give another name for 'out'.")
    config = Config.preset(preset, **settings)
    if progress is None and console.in_notebook():
        with console.progress("training") as bar:
            return loop.train(pictures, config, folder, progress=bar)
    return loop.train(pictures, config, folder, progress=progress)
