"""betabloom: the β-VAE that people use.

    import betabloom

    pictures = betabloom.prepare("drawn:2000", size=32)
    model = betabloom.fit(pictures, preset="tiny")
    betabloom.grid(model.generate(n=16, seed=7)).save("flowers.png")

Everything heavy is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from betabloom.faces import face
from betabloom.version import __version__ as __version__

if TYPE_CHECKING:
    from betabloom import data as data
    from betabloom import metrics as metrics
    from betabloom import samplers as samplers
    from betabloom import vae as vae
    from betabloom.config import Config
    from betabloom.errors import BetabloomError
    from betabloom.estimator import BetaVAE
    from betabloom.imaging.curves import curves
    from betabloom.imaging.sheets import grid, pairs
    from betabloom.library import fit, prepare, resume
    from betabloom.model.model import Model, load
    from betabloom.vae.build import build_vae
    from betabloom.vae.describe import describe_layers
    from betabloom.vae.likelihood import Bernoulli
    from betabloom.vae.prior import StandardNormal
    from betabloom.vae.vae import VAE

__all__ = [
    "VAE",
    "Bernoulli",
    "BetaVAE",
    "BetabloomError",
    "Config",
    "Model",
    "StandardNormal",
    "build_vae",
    "curves",
    "describe_layers",
    "fit",
    "grid",
    "load",
    "pairs",
    "prepare",
    "resume",
]

_HOMES = {
    "config": "Config",
    "errors": "BetabloomError",
    "estimator": "BetaVAE",
    "imaging.curves": "curves",
    "imaging.sheets": "grid pairs",
    "library": "fit prepare resume",
    "model.model": "Model load",
    "vae.build": "build_vae",
    "vae.describe": "describe_layers",
    "vae.likelihood": "Bernoulli",
    "vae.prior": "StandardNormal",
    "vae.vae": "VAE",
}
_ROOMS = "data imaging metrics networks vae samplers model training refine generate latent export"

__getattr__, __dir__ = face(__name__, _HOMES, _ROOMS)
