"""Answers about the model in use and its pictures."""

from __future__ import annotations

import asyncio
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, Response

from betabloom.errors import UsageError
from betabloom.imaging import colour
from betabloom.model.directory import MODELS
from betabloom.studio.atelier import Atelier, Busy
from betabloom.studio.guard import Refused
from betabloom.studio.payload import film_file, image_of, picture_address, png_file, record_in, short
from betabloom.studio.routes import checked, openapi
from betabloom.studio.sharing import Sharing

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from betabloom.studio.jobs import Jobs
    from betabloom.studio.known import Neighbour

    Found = TypeVar("Found")

__all__ = ["Pictures"]

HEAVY = 2  # answers at a time that take seconds of all cores
WAITING = 6  # of them that may wait
PACE = 20.0  # frames of a film in a second
OTHER = "Another model was opened in this studio. Reload the page."


class Pictures:
    """Answers to the routes of models and pictures.

    Arguments:
        atelier: The model to begin with.
        jobs: The trainings, whose models can be used.
    """

    def __init__(self, atelier: Atelier, jobs: Jobs) -> None:
        self.atelier = atelier
        self.jobs = jobs
        self.sharing = Sharing(jobs.folder)
        self.counts: dict[str, int] = {}
        self._slots = asyncio.Semaphore(HEAVY)
        self._opening = asyncio.Lock()
        self._waiting = 0
        atelier.known.look()

    def check(self, fingerprint: str) -> None:
        """Refuse what was asked of another model than the one in use: codes of one mean nothing to the other."""
        if fingerprint not in ("", self.atelier.model.fingerprint):
            raise Refused(409, OTHER)

    async def get_health(self) -> Any:
        return {"ok": True, "model": self.atelier.model.fingerprint}

    async def get_metrics(self) -> Response:
        lines = ["# TYPE betabloom_requests_total counter"]
        lines += [f'betabloom_requests_total{{status="{key}"}} {count}' for key, count in sorted(self.counts.items())]
        lines += ["# TYPE betabloom_pictures_decoded_total counter"]
        lines += [f"betabloom_pictures_decoded_total {self.atelier.decode.decoded}"]
        lines += ["# TYPE betabloom_decodings_waiting gauge"]
        lines += [f"betabloom_decodings_waiting {self.atelier.decode.waiting}"]
        return PlainTextResponse("\n".join(lines) + "\n")

    async def get_openapi(self) -> Any:
        return openapi()

    async def get_model(self) -> Any:
        a = self.atelier
        space = await run_in_threadpool(lambda: a.space)
        config = a.model.config
        return {
            "name": a.path,
            "source": str(a.model.training.get("source", "")),
            "fingerprint": a.model.fingerprint,
            "width": config.data.width,
            "height": config.data.height,
            "latents": config.model.latents,
            "samplers": a.samplers,
            "sampler": a.model.sampler,
            "mean": short(space.mean),
            "colours": [{"name": each.name, "typical": list(each.typical)} for each in colour.NAMED],
            "films": ["WEBP", "GIF", *(["MP4"] if find_spec("imageio_ffmpeg") else [])],
        }

    async def get_directions(self) -> Any:
        a = self.atelier
        found = await run_in_threadpool(lambda: a.directions)
        return {"directions": [{"name": each.name, "step": short(each.vector)} for each in found]}

    async def get_models(self) -> Any:
        bundled = sorted(path.name for path in MODELS.iterdir() if (path / "config.json").is_file())
        trained = [each["path"] for each in await run_in_threadpool(self.jobs.all) if _has_model(Path(each["path"]))]
        here = sorted(str(path) for path in Path("runs").glob("*") if _has_model(path))
        return {"models": [*bundled, *trained, *here], "in_use": self.atelier.path}

    async def post_model(self, name: str) -> Any:
        async with self._opening:  # one after the other: the model that was chosen last stays
            known = (await self.get_models())["models"]
            if name not in known and not await run_in_threadpool(_is_model, Path(name)):
                raise Refused(404, f"There is no model named {name!r} here. The models are: {', '.join(known)}.")
            made = await run_in_threadpool(Atelier, name)
            before, self.atelier = self.atelier, made
            before.close()
            made.known.look()
            return await self.get_model()

    async def post_draw(
        self, n: int, seed: int, start: int, temperature: float, sampler: str, palette: str, colourful: bool
    ) -> Any:
        a = self.atelier
        command = f"betabloom generate {shlex.quote(a.path)} -n {n} --seed {seed} --start {start}"
        command += f" --temperature {temperature} --sampler {shlex.quote(sampler)}"
        said: dict[str, Any] = {"seed": seed, "start": start}
        if palette or colourful:
            asked = (n, seed, start, temperature, sampler, palette, colourful)
            codes, said["satisfied"] = await self._heavy(lambda: a.in_colours(*asked))
            command += f" --palette {shlex.quote(palette)}" if palette else ""
            command += " --colourful" if colourful else ""
        else:
            codes = await run_in_threadpool(a.draw, n, seed, start, temperature, sampler)
        return {**await self._with_pictures(a, codes), **said, "command": command}

    async def post_decode(self, codes: list[list[float]]) -> Any:
        a, array = self.atelier, self._array(codes)
        pictures = await self._decoded(a, array)
        return {"pictures": [picture_address(picture) for picture in pictures], "usual": a.typical(array)}

    async def post_encode(self, body: bytes) -> Any:
        a = self.atelier
        found = await self._heavy(lambda: a.encode(body))
        (drawn,) = await self._decoded(a, found["code"][None])
        return {
            "code": short(found["code"]),
            "sigma": short(found["sigma"]),
            "nats": short(found["nats"]),
            "picture": picture_address(found["picture"]),
            "reconstruction": picture_address(drawn),
        }

    async def post_vary(self, code: list[float], n: int, amount: float, seed: int) -> Any:
        a = self.atelier
        varied = await run_in_threadpool(a.vary, self._array([code])[0], n, amount, seed)
        return await self._with_pictures(a, varied)

    async def post_breed(self, parents: list[list[float]], n: int, seed: int) -> Any:
        a, (one, other) = self.atelier, self._array(parents)
        return await self._with_pictures(a, await run_in_threadpool(a.breed, one, other, n, seed))

    async def post_more_like(self, good: list[list[float]], bad: list[list[float]], n: int, seed: int) -> Any:
        a = self.atelier
        codes = await run_in_threadpool(a.more_like, self._array(good), self._array(bad), n, seed)
        return await self._with_pictures(a, codes)

    async def post_map(self, seed: int) -> Any:
        a = self.atelier
        codes, places = await run_in_threadpool(a.map, seed)
        return {**await self._with_pictures(a, codes), "places": [short(place) for place in places]}

    async def get_known(self) -> Any:
        known = self.atelier.known
        return {"state": known.state, "sentence": known.sentence}

    async def post_known(self, source: str) -> Any:
        self.atelier.known.look(source)
        return await self.get_known()

    async def post_nearest(self, codes: list[list[float]]) -> Any:
        a, array, known = self.atelier, self._array(codes), self.atelier.known
        pictures = await self._decoded(a, array)
        found = await run_in_threadpool(known.nearest, array, pictures)
        nearest = [None] * len(array) if found is None else [_neighbour(each) for each in found]
        return {"state": known.state, "sentence": known.sentence, "nearest": nearest}

    async def post_film(self, codes: list[list[float]], frames: int, loop: bool, format: str) -> Any:  # noqa: A002
        a, array, suffix = self.atelier, self._array(codes), f".{format.lower()}"
        record = {**self._record(array), "frames": frames, "loop": loop}
        film = await self._heavy(lambda: film_file(a.film(array, frames, loop), suffix, record, PACE))
        return Response(film, media_type="video/mp4" if format == "MP4" else f"image/{format.lower()}")

    async def post_png(self, code: list[float], scale: int) -> Any:
        a, array = self.atelier, self._array([code])
        record = self._record(array)
        (picture,) = await self._decoded(a, array)
        image = image_of(picture)
        image = image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)
        return Response(await run_in_threadpool(png_file, image, record), media_type="image/png")

    async def post_wallpaper(self, codes: list[list[float]], width: int, height: int, seed: int) -> Any:
        a, array = self.atelier, self._array(codes)
        record = {**self._record(array), "size": f"{width}x{height}"}
        paper = await self._heavy(lambda: png_file(a.wallpaper(array, width, height, seed), record))
        return Response(paper, media_type="image/png")

    async def post_restore(self, body: bytes) -> Any:
        record = await run_in_threadpool(record_in, body)
        if record.get("model") != self.atelier.model.fingerprint:
            raise Refused(409, f"Another model made this picture: {record.get('model_path', 'unknown')}.")
        codes = record.get("codes", [record["code"]] if "code" in record else None)
        if isinstance(codes, list):
            array = self._array(checked("POST", "/api/decode", {"codes": codes})["codes"])
            return await self._with_pictures(self.atelier, array)
        if record.get("verb") == "generate" and isinstance(record.get("seed"), int):
            words = ("seed", "start", "temperature", "sampler", "palette", "colourful")
            asked = {key: record[key] for key in words if key in record}
            n = min(int(record.get("n", 1)), 64)
            return await self.post_draw(**checked("POST", "/api/draw", {**asked, "n": n}))
        raise Refused(422, "The page cannot continue from a picture that was made in this way.")

    async def get_share(self) -> Any:
        return self.sharing.about(self.atelier.model.fingerprint)

    async def post_share(self, title: str, codes: list[list[float]]) -> Any:
        a = self.atelier
        return self.sharing.start(a.path, a.model.fingerprint, title, self._array(codes))

    async def get_share_file(self) -> Any:
        content = await run_in_threadpool(self.sharing.content, self.atelier.model.fingerprint)
        return Response(
            content, headers={"content-disposition": 'attachment; filename="betabloom.html"'}, media_type="text/html"
        )

    def _record(self, codes: np.ndarray) -> dict[str, Any]:
        """What a picture of these codes carries."""
        held = {"code": short(codes[0])} if len(codes) == 1 else {"codes": [short(code) for code in codes]}
        return {"verb": "studio", **held, "model": self.atelier.model.fingerprint, "model_path": self.atelier.path}

    def _array(self, codes: list[list[float]]) -> np.ndarray:
        """Codes of this model, float32 (n, l)."""
        latents = self.atelier.model.config.model.latents
        if any(len(code) != latents for code in codes):
            raise Refused(422, f"A code of this model has {latents} numbers.")
        return np.array(codes, np.float32).reshape(len(codes), latents)

    async def _decoded(self, a: Atelier, codes: np.ndarray) -> np.ndarray:
        if a is not self.atelier:  # it was closed meanwhile, and draws nothing more
            raise Refused(409, OTHER)
        return await asyncio.wrap_future(a.decode(codes))

    async def _heavy(self, work: Callable[[], Found]) -> Found:
        """Work that takes long, in a thread, a few at a time."""
        if self._waiting >= HEAVY + WAITING:
            raise Busy("The studio is busy with other pictures. Try again in a moment.")
        self._waiting += 1
        try:
            async with self._slots:
                return await run_in_threadpool(work)
        finally:
            self._waiting -= 1

    async def _with_pictures(self, a: Atelier, codes: np.ndarray) -> dict[str, Any]:
        pictures = await self._decoded(a, codes)
        copies = await run_in_threadpool(a.known.near_copies, pictures)
        return {
            "codes": [short(code) for code in codes],
            "pictures": [picture_address(picture) for picture in pictures],
            "usual": a.typical(codes),
            "near_copies": copies,
        }


def _neighbour(found: Neighbour) -> dict[str, Any]:
    return {
        "picture": picture_address(found.picture),
        "name": found.name,
        "near_copy": found.near_copy,
        "mirrored": found.mirrored,
    }


def _has_model(run: Path) -> bool:
    return (run / "model" / "config.json").is_file() or (run / "config.json").is_file()


def _is_model(path: Path) -> bool:
    """Whether a person named a model by its place."""
    try:
        return path.is_absolute() and _has_model(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{str(path)!r} cannot be a place.") from error
