"""The β-VAE as a scikit-learn estimator. Needs scikit-learn 1.6: `pip install 'betabloom[sklearn]'`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from betabloom.errors import UsageError
from betabloom.system.hardware import choose_device
from betabloom.vae.build import build_vae
from betabloom.vae.likelihood import OptimalGaussian
from betabloom.vae.posterior import POSTERIORS
from betabloom.vae.prior import StandardNormal
from betabloom.vae.vae import VAE

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_array, check_is_fitted, validate_data
except ImportError as error:
    raise UsageError("betabloom.BetaVAE needs scikit-learn 1.6 or later: pip install 'betabloom[sklearn]'") from error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    Array = NDArray[Any]

__all__ = ["BetaVAE"]

SMALLEST = 1e-12  # deviation below which a column is constant
ROWS = 256  # that are worked on at once


class BetaVAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    r"""β-variational auto-encoder of rows: pictures that are laid out flat, or any table of numbers.

    Minimises D + β R in nats per row, with the distortion D = −E_q[log p(x|z)] of a Gaussian likelihood whose variance
    is the best one (Rybkin et al. 2021) and the rate R = KL(q(z|x) ‖ N(0, I)) (Higgins et al. 2017).

    Arguments:
        n_components: Number of latent dimensions l, ≥ 1.
        beta: β ≥ 0. 1 is the VAE, 0 a plain auto-encoder.
        image_shape: (height, width) or (height, width, channels) of the picture that each row holds, pixels as
            `pictures.reshape(len(pictures), -1)` lays them out; such rows get a convolutional network. None for tables,
            which get one with two hidden layers.
        hidden: Width of the hidden layers for tables.
        widths: Channels of each level of the convolutional network.
        max_iter: Training steps, ≥ 1.
        batch_size: Rows in a step.
        learning_rate: Peak learning rate of Adam; it rises over the first tenth of the steps and falls to 0.
        random_state: Seed, `numpy.random.RandomState` or None, as everywhere in scikit-learn.
        device: "cpu", "cuda", "mps", or "auto" for the best there is.

    Attributes:
        n_features_in_: Number of columns d.
        feature_names_in_: Their names, if X had names.
        offset_: What is subtracted from each column, (d,).
        scale_: What each column is divided by then, (d,).
        loss_curve_: D + β R of every step, nats per row.
        vae_: The trained `betabloom.VAE`.
        n_iter_: Steps that were taken.
    """

    def __init__(
        self,
        n_components: int = 10,
        *,
        beta: float = 1.0,
        image_shape: Sequence[int] | None = None,
        hidden: int = 64,
        widths: Sequence[int] = (16, 32, 64),
        max_iter: int = 500,
        batch_size: int = 64,
        learning_rate: float = 2e-3,
        random_state: Any = None,
        device: str = "cpu",
    ) -> None:
        self.n_components = n_components
        self.beta = beta
        self.image_shape = image_shape
        self.hidden = hidden
        self.widths = widths
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.device = device

    def fit(self, X: ArrayLike, y: Any = None) -> Self:  # noqa: N803
        """Train on the rows X, (n, d); `y` is not looked at.

        Raises:
            ValueError: X is not a finite table of at least two rows, or a parameter is out of range.
        """
        rows = validate_data(self, X, dtype=(np.float64, np.float32), ensure_min_samples=2)
        shape = self._shape(rows.shape[1])
        self.offset_, self.scale_ = _units(np.asarray(rows, np.float64), self.image_shape is not None)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.vae_, self.loss_curve_ = _trained(self, self._scaled(rows), shape, seed)
        self.n_iter_ = len(self.loss_curve_)
        self._n_features_out = self.n_components
        return self

    def transform(self, X: ArrayLike) -> Array:  # noqa: N803
        """Codes of the rows X (n, d): posterior means μ, (n, l)."""
        rows = self._checked(X)
        return _batched(self, lambda x: self.vae_.encode(x).mean, self._scaled(rows)).astype(rows.dtype)

    def inverse_transform(self, X: ArrayLike) -> Array:  # noqa: N803
        """Rows (n, d), in the units of what was fitted, that the codes X (n, l) stand for: the mean of p(x|z)."""
        check_is_fitted(self)
        codes = check_array(X, dtype=(np.float64, np.float32))
        if codes.shape[1] != self.n_components:
            raise ValueError(
                f"X should have {self.n_components} columns, one for each latent dimension, not {codes.shape[1]}."
            )
        likelihood: Any = self.vae_.likelihood  # whose mean is kept in [0, 1], as pictures are and tables are not
        pictures = _batched(self, lambda z: likelihood.location(self.vae_.decoder(z)), codes)
        rows = pictures.transpose(0, 2, 3, 1).reshape(len(codes), -1) * self.scale_ + self.offset_
        return np.asarray(rows, codes.dtype)

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Array:
        """New rows (n, d): z ~ N(0, I), then the mean of p(x|z).

        Arguments:
            n_samples: How many, ≥ 1.
            random_state: Seed, `RandomState` or None.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"'n_samples' must be at least 1, not {n_samples}.")
        codes = check_random_state(random_state).standard_normal((n_samples, self.n_components))
        return self.inverse_transform(codes)

    def score_samples(self, X: ArrayLike) -> Array:  # noqa: N803
        """The evidence lower bound on log p(x) of each row, in nats and in the units of X, (n,).

        −D − R with D at the posterior's mean in place of its expectation, so that two calls agree; that is a little
        above the bound. For β = 0, which has no R, it is a reconstruction error, and no likelihood.
        """
        rows = self._checked(X)

        def bound(x: Tensor) -> Tensor:
            posterior = self.vae_.encode(x)
            rate = self.vae_.prior.kl(posterior, posterior.mean) if posterior.has_density else 0
            return -self.vae_.likelihood.distortion(self.vae_.decoder(posterior.mean), x) - rate

        scores = _batched(self, bound, self._scaled(rows)).astype(np.float64)
        return np.asarray(scores - np.log(self.scale_).sum())

    def score(self, X: ArrayLike, y: Any = None) -> float:  # noqa: N803
        """Mean of `score_samples`, as model selection maximises; `y` is not looked at."""
        return float(self.score_samples(X).mean())

    def _checked(self, X: ArrayLike) -> Array:  # noqa: N803
        check_is_fitted(self)
        return np.asarray(validate_data(self, X, dtype=(np.float64, np.float32), reset=False))

    def _scaled(self, rows: Array) -> Array:
        """Rows (n, d) as pictures (n, C, H, W); a table is one row of pixels."""
        height, width, channels = self._shape(rows.shape[1])
        scaled = (np.asarray(rows, np.float64) - self.offset_) / self.scale_
        pictures: Array = scaled.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
        return pictures

    def _shape(self, columns: int) -> tuple[int, int, int]:
        """(height, width, channels), and refuse parameters that are out of range."""
        for name in ("n_components", "hidden", "max_iter", "batch_size"):
            if int(getattr(self, name)) < 1:
                raise ValueError(f"'{name}' must be at least 1, not {getattr(self, name)}.")
        if not (0 <= self.beta < math.inf and 0 < self.learning_rate < math.inf):
            raise ValueError(f"'beta' must be 0 or more, 'learning_rate' positive: {self.beta}, {self.learning_rate}.")
        if self.image_shape is None:
            return 1, columns, 1
        height, width, channels = (*self.image_shape, 1)[:3]
        if height * width * channels != columns:
            raise ValueError(f"Pictures of 'image_shape' {tuple(self.image_shape)} do not have {columns} values.")
        return int(height), int(width), int(channels)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _units(rows: Array, pictures: bool) -> tuple[Array, Array]:
    """Offset and scale (d,) of the columns: mean and deviation of each; of pictures, darkest and lightest of all."""
    if pictures:
        low, high = rows.min(), rows.max()
        return np.full(rows.shape[1], low), np.full(rows.shape[1], high - low if high > low else 1.0)
    spread = rows.std(0)
    return rows.mean(0), np.where(spread > SMALLEST, spread, 1.0)


