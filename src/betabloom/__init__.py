"""betabloom: the β-VAE that people use.

    import betabloom

    pictures = betabloom.prepare("drawn:2000", size=32)
    model = betabloom.fit(pictures, preset="tiny")
    betabloom.grid(model.generate(n=16, seed=7)).save("flowers.png")

Everything heavy is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from betabloom.checkpoint import Model, load
    from betabloom.config import Config
    from betabloom.errors import BetabloomError
    from betabloom.library import fit, prepare
    from betabloom.plot import curves, grid, pairs
    from betabloom.vae import VAE, build_vae

__version__ = "0.1.0"

__all__ = [
    "VAE",
    "BetabloomError",
    "Config",
    "Model",
    "build_vae",
    "curves",
    "fit",
    "grid",
    "load",
    "pairs",
    "prepare",
]

_HOMES = {
    "BetabloomError": "errors",
    "Config": "config",
    "Model": "checkpoint",
    "VAE": "vae",
    "build_vae": "vae",
    "curves": "plot",
    "fit": "library",
    "grid": "plot",
    "load": "checkpoint",
    "pairs": "plot",
    "prepare": "library",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'betabloom' has no attribute {name!r}")
    return getattr(importlib.import_module(f"betabloom.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
