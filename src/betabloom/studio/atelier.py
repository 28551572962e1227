"""The model that the page works with: drawing, decoding, encoding, and what can be done with codes.

Arrays in, arrays out; nothing here knows of HTTP. Decoding is batched: what several requests ask for at once is decoded
together.
"""

from __future__ import annotations

import tempfile
import threading
from concurrent.futures import Future
from functools import cached_property
from pathlib import Path
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.errors import BetabloomError, UsageError
from betabloom.generate.drawing import colour_targets
from betabloom.generate.request import Request
from betabloom.imaging.sheets import scaled
from betabloom.imaging.wallpaper import meadow, resize_to_cover
from betabloom.latent.maps import project
from betabloom.latent.mixing import crossed
from betabloom.latent.morphing import morph
from betabloom.latent.preference import moved_along, preferred_direction
from betabloom.latent.space import code_space
from betabloom.latent.stored_directions import stored_directions
from betabloom.model.directory import BUNDLED
from betabloom.model.without_torch import NumpyModel, open_without_torch
from betabloom.samplers.neighbourhood import DRAWN, NEAREST, sisters
from betabloom.seeds import base_noise
from betabloom.studio.known import Known

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL import Image

    from betabloom.generate.code_search import CodeSearch
    from betabloom.latent.directions import Direction
    from betabloom.latent.space import Space
    from betabloom.model.model import Model

    _Asked = tuple[np.ndarray, Future[np.ndarray]]

__all__ = ["Atelier", "Busy", "Decoder"]

BATCH = 64  # codes that are decoded together
QUEUED = 256  # decodings that may wait
ON_MAP = 150
FILM_SIDE = 256  # pixels that the longer side of a film has at most, where pictures are smaller
SEARCHES = 8  # colours whose searches are kept
GATHERED = 0.002  # seconds to wait for more to decode together, where several ask


class Busy(BetabloomError):  # noqa: N818  (it says how things are)
    """More is waiting to be decoded than is worth waiting for."""


class Decoder:
    """Decodes what waits, up to `BATCH` codes at a time, in a thread of its own."""

    def __init__(self, decode: Callable[[np.ndarray], np.ndarray]) -> None:
        self._decode = decode
        self._waiting: Queue[_Asked | None] = Queue(QUEUED)
        self.decoded = 0
        threading.Thread(target=self._work, daemon=True).start()

    def __call__(self, codes: np.ndarray) -> Future[np.ndarray]:
        """The pictures, when they are there."""
        future: Future[np.ndarray] = Future()
        try:
            self._waiting.put_nowait((codes, future))
        except Full as error:
            raise Busy("Too much is waiting to be drawn. Try again in a moment.") from error
        return future

    @property
    def waiting(self) -> int:
        """How many decodings wait."""
        return self._waiting.qsize()

    def close(self) -> None:
        """Stop after what is waiting."""
        self._waiting.put(None)

    def _work(self) -> None:
        several = False
        while first := self._waiting.get():
            asked = self._gathered(first, GATHERED if several else 0.0)
            several = len(asked) > 1
            self._answer([each for each in asked if each[1].set_running_or_notify_cancel()])

    def _gathered(self, first: _Asked, patience: float) -> list[_Asked]:
        """What waits, and what comes within `patience` seconds of one another, up to `BATCH` codes."""
        asked = [first]
        while sum(len(codes) for codes, _ in asked) < BATCH:
            try:
                following = self._waiting.get(timeout=patience) if patience else self._waiting.get_nowait()
            except Empty:
                break
            if following is None:
                self._waiting.put(None)
                break
            asked.append(following)
        return asked

    def _answer(self, asked: Sequence[_Asked]) -> None:
        if not asked:
            return
        try:
            pictures = self._decode(np.concatenate([codes for codes, _ in asked]))
        except Exception as error:  # whoever waits has to hear of it
            for _, future in asked:
                future.set_exception(error)
            return
        self.decoded += len(pictures)
        ends = np.cumsum([len(codes) for codes, _ in asked])
        for part, (_, future) in zip(np.split(pictures, ends[:-1]), asked, strict=True):
            future.set_result(part)