def _trained(settings: BetaVAE, x: Array, shape: tuple[int, int, int], seed: int) -> tuple[VAE, list[float]]:
    """The trained VAE, and the loss of every step. The caller's random numbers of torch are left as they were."""
    device = choose_device(settings.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = (_image_vae if settings.image_shape is not None else _table_vae)(settings, shape).to(device)
        pictures, losses = torch.from_numpy(x.astype(np.float32)).to(device), list[float]()
        optimiser = torch.optim.Adam(vae.parameters(), lr=settings.learning_rate)
        for step in range(settings.max_iter):
            optimiser.param_groups[0]["lr"] = settings.learning_rate * _pace((step + 1) / settings.max_iter)
            batch = pictures[torch.randint(len(pictures), (min(settings.batch_size, len(pictures)),))]
            terms = vae(batch, torch.randn(len(batch), settings.n_components).to(device))
            loss = terms.distortion.mean() + settings.beta * terms.rate.mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(vae.parameters(), 10.0 * x[0].size)
            optimiser.step()
            losses.append(float(loss.detach()))
    vae = vae.requires_grad_(False).eval()
    return (vae if settings.image_shape is not None or device.type == "mps" else vae.double()), losses


def _pace(t: float) -> float:
    """The learning rate as a part of its peak: up over the first tenth, and down to 0 over the second half."""
    return min(10 * t, 1.0, max(2 * (1 - t), 1e-3))


def _image_vae(settings: BetaVAE, shape: tuple[int, int, int]) -> VAE:
    height, width, channels = shape
    posterior = "normal" if settings.beta else "point"
    widths = tuple(settings.widths)
    return build_vae((channels, height, width), settings.n_components, "conv", widths, posterior=posterior)


def _table_vae(settings: BetaVAE, shape: tuple[int, int, int]) -> VAE:
    """A VAE with two hidden layers on either side, for rows (1, 1, d) without limits."""
    width, latents = shape[1], settings.n_components
    encoder = _Halves(nn.Flatten(), *_layers(width, settings.hidden, 2 * latents))
    decoder = nn.Sequential(*_layers(latents, settings.hidden, width), nn.Unflatten(1, (1, 1, width)))
    likelihood = OptimalGaussian(momentum=0.05, link="identity")
    networks: tuple[Any, Any] = encoder, decoder
    return VAE(*networks, likelihood, StandardNormal(latents), POSTERIORS["normal" if settings.beta else "point"])


class _Halves(nn.Sequential):
    """Layers whose outputs (B, 2 l) are μ and log σ², (B, l) each."""

    heads = ("mean", "log_var")

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        for layer in self:
            x = layer(x)
        return x.chunk(2, 1)


def _layers(inputs: int, hidden: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, outputs)]


def _batched(settings: BetaVAE, function: Any, x: Array) -> Array:
    """function(x) of rows, some hundred at a time, on the device and in the precision of the model."""
    weight = next(settings.vae_.parameters())
    with torch.inference_mode():
        parts = [
            function(torch.from_numpy(np.ascontiguousarray(x[first : first + ROWS])).to(weight)).cpu().numpy()
            for first in range(0, len(x), ROWS)
        ]
    return np.concatenate(parts)
