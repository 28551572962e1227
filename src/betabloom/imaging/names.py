"""Names for pictures by their colours."""

from __future__ import annotations

import numpy as np

from betabloom.imaging.colour import NAMED, centre, floats, named

__all__ = ["POETRY", "SECOND", "picture_name", "picture_words"]

# First match wins: the colour of the centre, the colours one of which is next ("" for any), the name.
POETRY = (
    ("violet", "black blue", "nebula"), ("blue", "black violet", "nebula"), ("magenta", "black blue", "nebula"),
    ("red", "orange gold black", "fire"), ("orange", "red black", "fire"), ("orange", "gold", "sunset"),
    ("pink", "orange gold", "dawn"), ("violet", "gold orange", "pansy"), ("violet", "green", "iris"),
    ("violet", "", "lavender"), ("magenta", "green", "fuchsia"), ("magenta", "", "orchid"),
    ("pink", "white", "blossom"), ("pink", "green", "rose garden"), ("pink", "", "rose"),
    ("white", "green", "daisy"), ("white", "gold", "daffodil"), ("white", "", "snow"),
    ("red", "green", "poppy"), ("red", "", "ruby"), ("orange", "green", "marigold"), ("orange", "", "amber"),
    ("gold", "green", "meadow"), ("gold", "", "sunshine"), ("green", "", "fern"), ("cyan", "", "lagoon"),
    ("blue", "white cyan", "sky"), ("blue", "", "deep sea"), ("brown", "", "autumn"), ("grey", "", "mist"),
    ("black", "", "night"),
)  # fmt: skip

SECOND = 0.1  # share of a picture that a second colour needs to be in its name


def picture_words(picture: np.ndarray) -> tuple[str, str]:
    """The colour of the centre of a picture, uint8 (H, W, C), and the most frequent other colour; "" if none is."""
    first = int(named(centre(picture[None]))[0])
    counts = np.bincount(named(floats(picture[None])).ravel(), minlength=len(NAMED))
    counts[first] = 0
    second = int(counts.argmax())
    if counts[second] < SECOND * picture.shape[0] * picture.shape[1]:
        return NAMED[first].name, ""
    return NAMED[first].name, NAMED[second].name


def picture_name(picture: np.ndarray) -> str:
    """A telling name from the colours of a picture, uint8 (H, W, C): "nebula, violet and black"."""
    first, second = picture_words(picture)
    poem = next(name for one, others, name in POETRY if one == first and (not others or second in others.split()))
    return f"{poem}, {first} and {second}" if second else f"{poem}, {first}"
