r"""A model that draws like other pictures than those it was trained on: only the density of its codes is fitted again.

`generate` draws from a density of the codes of pictures, the aggregate posterior 1/N Σ_i q(z|x_i) (Tomczak & Welling
2018, https://arxiv.org/abs/1705.07120, section 2). An encoder that has seen many flowers makes codes of other flowers
too, and a decoder that draws well draws these: in their colours and places, in its own hand. That takes seconds, where
training on them takes hours, and nothing that the decoder has learned is lost.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from betabloom.errors import UsageError
from betabloom.samplers.choose import samplers_of

if TYPE_CHECKING:
    from betabloom.data import Store
    from betabloom.metrics.extractors import Extractor
    from betabloom.model.model import Model

__all__ = ["refit"]

FEWEST = 16  # pictures
MOST = 8192  # that are learned from


def refit(model: Model, store: Store, seed: int = 0, extractor: Extractor | None = None) -> Model:
    """Make a model whose samplers are fitted to other pictures; encoder, decoder and prior stay what they are.

    Arguments:
        model: A trained model; it is left as it is.
        store: The pictures, prepared as the model's were.
        seed: Of all that is random.
        extractor: Tells how like held-out pictures generated ones are; without, samplers are compared by codes.

    Raises:
        UsageError: The pictures are too few, or of another size.
    """
    channels, height, width = model.config.shape
    if len(store) < FEWEST or store.pictures.shape[1:] != (height, width, channels):
        found = "{1}x{0} with {2}".format(*store.pictures.shape[1:])
        raise UsageError(
            f"Fitting samplers needs at least {FEWEST} pictures of {width}x{height} with {channels} channels; "
            f"these are {len(store)} of {found}."
        )
    rows, others = store.split("auto", model.config.data.holdout)
    rng = np.random.default_rng([seed, 3])
    learned = np.sort(rng.permutation(rows)[:MOST])
    known, held_out = (np.asarray(store.pictures[each]) for each in (learned, others))
    noise = rng.standard_normal((len(held_out), model.vae.latents), np.float32)
    fitted, best, measured = samplers_of(model.vae, known, held_out, noise, extractor, seed)
    facts = {"pictures": len(learned), "source": store.source_name}
    training = {**model.training, "samplers": measured, "refitted": facts, "data_fingerprint": store.fingerprint}
    return dataclasses.replace(model, training=training, samplers=fitted, sampler=best, fingerprint="")
