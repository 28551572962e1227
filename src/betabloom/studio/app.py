"""The application: routes over the model in use and the trainings, within the limits of the guard."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount
from starlette.routing import Route as Path_
from starlette.staticfiles import StaticFiles

from betabloom.imaging.png import read_png, save_png
from betabloom.model.directory import MODELS
from betabloom.reports.share import PAGE
from betabloom.studio.atelier import Atelier, Busy
from betabloom.studio.guard import Guard, Refused, told
from betabloom.studio.jobs import Jobs
from betabloom.studio.routes import ROUTES, checked, openapi

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from starlette.requests import Request

__all__ = ["Studio", "create_app"]

STATIC = Path(__file__).parent / "static"
SHARED = PAGE  # what looks alike in a shared file
JSON_DIGITS = 5


def create_app(atelier: Atelier, folder: Path, hosts: Iterable[str], token: str = "") -> Guard:
    """The ASGI application of the studio.

    Arguments:
        atelier: The model to begin with.
        folder: Where photos that are dropped and trainings are kept.
        hosts: Names, with port, that it answers to.
        token: What every request must carry; none if empty.
    """
    studio = Studio(atelier, Jobs(folder))
    routes: list[Any] = [
        Path_(each.path, studio.handler(each.method, each.path), methods=[each.method]) for each in ROUTES
    ]
    files = [Mount("/shared", StaticFiles(directory=SHARED)), Mount("/", StaticFiles(directory=STATIC, html=True))]
    app = Starlette(routes=[*routes, *files])
    guard = Guard(app, frozenset(hosts), token)
    studio.counts = guard.counts
    return guard


class Studio:
    """Answers to the routes.

    Arguments:
        atelier: The model in use.
        jobs: The trainings.
    """

    def __init__(self, atelier: Atelier, jobs: Jobs) -> None:
        self.atelier = atelier
        self.jobs = jobs
        self.counts: dict[str, int] = {}

    def handler(self, method: str, path: str) -> Callable[[Request], Awaitable[Response]]:
        """What answers to a route: the method named by it, with a body that was checked."""
        name = path.removeprefix("/api").strip("/").replace("/{folder}/{file}", "_put").replace("{run}/", "run_")
        name = name.replace("{run}", "run").replace("/", "_").replace("-", "_").replace(".json", "")
        answer = getattr(self, f"{method.lower()}_{name}")

        async def handle(request: Request) -> Response:
            try:
                found = await answer(**await _asked(method, path, request))
            except Exception as error:  # whatever it is, the client gets a sentence
                status, sentence = told(Refused(429, str(error)) if isinstance(error, Busy) else error)
                return JSONResponse({"error": sentence}, status, {"retry-after": "1"} if status in (429, 503) else None)
            return found if isinstance(found, Response) else JSONResponse(found)

        return handle

    async def get_health(self) -> Any:
        return {"ok": True, "model": self.atelier.model.fingerprint}

    async def get_metrics(self) -> Response:
        lines = [f'betabloom_requests_total{{status="{key}"}} {count}' for key, count in sorted(self.counts.items())]
        lines.append(f"betabloom_pictures_decoded_total {self.atelier.decode.decoded}")
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
            "mean": _short(space.mean),
        }

    async def get_directions(self) -> Any:
        found = await run_in_threadpool(lambda: self.atelier.directions)
        return {"directions": [{"name": each.name, "step": _short(each.vector)} for each in found]}

    async def get_models(self) -> Any:
        bundled = sorted(path.name for path in MODELS.iterdir() if (path / "config.json").is_file())
        trained = [each["path"] for each in self.jobs.all() if (Path(each["path"]) / "model" / "config.json").is_file()]
        return {"models": [*bundled, *trained], "in_use": self.atelier.path}

    async def post_model(self, name: str) -> Any:
        known = (await self.get_models())["models"]
        if name not in known:
            raise Refused(404, f"There is no model named {name!r} here. The models are: {', '.join(known)}.")
        made = await run_in_threadpool(Atelier, name)
        before, self.atelier = self.atelier, made
        before.close()
        return await self.get_model()

    async def post_draw(self, n: int, seed: int, start: int, temperature: float, sampler: str) -> Any:
        codes = await run_in_threadpool(self.atelier.draw, n, seed, start, temperature, sampler)
        command = f"betabloom generate {self.atelier.path} -n {n} --seed {seed} --start {start}"
        command += f" --temperature {temperature} --sampler {sampler}"
        return {**await self._with_pictures(codes), "seed": seed, "start": start, "command": command}

    async def post_decode(self, codes: list[list[float]]) -> Any:
        return await self._with_pictures(self._array(codes))

    async def post_encode(self, body: bytes) -> Any:
        found = await run_in_threadpool(self.atelier.encode, body)
        (drawn,) = await self._decoded(found["code"][None])
        return {
            "code": _short(found["code"]),
            "sigma": _short(found["sigma"]),
            "nats": _short(found["nats"]),
            "picture": _picture(found["picture"]),
            "reconstruction": _picture(drawn),
        }

    async def post_vary(self, code: list[float], n: int, amount: float, seed: int) -> Any:
        varied = await run_in_threadpool(self.atelier.vary, self._array([code])[0], n, amount, seed)
        return await self._with_pictures(varied)

    async def post_breed(self, parents: list[list[float]], n: int, seed: int) -> Any:
        one, other = self._array(parents)
        return await self._with_pictures(await run_in_threadpool(self.atelier.breed, one, other, n, seed))

    async def post_more_like(self, good: list[list[float]], bad: list[list[float]], n: int, seed: int) -> Any:
        codes = await run_in_threadpool(self.atelier.more_like, self._array(good), self._array(bad), n, seed)
        return await self._with_pictures(codes)

    async def post_map(self, seed: int) -> Any:
        codes, places = await run_in_threadpool(self.atelier.map, seed)
        return {**await self._with_pictures(codes), "places": [_short(place) for place in places]}

    async def post_film(self, codes: list[list[float]], frames: int, loop: bool, format: str) -> Any:  # noqa: A002
        film = await run_in_threadpool(self.atelier.film, self._array(codes), frames, format, loop)
        return Response(film, media_type=f"image/{format.lower()}")

    async def post_png(self, code: list[float], scale: int) -> Any:
        (picture,) = await self._decoded(self._array([code]))
        image = _image(picture)
        image = image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)
        record = {
            "verb": "studio",
            "code": code,
            "model": self.atelier.model.fingerprint,
            "model_path": self.atelier.path,
        }
        return Response(await run_in_threadpool(_png, image, record), media_type="image/png")

    async def post_restore(self, body: bytes) -> Any:
        record = await run_in_threadpool(_record, body)
        if record.get("model") != self.atelier.model.fingerprint:
            raise Refused(409, f"Another model made this picture: {record.get('model_path', 'unknown')}.")
        if isinstance(record.get("code"), list):
            return await self._with_pictures(
                self._array([checked("POST", "/api/png", {"code": record["code"]})["code"]])
            )
        if record.get("verb") == "generate" and isinstance(record.get("seed"), int):
            asked = {key: record[key] for key in ("seed", "start", "temperature", "sampler") if key in record}
            n = min(int(record.get("n", 1)), 64)
            return await self.post_draw(**checked("POST", "/api/draw", {**asked, "n": n}))
        raise Refused(422, "The page cannot continue from a picture that was made in this way.")

    async def get_folders(self) -> Any:
        return {"folders": self.jobs.folders()}

    async def put_folders_put(self, folder: str, file: str, body: bytes) -> Any:
        await run_in_threadpool(self.jobs.put, folder, file, body)
        return {"kept": file}

    async def post_inspect(self, source: str) -> Any:
        from betabloom import data

        def looked() -> str:
            return data.inspect(data.open_source(source), (64, 64), quick=True).text()

        return {"report": await run_in_threadpool(looked)}

    async def get_runs(self) -> Any:
        return {"runs": await run_in_threadpool(self.jobs.all)}

    async def post_runs(self, source: str, name: str, budget: str) -> Any:
        return await run_in_threadpool(self.jobs.start, source, name, budget)

    async def get_runs_run(self, run: str) -> Any:
        return await run_in_threadpool(self.jobs.about, run)

    async def get_runs_run_sample(self, run: str) -> Any:
        return Response(await run_in_threadpool(self.jobs.sample, run), media_type="image/png")

    async def post_runs_run_stop(self, run: str) -> Any:
        return await run_in_threadpool(self.jobs.stop, run)

    async def post_runs_run_resume(self, run: str) -> Any:
        return await run_in_threadpool(self.jobs.resume, run)

    def _array(self, codes: list[list[float]]) -> np.ndarray:
        """Codes of this model, float32 (n, l)."""
        latents = self.atelier.model.config.model.latents
        if any(len(code) != latents for code in codes):
            raise Refused(422, f"A code of this model has {latents} numbers.")
        return np.array(codes, np.float32).reshape(len(codes), latents)

    async def _decoded(self, codes: np.ndarray) -> np.ndarray:
        return await asyncio.wrap_future(self.atelier.decode(codes))

    async def _with_pictures(self, codes: np.ndarray) -> dict[str, Any]:
        pictures = await self._decoded(codes)
        return {
            "codes": [_short(code) for code in codes],
            "pictures": [_picture(picture) for picture in pictures],
            "usual": await run_in_threadpool(self.atelier.typical, codes),
        }


async def _asked(method: str, path: str, request: Request) -> dict[str, Any]:
    """What a request says: names in its path, and its body."""
    (route,) = [each for each in ROUTES if (each.method, each.path) == (method, path)]
    words: dict[str, Any] = dict(request.path_params)
    if route.binary:
        return {**words, "body": await request.body()}
    if route.takes is None:
        return words
    try:
        body = json.loads(await request.body() or b"{}")
    except (ValueError, RecursionError) as error:
        raise Refused(400, "The body of the request is not JSON.") from error
    return {**words, **checked(method, path, body)}


def _short(values: np.ndarray) -> list[float]:
    return [round(float(value), JSON_DIGITS) for value in values]


def _image(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(picture if picture.shape[2] > 1 else picture[:, :, 0])


def _picture(picture: np.ndarray) -> str:
    """A picture as the address of an image."""
    file = io.BytesIO()
    _image(picture).save(file, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _png(image: Image.Image, record: dict[str, Any]) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        save_png(image, Path(folder) / "a.png", record)
        return (Path(folder) / "a.png").read_bytes()


def _record(content: bytes) -> dict[str, Any]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.png").write_bytes(content)
        try:
            return read_png(Path(folder) / "a.png")
        except Exception as error:
            raise Refused(422, "This is not a picture that betabloom made.") from error
