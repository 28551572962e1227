"""The application: routes over the model in use and the trainings, within the limits of the guard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount
from starlette.routing import Route as Path_
from starlette.staticfiles import StaticFiles

from betabloom.studio.atelier import Atelier, Busy
from betabloom.studio.guard import Guard, Refused, told
from betabloom.studio.jobs import Jobs
from betabloom.studio.pictures import Pictures
from betabloom.studio.routes import MODEL, OF_MODEL, ROUTES, checked
from betabloom.studio.trainings import Trainings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from starlette.requests import Request

__all__ = ["create_app"]

STATIC = Path(__file__).parent / "static"
SHARED = STATIC.parents[1] / "reports" / "share_page"  # what looks alike in a shared file


def create_app(atelier: Atelier, folder: Path, hosts: Iterable[str], token: str = "") -> Guard:
    """The ASGI application of the studio.

    Arguments:
        atelier: The model to begin with.
        folder: Where photos that are dropped and trainings are kept.
        hosts: Names, with port, that it answers to.
        token: What every request must carry; none if empty.
    """
    jobs = Jobs(folder)
    pictures = Pictures(atelier, jobs)
    answers = (pictures, Trainings(jobs))
    routes: list[Any] = [
        Path_(each.path, _handler(answers, each.method, each.path), methods=[each.method]) for each in ROUTES
    ]
    files = [Mount("/shared", StaticFiles(directory=SHARED)), Mount("/", StaticFiles(directory=STATIC, html=True))]
    guard = Guard(Starlette(routes=[*routes, *files]), frozenset(hosts), token)
    pictures.counts = guard.counts
    return guard


def _handler(answers: tuple[Pictures, Trainings], method: str, path: str) -> Callable[[Request], Awaitable[Response]]:
    """What answers to a route: the method named by it, with a body that was checked."""
    name = path.removeprefix("/api").strip("/").replace("/{folder}/{file}", "_put").replace("{run}/", "run_")
    name = name.replace("{run}", "run").replace("/", "_").replace("-", "_").replace(".json", "")
    (answer,) = [
        getattr(each, f"{method.lower()}_{name}") for each in answers if hasattr(each, f"{method.lower()}_{name}")
    ]

    async def handle(request: Request) -> Response:
        try:
            words = await _asked(method, path, request)
            if path in OF_MODEL:
                answers[0].check(request.headers.get(MODEL, ""))
            found = await answer(**words)
        except Exception as error:  # whatever it is, the client gets a sentence
            status, sentence = told(Refused(429, str(error)) if isinstance(error, Busy) else error)
            return JSONResponse({"error": sentence}, status, {"retry-after": "1"} if status in (429, 503) else None)
        return found if isinstance(found, Response) else JSONResponse(found)

    return handle


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
