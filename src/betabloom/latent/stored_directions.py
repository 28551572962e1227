"""The strongest directions of a model, found once: finding them decodes some thousand pictures.

Those of the bundled models come with the package; others are kept in the cache folder, named by the model's
fingerprint. What cannot be read there is found again.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.data.store.cache import cache_folder
from betabloom.errors import BetabloomError
from betabloom.latent.directions import Direction, strongest
from betabloom.latent.space import code_space
from betabloom.system.atomic import write_text
from betabloom.version import __version__

if TYPE_CHECKING:
    from betabloom.latent.space import Space
    from betabloom.model.generator import Generator

__all__ = ["BUNDLED", "COUNT", "KEPT", "stored_directions", "written"]

BUNDLED = Path(__file__).parent / "found_directions"
COUNT = 12
KEPT = 64  # models whose directions stay in the cache
DIGITS = 5


def stored_directions(model: Generator, space: Space | None = None) -> list[Direction]:
    """The `COUNT` strongest directions, from the package or the cache if they are there, else found and kept.

    Arguments:
        model: The model.
        space: Where its codes lie, if that is known already.
    """
    name = f"{model.fingerprint}-{COUNT}.json"
    kept = cache_folder() / "directions" / name
    for place in (BUNDLED / name, kept):
        found = _read(place, model.config.model.latents)
        if found:
            return found
    text = written(strongest(model, space or code_space(model), COUNT))
    with contextlib.suppress(OSError, BetabloomError):  # a full disk, a folder of somebody else: found again next time
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_text(kept, text, synced=False)
        _keep_newest(kept.parent)
    return _parsed(text)


def written(directions: list[Direction]) -> str:
    """Directions as the text of a file."""
    each = [
        {
            "kind": d.kind, "name": d.name, "change": round(d.change, DIGITS), "effects": d.effects,
            "vector": [round(float(x), DIGITS) for x in d.vector],
        }
        for d in directions
    ]  # fmt: skip
    return json.dumps({"betabloom": __version__, "directions": each}, separators=(",", ":")) + "\n"


def _parsed(text: str) -> list[Direction]:
    return [Direction(**{**each, "vector": np.array(each["vector"])}) for each in json.loads(text)["directions"]]


def _read(file: Path, latents: int) -> list[Direction]:
    """The directions in a file; none if it is not there, or damaged."""
    try:
        found = _parsed(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return found if all(_is_direction(each, latents) for each in found) else []


def _is_direction(each: Any, latents: int) -> bool:
    return each.vector.shape == (latents,) and each.vector.dtype.kind == "f" and bool(np.isfinite(each.vector).all())


def _keep_newest(folder: Path) -> None:
    """Remove what was written longest ago, beyond `KEPT` files."""
    files = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    for old in files[KEPT:]:
        old.unlink(missing_ok=True)
