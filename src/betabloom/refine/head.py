"""A layer at full size after the decoder, which draws the same at first and learns what the decoder cannot draw.

A decoder ends in a pixel shuffle: each of the four phases of a picture is read from a coarser map by weights of its
own, so that the cheapest detail is a grid, and detail across phases is dear. A few convolutions at full size see the
phases together. They begin with zero, so that nothing that the decoder knows has to be learned again: a decoder of
another form, taught to draw the same first, took as long to catch up as the critic had (docs/log.md).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

from betabloom.vae.build import channels_last, make_vae

if TYPE_CHECKING:
    from betabloom.model.model import Model

__all__ = ["HEAD_WIDTH", "with_head"]

HEAD_WIDTH = 8  # channels; 64 pictures take about a tenth more processor time without torch


def with_head(model: Model, width: int = HEAD_WIDTH, seed: int = 0) -> Model:
    """The same model with a head that has learned nothing yet: codes and pictures are the same.

    Arguments:
        model: A trained model; it is left as it is. One that has a head, or was enlarged, is returned as it is.
        width: Channels of the head; 0 for none.
        seed: Of its first weights.
    """
    m = model.config.model
    if m.head or m.enlargers or not width:
        return model
    config = model.config.replace({"head": width})
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        vae = make_vae(config)
    vae.load_state_dict(vae.state_dict() | dict(model.vae.state_dict()))
    device = next(model.vae.parameters()).device
    vae = channels_last(vae.to(device).requires_grad_(requires_grad=False).eval())
    return dataclasses.replace(model, vae=vae, config=config, fingerprint="")
