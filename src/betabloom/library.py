"""From Python: pictures in one line, a trained model in the next."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from betabloom import data
from betabloom.arguments import path_of
from betabloom.config import Config, parse_size
from betabloom.errors import UsageError
from betabloom.system import console

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from typing_extensions import Unpack

    from betabloom.model.model import Model
    from betabloom.system.console import Progress
    from betabloom.system.signals import StopRequest

__all__ = ["fit", "prepare", "resume"]

ACCEPTED = (
    "a folder, archive, table, 'hf:NAME', 'drawn:COUNT' or 'flowers102'; an array of pictures; a list of PIL pictures; "
    "a betabloom.data.Source; or what betabloom.prepare returns"
)


def prepare(
    source: Any = None,
    size: int | str | tuple[int, int] = 64,
    pipeline: str = "square",
    channels: int = 3,
    progress: Progress | None = None,
    **options: Unpack[data.ReadingOptions],
) -> data.Store:
    """Prepare pictures for training, once; later calls with the same arguments open the result at once.

    Arguments:
        source: "flowers102" (also None), "drawn", "drawn:COUNT", a folder, archive, table or "hf:NAME" (see
            `betabloom.data.open_source`); an array of pictures (N, H, W, C), uint8 or in [0, 1]; a list of PIL
            pictures, paths or arrays; or a `betabloom.data.Source`.
        size: Side of the square in pixels, "WIDTHxHEIGHT", or (height, width).
        pipeline: "square", "justcrop", "enhance", a chain of steps, or a file with one.
        channels: 3 for colour, 1 for grey, 4 for colour with transparency.
        progress: Called as progress(done, total, text).
        options: How pictures are read: background, min_size, levels, pages, exclude. See `betabloom.data.Reading`.

    Returns:
        The prepared pictures: `.pictures` is uint8 (N, H, W, C).

    Raises:
        UsageError: `source` is nothing that has pictures.
        SourceError: There are no usable pictures.
        FetchError: Flowers102 is not on this machine and cannot be downloaded.

    Examples:
        >>> import betabloom
        >>> store = betabloom.prepare("drawn:20", size=16)
        >>> store.pictures.shape
        (20, 16, 16, 3)
    """
    shape = size if isinstance(size, tuple) else parse_size(str(size))
    return data.prepare(_opened(source, **options), data.Pipeline.parse(pipeline, shape, channels), progress=progress)


def fit(
    pictures: Any,
    preset: str = "flowers64",
    out: str | os.PathLike[str] | None = None,
    progress: Progress | bool = True,
    stop: StopRequest | None = None,
    **settings: Any,
) -> Model:
    """Train a model.

    Arguments:
        pictures: From `prepare`, or all that `prepare` takes, which is then prepared as the settings say.
        preset: "flowers64", "flowers128", "tiny" or "seed".
        out: A new run directory for metrics, samples, checkpoints and the model; None keeps all in memory.
            With `stages=True` it is needed: then the training does all that `betabloom train` does with long budgets.
        progress: True shows a bar, False nothing; or a function, called as progress(step, steps, text).
        stop: A `threading.Event`, or a function that returns True, from whatever thread: asks for a stop.
        settings: Changes to the preset, such as `beta=4`, `steps=1000`, `budget="20m"`; see `betabloom.Config`.

    Returns:
        The trained `Model`.

    Raises:
        UsageError: A setting is wrong, `out` exists, or `pictures` is nothing that has pictures.
        Interrupted: `stop` asked for it; with `out`, the run is saved, and `resume` goes on with it.

    Examples:
        >>> import betabloom
        >>> store = betabloom.prepare("drawn:20", size=16)
        >>> model = betabloom.fit(store, "tiny", progress=False, steps=2, widths=(8, 16))
        >>> model.generate(n=4).shape
        (4, 16, 16, 3)
    """
    from betabloom.training import loop

    folder = None if out is None else path_of(out, "'out'")
    if folder and folder.exists():
        raise UsageError(f"{folder} exists already. Give another name for 'out'.")
    config = Config.preset(preset, **settings)
    if isinstance(pictures, (str, os.PathLike)):
        config = config.replace({"source": data.resolved(pictures)})
    store = _prepared(pictures, config, progress)
    if config.train.stages:
        return _in_stages(store, config, folder, progress, stop)
    with _shown("training", "steps", progress) as report:
        return loop.train(store, config, folder, progress=report, stop=stop)


def resume(
    out: str | os.PathLike[str],
    pictures: Any = None,
    progress: Progress | bool = True,
    stop: StopRequest | None = None,
    **changes: Any,
) -> Model:
    """Go on with a run that was interrupted, or train a finished one for longer.

    Arguments:
        out: The run directory.
        pictures: Those that the run learns from, as `fit` takes them; by default they are where they were.
        progress: As of `fit`.
        stop: As of `fit`.
        changes: A new length, counted from the beginning of the run: `steps=20000`, `epochs=100` or `budget="2h"`.

    Returns:
        The trained `Model`.

    Raises:
        UsageError: There is no run, or it was trained with other pictures.
    """
    from betabloom.training import loop
    from betabloom.training.resume import changed_config

    if isinstance(pictures, (str, os.PathLike)):
        changes = {**changes, "source": data.resolved(pictures)}
    folder = path_of(out, "The run to go on with")
    config = changed_config(folder, changes)
    store = _prepared(config.data.source if pictures is None else pictures, config, progress)
    if config.train.stages:
        return _in_stages(store, config, folder, progress, stop, again=True)
    with _shown("training", "steps", progress) as report:
        return loop.train(store, config, folder, resume=True, progress=report, stop=stop)


def _in_stages(
    store: data.Store | data.Streamed,
    config: Config,
    out: Path | None,
    progress: Progress | bool,
    stop: StopRequest | None,
    again: bool = False,
) -> Model:
    """What `betabloom train` does with long budgets; larger pictures are prepared as the settings say."""
    from betabloom.stages.larger import larger_settings
    from betabloom.stages.run import train_in_stages

    if out is None or not isinstance(store, data.Store):
        raise UsageError("A training in stages needs a run directory, out=…, and pictures that are no stream.")

    def larger(times: int) -> data.Store:
        found = _prepared(config.data.source, larger_settings(config, times), progress)
        assert isinstance(found, data.Store)  # noqa: S101  (for the type checker: the smaller ones are no stream)
        return found

    with _shown("training", "steps", progress) as report:
        return train_in_stages(store, config, out, larger, again, report, stop=stop)


def _opened(source: Any, **options: Any) -> data.Source:
    """A source of pictures from whatever has some."""
    kinds = (str, os.PathLike, list, tuple, data.Source)
    if source is None or isinstance(source, kinds) or hasattr(source, "shape"):
        return data.open_source(source, **options)
    raise UsageError(f"There are no pictures in a {type(source).__name__}. Pass {ACCEPTED}.")


def _prepared(pictures: Any, config: Config, progress: Progress | bool) -> data.Store | data.Streamed:
    """The pictures as training takes them, prepared as the settings say if they are not yet."""
    if isinstance(pictures, (data.Store, data.Streamed)):
        return pictures
    d = config.data
    pipeline = data.Pipeline.parse(d.pipeline, (d.height, d.width), d.channels)
    options = data.Reading.of(d).options()
    if isinstance(pictures, (str, os.PathLike)) and data.is_stream(pictures):
        return data.Streamed(data.open_stream(pictures, **options), pipeline)
    with _shown("preparing", "pictures", progress) as report:
        return data.prepare(_opened(pictures, **options), pipeline, progress=report)


def _shown(label: str, unit: str, progress: Progress | bool) -> AbstractContextManager[Progress | None]:
    """The caller's own way to show progress, or a bar, or nothing."""
    if callable(progress):
        return contextlib.nullcontext(progress)
    return console.progress(label, unit) if progress else contextlib.nullcontext()