class Atelier:
    """A model in use.

    Arguments:
        path: A model or run; the bundled one if None.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = str(path) if path else str(BUNDLED)
        self.model: NumpyModel | Model = open_without_torch(path) or self._whole(path)
        self.decode = Decoder(self.model.decode)
        self.known = Known(self.model, self.path, lambda: self.space)
        self._lock, self._measuring, self._finding = threading.Lock(), threading.Lock(), threading.Lock()
        self._space: Space | None = None
        self._directions: list[Direction] | None = None
        self._searches: dict[tuple[str, bool, str], list[CodeSearch]] = {}
        threading.Thread(target=lambda: self.directions, daemon=True).start()  # before the page asks for them

    @staticmethod
    def _whole(path: str | Path | None) -> Model:
        from betabloom.model.model import load

        return load(path)

    @property
    def space(self) -> Space:
        """Where its codes lie; measured once, whoever asks first."""
        with self._measuring:
            if self._space is None:
                self._space = code_space(self.model)
            return self._space

    @property
    def directions(self) -> list[Direction]:
        """The strongest directions that differ, the one that changes most per nat first; found once."""
        with self._finding:
            if self._directions is None:
                self._directions = stored_directions(self.model, self.space)
            return self._directions

    @property
    def samplers(self) -> list[str]:
        """Names of the densities that codes can be drawn from."""
        return sorted({"prior", *self.model.samplers})

    def draw(self, n: int, seed: int, start: int, temperature: float, sampler: str) -> np.ndarray:
        """Codes (n, l) of new pictures: those of `generate`."""
        return self.model.draw(n, seed, temperature, start, sampler)

    def in_colours(
        self, n: int, seed: int, start: int, temperature: float, sampler: str, palette: str, colourful: bool
    ) -> tuple[np.ndarray, list[bool]]:
        """Codes (n, l) of `generate --palette … --colourful`, and which of them are as asked for."""
        with self._lock:  # one search at a time: each takes all cores
            searches = self._searches_for(palette, colourful, sampler)
            found = [searches[i % len(searches)].picture(seed, i, temperature) for i in range(start, start + n)]
        return np.stack([code for *_, code in found]).astype(np.float32), [satisfied for _, satisfied, *_ in found]

    def _searches_for(self, palette: str, colourful: bool, sampler: str) -> list[CodeSearch]:
        from betabloom.generate.code_search import code_searches  # it imports torch

        key = palette, colourful, sampler
        if key not in self._searches:
            targets, _ = colour_targets(Request(palette=palette or None, colourful=colourful))

            def draw(n: int, seed: int, temperature: float, start: int) -> np.ndarray:
                return self.model.draw(n, seed, temperature, start, sampler)

            if len(self._searches) >= SEARCHES:
                self._searches.clear()
            self._searches[key] = code_searches(draw, self.model.decode, targets)
        return self._searches[key]

    def encode(self, picture: bytes) -> dict[str, Any]:
        """A photo as the model sees it: its code (l,), how sure the posterior is, and what was prepared."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "photo"
            file.write_bytes(picture)
            try:
                prepared = self.model.pipeline.load(file)
            except BetabloomError as error:
                raise UsageError(f"This file cannot be read as a picture: {error}") from error
        with self._lock:
            mean, log_var = self.model.encode(prepared[None])
        spread = self.space.spread
        told = 0.5 * np.log(np.maximum(spread**2 / np.exp(log_var[0].astype(np.float64)), 1.0))
        return {"code": mean[0], "sigma": np.exp(0.5 * log_var[0]), "nats": told, "picture": prepared}

    def vary(self, code: np.ndarray, n: int, amount: float, seed: int) -> np.ndarray:
        """Codes (n, l) of sisters of a picture: those of `betabloom vary`."""
        return sisters(code, self.space.codes[:DRAWN], base_noise(seed, n, NEAREST)[0], amount)

    def breed(self, one: np.ndarray, other: np.ndarray, n: int, seed: int) -> np.ndarray:
        """Codes (n, l) of children of two pictures."""
        return crossed(self.space, one, other, n, seed)

    def more_like(self, good: np.ndarray, bad: np.ndarray, n: int, seed: int) -> np.ndarray:
        """Codes (n, l) of new pictures with what the good ones have and the bad ones have not."""
        direction, place = preferred_direction(self.space, good, bad if len(bad) else None)
        return moved_along(self.space, self.draw(n, seed, 0, 1.0, "auto"), direction, place)

    @cached_property
    def _whitening(self) -> tuple[np.ndarray, np.ndarray]:
        """L⁻¹, and squared distances of the model's own codes from their mean in whitened codes, in order."""
        inverse = np.linalg.inv(self.space.factor)
        return inverse, np.sort(np.square((self.space.codes - self.space.mean) @ inverse.T).sum(1))

    def typical(self, codes: np.ndarray) -> list[dict[str, float]]:
        """How usual codes are: log-density under the Gaussian that the model's codes resemble, and its percentile."""
        inverse, drawn = self._whitening
        distances = np.square((codes - self.space.mean) @ inverse.T).sum(1)
        share = 1 - np.searchsorted(drawn, distances) / len(drawn)
        return [
            {"nats": -0.5 * float(distance), "percentile": round(100 * float(part), 1)}
            for distance, part in zip(distances, share, strict=True)
        ]

    def map(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Codes (M, l) and where they lie on a plane, (M, 2) in −1…1: their two strongest principal components."""
        codes = self.space.codes[np.random.default_rng([seed, 9]).permutation(len(self.space.codes))[:ON_MAP]]
        flat = 2 * project(codes, space=self.space) - 1
        ranks = 2 * flat.argsort(0).argsort(0) / max(len(codes) - 1, 1) - 1
        return codes, 0.8 * ranks + 0.2 * flat  # ranks spread out what lies close together

    def film(self, codes: np.ndarray, frames: int, loop: bool) -> np.ndarray:
        """A film from picture to picture, uint8 (frames, H, W, C), of a size to look at."""
        pictures, _ = morph(self.model, codes, frames, loop, middle=self.space.mean)
        return scaled(pictures, max(1, FILM_SIDE // max(pictures.shape[1:3])))

    def wallpaper(self, codes: np.ndarray, width: int, height: int, seed: int) -> Image.Image:
        """One picture cut to a size, or many as a meadow that wraps around at its edges."""
        pictures = self.model.decode(codes)
        if len(pictures) == 1:
            return resize_to_cover(pictures[0], width, height)
        return meadow(pictures, width, height, seed)

    def close(self) -> None:
        """Let go of the thread."""
        self.decode.close()
