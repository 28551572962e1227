"""A person's pictures, prepared as a model's training pictures were."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from betabloom.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from betabloom.data import Store
    from betabloom.model.generator import Generator

__all__ = ["load_picture", "load_pictures", "prepared_source", "rows_of_split"]


def load_picture(model: Generator, path: Path) -> np.ndarray:
    """One picture file, uint8 (H, W, C).

    Raises:
        UsageError: There is no such file.
        PictureError: It cannot be read; the message names it.
    """
    if not path.is_file():
        raise UsageError(f"There is no picture {path}.")
    from betabloom import data

    (prepared,) = data.prepare_few([path], model.pipeline, data.Reading.of(model.config.data))
    return prepared  # type: ignore[no-any-return]


def prepared_source(model: Generator, source: str) -> Store:
    """All pictures of a folder or any other source that `train` takes."""
    from betabloom import data
    from betabloom.system.console import progress

    reading = data.Reading.of(model.config.data)
    with progress("preparing", "pictures") as report:
        opened = data.open_source(source, **reading.options())
        return data.prepare(opened, model.pipeline, progress=report)


def load_pictures(
    model: Generator,
    given: Sequence[str],
    limit: int | None = None,
    split: str | None = None,
    shuffle: int | None = None,
) -> tuple[np.ndarray, list[str], np.ndarray | None, Sequence[str] | None]:
    """Pictures of one source, or of several picture files.

    Arguments:
        model: What they are prepared for.
        given: Picture files, or one source.
        limit: How many at most: the first of several files, or some of a source, evenly spread.
        split: Only those of this official split.
        shuffle: The seed of a random order; None for the order of the source.

    Returns:
        The pictures, uint8 (N, H, W, C), their names, their labels and the names of the classes, if they have any.

    Raises:
        UsageError: There is no such file, source or split.
    """
    import numpy as np

    from betabloom.data.store.split import chosen_rows

    if len(given) > 1 or _is_picture(Path(given[0])):
        if split is not None:
            raise UsageError("Picture files have no official splits. Leave out --split, or give a whole source.")
        chosen = [given[i] for i in chosen_rows(np.arange(len(given)), seed=shuffle)[:limit]]
        return np.stack([load_picture(model, Path(name)) for name in chosen]), chosen, None, None
    store = prepared_source(model, given[0])
    rows = chosen_rows(rows_of_split(store, split), limit, shuffle)
    labels = None if store.labels is None else np.asarray(store.labels)[rows]
    return np.asarray(store.pictures[rows]), [store.names[i] for i in rows], labels, store.label_names


def _is_picture(path: Path) -> bool:
    from betabloom.data.pictures.opening import readable_suffixes

    return path.is_file() and path.suffix.lower() in readable_suffixes()


def rows_of_split(store: Store, split: str | None) -> np.ndarray:
    """The rows of an official split, sorted; all rows if it is None."""
    import numpy as np

    if split is None:
        return np.arange(len(store))
    if split not in store.splits:
        known = ", ".join(store.splits) or "none"
        raise UsageError(f"'{store.source_name}' has no split {split!r}. Its splits: {known}.")
    return np.sort(store.splits[split])
