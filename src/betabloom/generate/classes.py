"""Pictures of one class: a sampler fitted to the codes of the training pictures that have its label.

The model itself knows no labels. q(z | label) is approximated by one Gaussian, fitted with shrinkage to samples of
q(z|x) of that class's training pictures (as the sampler `gaussian` is to those of all).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from betabloom.errors import UsageError

if TYPE_CHECKING:
    from betabloom.data import Store
    from betabloom.model.model import Model
    from betabloom.vae.prior import Prior

__all__ = ["class_index", "density_of_class"]

FEWEST = 4  # pictures of a class
MOST = 2048  # that are encoded


def density_of_class(model: Model, store: Store, label: str, seed: int = 0) -> Prior:
    """Fit a density to the codes of the pictures of one class.

    Arguments:
        model: The trained model.
        store: Its training pictures, with labels.
        label: Name of the class, or its index.
        seed: Of the samples of q(z|x).

    Returns:
        A density to draw from, on the device of the model.

    Raises:
        UsageError: The pictures have no labels, there is no such class, or it has too few pictures.
    """
    import torch

    from betabloom.samplers.mixture import fit_mixture
    from betabloom.vae import inference

    d = model.config.data
    index = class_index(store, label)
    rows, _ = store.split(d.split, d.holdout)
    assert store.labels is not None  # noqa: S101  (for the type checker: class_index saw to it)
    rows = rows[np.asarray(store.labels)[rows] == index]
    if len(rows) < FEWEST:
        raise UsageError(f"The class {label!r} has {len(rows)} training pictures. It takes at least {FEWEST}.")
    mean, log_var = map(torch.from_numpy, inference.encode(model.vae, np.asarray(store.pictures[np.sort(rows)[:MOST]])))
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed))
    fitted = fit_mixture(mean + torch.exp(0.5 * log_var) * noise, 1, seed).eval()
    return fitted.to(next(model.vae.parameters()).device)


def class_index(store: Store, label: str) -> int:
    """The index of a class, given by its name or index.

    Raises:
        UsageError: The pictures have no labels, or there is no such class.
    """
    from betabloom.config import guess

    if store.labels is None:
        raise UsageError(
            f"The pictures of '{store.source_name}' have no labels, so there are no classes to draw. Put the pictures "
            "of each class in a folder of its own, or give a table with a column of labels."
        )
    present = sorted({int(each) for each in store.labels if each >= 0})
    named = {str(name): i for i, name in enumerate(store.label_names or ())}
    if label in named:
        return named[label]
    if label.isdecimal() and len(label) < 9 and int(label) in present:
        return int(label)
    known = list(named) or [str(each) for each in present]
    more = f" and {len(known) - 20} more" if len(known) > 20 else ""
    raise UsageError(
        f"There is no class {label!r}.{guess(label, known)} The classes are: {', '.join(known[:20])}{more}."
    )
