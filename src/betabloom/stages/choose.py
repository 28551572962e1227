"""Whether a training goes in stages, and at which size it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from betabloom.config import Config
from betabloom.errors import SourceError
from betabloom.metrics.quality import FEWEST
from betabloom.stages.run import SHORTEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from betabloom.data import Store

__all__ = ["begins_at", "goes_in_stages"]

BASE = 64  # pixels of a side at which codes are learned, of pictures of twice or four times that


def goes_in_stages(config: Config, preset: str, pure: bool, stream: bool) -> bool:
    """Whether settings of the command line mean a training in stages.

    A time budget of ten minutes or more does, without a number of steps: a shorter one has no time for a teacher. The
    presets that stand for networks of others stay what they are.

    Arguments:
        config: The settings.
        preset: Whose they are.
        pure: Whether the plain β-VAE was asked for.
        stream: Whether the pictures are a stream, which cannot be looked through again.
    """
    t = config.train
    if pure or stream or Config.preset(preset).model.family != "residual":
        return False
    return t.stages or (t.budget >= SHORTEST and not t.steps)


def begins_at(config: Config, larger_store: Callable[[Config], Store]) -> Config:
    """The settings at which a training in stages begins: pictures of 128 or 256 px are learned at 64, and enlarged.

    Arguments:
        config: The settings, with the size that was asked for.
        larger_store: Prepares the pictures that have that size, without smaller ones.
    """
    d, usual = config.data, Config.preset().model
    config = config.replace({"stages": True})
    doublings = {BASE: 0, 2 * BASE: 1, 4 * BASE: 2}.get(min(d.height, d.width), 0)
    if not doublings or d.height != d.width or config.train.init_from or config.model != usual:
        return config
    try:
        enough = len(larger_store(config.replace({"min_size": max(d.min_size, d.height)}))) >= FEWEST
    except SourceError:
        enough = False
    return config.replace({"height": BASE, "width": BASE, "doublings": doublings}) if enough else config
