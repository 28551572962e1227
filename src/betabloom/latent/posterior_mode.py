r"""The mode of the posterior: the code that explains best what is seen of a picture, and is plausible in itself.

With whitened codes z = m̄ + L w (see `betabloom.latent.space`) and seen pixels M, Adam minimises

    ½ Σ_M (x − x̂(z))² / s² + ½ ‖w‖²,

the negative log-posterior of w given the seen pixels, where x̂ is the decoder's picture, s how far pixels are from it,
and the prior the Gaussian that resembles the model's codes. The learning rate falls to 0 over the second half. An
encoder is one function for all pictures, and a search is for one picture, so that it ends nearer; that gap is described
by Cremer et al. 2018, "Inference Suboptimality in Variational Autoencoders", https://arxiv.org/abs/1801.03558.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from betabloom.latent.space import code_space

if TYPE_CHECKING:
    from betabloom.latent.space import Space
    from betabloom.model.model import Model
    from betabloom.system.console import Progress

__all__ = ["PIXEL_ERROR", "posterior_mode"]

RATE = 0.08
PIXEL_ERROR = 0.08  # s where pixels are clean: what reconstructions miss by
AT_ONCE = 32  # pictures


def posterior_mode(
    model: Model,
    start: np.ndarray,
    pictures: np.ndarray,
    steps: int,
    seen: np.ndarray | None = None,
    error: float = PIXEL_ERROR,
    space: Space | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Search for the code of each picture.

    Arguments:
        model: The model.
        start: Codes to start from, such as the encoder's, (N, l), N ≥ 1.
        pictures: uint8 (N, H, W, C), prepared.
        steps: Of Adam.
        seen: Boolean (H, W), true where pixels are known; None for all.
        error: s, of pixels in [0, 1].
        space: Where the model's codes lie, if that was measured already.
        progress: Called as progress(done, all, text), in steps of Adam.

    Returns:
        Codes, float32 (N, l).
    """
    import torch

    from betabloom.vae.inference import to_tensor

    space = space or code_space(model)
    device = next(model.vae.parameters()).device
    mean, factor = (torch.tensor(each, dtype=torch.float32, device=device) for each in (space.mean, space.factor))
    known = np.ones(pictures.shape[1:3], bool) if seen is None else seen
    weight = torch.tensor(known, device=device)[None, None] / error**2
    found = []
    for first in range(0, len(pictures), AT_ONCE):
        white = space.whiten(start[first : first + AT_ONCE])
        w = torch.tensor(white, dtype=torch.float32, device=device, requires_grad=True)
        target = to_tensor(pictures[first : first + AT_ONCE], device)
        adam = torch.optim.Adam([w], RATE)
        for step in range(steps):
            adam.param_groups[0]["lr"] = RATE * min(1.0, 2 * (1 - step / steps))
            adam.zero_grad()
            residual = model.vae.decode(mean + w @ factor.T) - target
            loss = 0.5 * (weight * residual.square()).sum() + 0.5 * w.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            if progress:
                done = first * steps + (step + 1) * len(w)
                progress(done, len(pictures) * steps, f"searching for codes of {len(pictures)} pictures")
        found.append((mean + w @ factor.T).detach().cpu().numpy())
    codes: np.ndarray = np.concatenate(found)
    return codes
