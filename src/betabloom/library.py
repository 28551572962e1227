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

    from betabloom.model.model import Model
    from betabloom.system.console import Progress

__all__ = ["fit", "prepare"]


def prepare(
    source: str | os.PathLike[str] | data.Source | None = None,
    size: int | str | tuple[int, int] = 64,
    pipeline: str = "square",
    channels: int = 3,
    progress: Progress | None = None,
) -> data.Store:
    """Prepare pictures for training, once; later calls with the same arguments open the result at once.

    Arguments:
        source: "flowers102" (also None), "drawn", "drawn:COUNT", a folder, archive, table or "hf:NAME" (see
            `betabloom.data.open_source`), or a `betabloom.data.Source`, such as `betabloom.data.Arrays(array)`.
        size: Side of the square in pixels, "WIDTHxHEIGHT", or (height, width).
        pipeline: "square", "justcrop", "enhance", a chain of steps, or a file with one.
        channels: 3 for colour, 1 for grey.
        progress: Called as progress(done, total, text).

    Returns:
        The prepared pictures: `.pictures` is uint8 (N, H, W, C).

    Raises:
        SourceError: There are no usable pictures.
        FetchError: Flowers102 is not on this machine and cannot be downloaded.
    """
    opened = source if isinstance(source, data.Source) else data.open_source(source)
    shape = size if isinstance(size, tuple) else parse_size(str(size))
    return data.prepare(opened, data.Pipeline.parse(pipeline, shape, channels), progress=progress)


def fit(
    pictures: data.Store,
    preset: str = "flowers64",
    out: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
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
