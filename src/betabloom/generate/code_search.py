r"""Generation on request: codes are moved until their pictures satisfy targets, and the best of several is kept.

How colours follow from codes is learned from pictures of the model itself: y ≈ c + Jᵀe by ridge regression, where
e = L⁻¹(z − m) are codes whitened by the mean and covariance of codes that the sampler draws. A code that misses the
target by r is moved by Δe = J(JᵀJ + δI)⁻¹ r, the shortest way there; its picture is decoded and measured again, a few
times. Codes stay in the ball that holds 99.9 % of whitened codes, and the way moved counts against a picture, so that
pictures look as natural as those drawn freely.

Picture i of seed s is the best of K candidates of the series s, number i·T·K and following; if none is as requested, of
the K after those, up to T times. It depends on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from betabloom.metrics.covariance import shrunk_covariance
from betabloom.seeds import check
from betabloom.vae import inference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from betabloom.generate.colours import ColourTarget
    from betabloom.system.console import Progress
    from betabloom.vae.prior import Prior
    from betabloom.vae.vae import VAE

    Draw = Callable[[int, int, float, int], np.ndarray]
    Decode = Callable[[np.ndarray], np.ndarray]

__all__ = ["CodeSearch", "SearchResult", "code_searches", "search"]

PROBES = 512  # pictures that the regression learns from
PROBE_SEED = 102
CANDIDATES = 8  # K
TRIES = 4  # T
MOVES = 4
DAMPING = 0.05  # δ, of the mean eigenvalue of JᵀJ
TINY = 1e-8
COST = 0.02  # of a move by one standard deviation, in coordinates of the targets
REACH = 3.29  # standard deviations, for the radius of the ball


@dataclass(frozen=True)
class SearchResult:
    """Pictures made on request.

    Attributes:
        pictures: uint8 (n, H, W, C).
        satisfied: Whether each satisfies all targets, (n,).
        moved: How far its code was moved from where it was drawn, in standard deviations, (n,).
        codes: What was decoded, (n, l).
    """

    pictures: np.ndarray
    satisfied: np.ndarray
    moved: np.ndarray
    codes: np.ndarray


def search(
    vae: VAE,
    targets: Sequence[Sequence[ColourTarget]],
    n: int,
    seed: int = 0,
    temperature: float = 1.0,
    start: int = 0,
    density: Prior | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """New pictures that satisfy targets, or come near.

    Arguments:
        vae: The model, in evaluation mode.
        targets: Picture i is to satisfy all of targets[i mod their number].
        n: How many pictures, ≥ 1.
        seed: Names the series of pictures.
        temperature: Factor on the noise that candidates are drawn with.
        start: Number of the first picture in the series.
        density: Where codes come from; the model's prior if None.
        progress: Called as progress(done, total, text).
    """
    check(n, temperature)

    def draw(n: int, seed: int, temperature: float, start: int) -> np.ndarray:
        return inference.draw(vae, n, seed, temperature, start, density)

    def decode(codes: np.ndarray) -> np.ndarray:
        return inference.decode(vae, codes)

    searches = code_searches(draw, decode, targets)
    made = []
    for number in range(start, start + n):
        made.append(searches[number % len(searches)].picture(seed, number, temperature))
        if progress:
            progress(len(made), n, "")
    found, satisfied, moved, codes = zip(*made, strict=True)
    return SearchResult(np.stack(found), np.array(satisfied), np.array(moved), np.stack(codes))


def code_searches(draw: Draw, decode: Decode, targets: Sequence[Sequence[ColourTarget]]) -> list[CodeSearch]:
    """A search for each list of targets, learned from the same pictures.

    Arguments:
        draw: (n, seed, temperature, start) → codes (n, l) that the model's sampler draws.
        decode: Codes (n, l) → pictures, uint8 (n, H, W, C).
        targets: What a picture is to satisfy, for each search.
    """
    codes = draw(PROBES, PROBE_SEED, 1.0, 0).astype(np.float64)
    pictures = decode(codes)
    return [CodeSearch.fit(draw, decode, each, codes, pictures) for each in targets]


@dataclass(frozen=True)
class CodeSearch:
    """What a model's codes have to do with targets.

    Attributes:
        draw: (n, seed, temperature, start) → codes (n, l).
        decode: Codes (n, l) → pictures.
        targets: The targets.
        mean: m, mean of the codes, (l,).
        factor: L, lower Cholesky factor of their covariance, (l, l).
        step: From what is missing, (d,), to the move of a whitened code, (l,): shape (l, d).
    """

    draw: Draw
    decode: Decode
    targets: Sequence[ColourTarget]
    mean: np.ndarray
    factor: np.ndarray
    step: np.ndarray

    @classmethod
    def fit(
        cls, draw: Draw, decode: Decode, targets: Sequence[ColourTarget], codes: np.ndarray, pictures: np.ndarray
    ) -> CodeSearch:
        """Learn from codes (N, l) that the model draws, and their pictures."""
        count, latents = codes.shape
        mean, covariance = codes.mean(0), np.cov(codes.T).reshape(latents, latents)
        factor = np.linalg.cholesky(shrunk_covariance(count * covariance, count))
        white = np.linalg.solve(factor, (codes - mean).T).T
        measured = _measure(targets, pictures)
        slope = np.linalg.solve(white.T @ white + latents * np.eye(latents), white.T @ (measured - measured.mean(0)))
        gram = slope.T @ slope
        damped = gram + (DAMPING * np.trace(gram) / len(gram) + TINY) * np.eye(len(gram))
        return cls(draw, decode, targets, mean, factor, slope @ np.linalg.inv(damped))

    def picture(self, seed: int, number: int, temperature: float = 1.0) -> tuple[np.ndarray, bool, float, np.ndarray]:
        """One picture of a series, whether it satisfies all targets, how far its code was moved, and the code."""
        tried: list[tuple[np.ndarray, ...]] = []
        for attempt in range(number * TRIES, (number + 1) * TRIES):
            tried += self._search(self.draw(CANDIDATES, seed, temperature, attempt * CANDIDATES))
            unmet, loss, moved, pictures, codes = (np.concatenate(parts) for parts in zip(*tried, strict=True))
            best = np.lexsort((loss, unmet))[0]  # the most targets satisfied, and of those the nearest
            if unmet[best] == 0:
                break
        return pictures[best], bool(unmet[best] == 0), float(moved[best]), codes[best]

    def _search(self, codes: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        """For each move of codes (K, l): targets not satisfied, loss and way moved, each (K,), pictures, and codes."""
        begun = white = np.linalg.solve(self.factor, (codes - self.mean).T).T
        target = np.concatenate([each.target for each in self.targets])
        seen: list[tuple[np.ndarray, ...]] = []
        for _ in range(1 + MOVES):
            pictures = self.decode(codes)
            missing = target - _measure(self.targets, pictures)
            unmet = len(self.targets) - np.sum([each.satisfied(pictures) for each in self.targets], 0)
            moved = np.linalg.norm(white - begun, axis=1)
            seen.append((unmet, np.linalg.norm(missing, axis=1) + COST * moved, moved, pictures, codes))
            white = _within(white + missing @ self.step.T, begun)
            codes = self.mean + white @ self.factor.T
        return seen


def _measure(targets: Sequence[ColourTarget], pictures: np.ndarray) -> np.ndarray:
    return np.concatenate([each.measure(pictures) for each in targets], 1)


def _within(white: np.ndarray, begun: np.ndarray) -> np.ndarray:
    """Codes drawn back into the ball of 99.9 % of whitened codes, or no further out than they began.

    The radius of a standard normal vector is close to N(√(l − ½), ½) (Fisher's approximation of χ²).
    """
    radius = np.sqrt(white.shape[1] - 0.5) + REACH * np.sqrt(0.5)
    limit = np.maximum(radius, np.linalg.norm(begun, axis=1))
    shrink = np.minimum(1, limit / np.maximum(np.linalg.norm(white, axis=1), TINY))[:, None]
    inside: np.ndarray = white * shrink
    return inside
