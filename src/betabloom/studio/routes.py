"""What the server can be asked, as data: each route with what its body must be. The page uses nothing else.

`openapi.json` is made of this table, and so are the checks of what comes in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from betabloom.studio.guard import Refused
from betabloom.version import __version__

__all__ = ["MODEL", "OF_MODEL", "ROUTES", "Route", "checked", "openapi"]

Schema = dict[str, Any]
MOST = 64  # pictures in an answer
SIDE = 4096  # pixels of a wallpaper's sides, at most
LONGEST = 4096  # numbers of a code
LARGEST = 100.0  # that a number of a code may be
MODEL = "betabloom-model"  # a header: the fingerprint of the model that codes are of
OF_MODEL = frozenset(f"/api/{name}" for name in (  # what takes or gives codes, or is about one model
    "breed", "decode", "directions", "draw", "encode", "film", "known", "map", "more-like", "nearest", "png", "restore",
    "share", "vary", "wallpaper",
))  # fmt: skip


def _whole(low: int, high: int, default: int | None = None) -> Schema:
    return {"type": "integer", "minimum": low, "maximum": high, **({} if default is None else {"default": default})}


def _number(low: float, high: float, default: float) -> Schema:
    return {"type": "number", "minimum": low, "maximum": high, "default": default}


def _codes(fewest: int, most: int) -> Schema:
    return {"type": "array", "items": CODE, "minItems": fewest, "maxItems": most}


CODE: Schema = {
    "type": "array",
    "items": {"type": "number", "minimum": -LARGEST, "maximum": LARGEST},
    "minItems": 1,
    "maxItems": LONGEST,
}
SEED = _whole(0, 2**53, 0)
N = _whole(1, MOST, 24)
TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": 1000}
NAME: Schema = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}$"}


@dataclass(frozen=True)
class Route:
    """One thing to ask.

    Attributes:
        method: "GET", "POST" or "PUT".
        path: With {names} of what it is about.
        says: What it does, in a sentence.
        takes: Properties of a JSON body.
        needs: Those without a default.
        binary: What a body that is not JSON has, or "".
        gives: The type of the answer.
    """

    method: str
    path: str
    says: str
    takes: Schema | None = None
    needs: tuple[str, ...] = ()
    binary: str = ""
    gives: str = "application/json"


ROUTES = [
    Route("GET", "/health", "Whether the server answers."),
    Route("GET", "/metrics", "Counts for Prometheus.", gives="text/plain"),
    Route("GET", "/openapi.json", "This description."),
    Route("GET", "/api/model", "The model in use: its size and its samplers."),
    Route("GET", "/api/directions", "The strongest directions of its codes, named by what they change."),
    Route("GET", "/api/models", "The models that can be used."),
    Route("POST", "/api/model", "Use another model.", {"name": TEXT}, ("name",)),
    Route(
        "POST", "/api/draw", "New pictures, those of `betabloom generate`, with their codes.",
        {
            "n": N, "seed": SEED, "start": _whole(0, 2**53, 0),
            "temperature": _number(0.05, 3, 1.0), "sampler": {**TEXT, "default": "auto"},
            "palette": {"type": "string", "maxLength": 200, "default": ""},
            "colourful": {"type": "boolean", "default": False},
        },
    ),
    Route(
        "POST", "/api/decode", "Pictures that codes stand for, and how usual they are.",
        {"codes": _codes(1, MOST)}, ("codes",),
    ),
    Route("POST", "/api/encode", "The code of a photo, its reconstruction, and its nats.", binary="image/*"),
    Route(
        "POST", "/api/vary", "Variations of a picture.",
        {"code": CODE, "n": N, "amount": _number(0, 2, 1.0), "seed": SEED}, ("code",),
    ),
    Route(
        "POST", "/api/breed", "Children of two pictures.",
        {"parents": _codes(2, 2), "n": N, "seed": SEED}, ("parents",),
    ),
    Route(
        "POST", "/api/more-like", "New pictures that are like the good ones and unlike the bad ones.",
        {"good": _codes(1, MOST), "bad": {**_codes(0, MOST), "default": []}, "n": N, "seed": SEED}, ("good",),
    ),
    Route("POST", "/api/map", "Pictures on a plane, near one another where their codes are.", {"seed": SEED}),
    Route(
        "POST", "/api/film", "A loop from picture to picture.",
        {
            "codes": _codes(2, 16), "frames": _whole(2, 240, 60), "loop": {"type": "boolean", "default": True},
            "format": {"enum": ["GIF", "WEBP", "MP4"], "default": "WEBP"},
        },
        ("codes",), gives="image/*",
    ),
    Route(
        "POST", "/api/wallpaper", "A picture cut to a size, or many as a meadow, as a PNG.",
        {"codes": _codes(1, MOST), "width": _whole(16, SIDE), "height": _whole(16, SIDE), "seed": SEED},
        ("codes", "width", "height"), gives="image/png",
    ),
    Route("GET", "/api/known", "Whether the training pictures of the model are on this machine."),
    Route("POST", "/api/known", "Where they are.", {"source": TEXT}, ("source",)),
    Route(
        "POST", "/api/nearest", "The training picture nearest to each picture, and whether that is a near copy of it.",
        {"codes": _codes(1, MOST)}, ("codes",),
    ),
    Route(
        "POST", "/api/png", "A picture as a PNG that carries its code.",
        {"code": CODE, "scale": _whole(1, 16, 8)}, ("code",), gives="image/png",
    ),
    Route("POST", "/api/restore", "The codes of a PNG, GIF or WebP that betabloom made.", binary="image/*"),
    Route(
        "POST", "/api/share", "Pack the model as one HTML file, with kept pictures.",
        {"title": {"type": "string", "maxLength": 200, "default": ""}, "codes": {**_codes(0, MOST), "default": []}},
    ),
    Route("GET", "/api/share", "How far that is."),
    Route("GET", "/api/share/file", "The file.", gives="text/html"),
    Route("GET", "/api/folders", "Folders of pictures that were put here."),
    Route("PUT", "/api/folders/{folder}/{file}", "Put a picture into a folder.", binary="image/*"),
    Route("POST", "/api/inspect", "What a folder holds, before training.", {"source": TEXT}, ("source",)),
    Route("GET", "/api/runs", "Trainings, running or not."),
    Route(
        "POST", "/api/runs", "Start a training, from a model if one is named.",
        {
            "source": TEXT, "name": NAME,
            "budget": {"type": "string", "pattern": "^[0-9]{1,4}[smh]$", "default": "10m"},
            "model": {"type": "string", "maxLength": 1000, "default": ""},
        },
        ("source", "name"),
    ),
    Route("GET", "/api/runs/{run}", "The state of a training: its curves and its last messages."),
    Route("GET", "/api/runs/{run}/sample", "The newest pictures of a training.", gives="image/png"),
    Route("POST", "/api/runs/{run}/stop", "Save and stop a training.", {}),
    Route("POST", "/api/runs/{run}/resume", "Go on with a training that stopped.", {}),
]  # fmt: skip


def _body(route: Route) -> Schema:
    return {
        "type": "object",
        "properties": route.takes or {},
        "required": list(route.needs),
        "additionalProperties": False,
    }


@cache
def _validator(method: str, path: str) -> Any:
    from jsonschema import Draft202012Validator

    (route,) = [each for each in ROUTES if (each.method, each.path) == (method, path)]
    body = _body(route)
    shallow = {key: _shallow(schema) for key, schema in body["properties"].items()}
    return Draft202012Validator({**body, "properties": shallow})


def _shallow(schema: Schema) -> Schema:
    """The same without what its numbers must be, where it is of codes: `_check_codes` looks at those at once."""
    return {key: value for key, value in schema.items() if key != "items"}


def _check_codes(name: str, codes: Any, deep: bool) -> None:
    """Refuse what is no code, or no list of codes."""
    if deep and not all(isinstance(each, list) and 1 <= len(each) <= LONGEST for each in codes):
        raise Refused(422, f"{name}: each code is a list of 1 to {LONGEST} numbers.")
    for code in codes if deep else [codes]:
        try:
            numbers = np.array(code)
        except (ValueError, OverflowError) as error:
            raise Refused(422, f"{name}: a code is a list of numbers.") from error
        if numbers.dtype.kind not in "if" or numbers.ndim != 1 or not np.isfinite(numbers).all():
            raise Refused(422, f"{name}: a code is a list of finite numbers.")
        if np.abs(numbers).max() > LARGEST:
            raise Refused(422, f"{name}: the maximum of a number of a code is {LARGEST:g}.")


def checked(method: str, path: str, body: Any) -> dict[str, Any]:
    """The body of a request with its defaults.

    Raises:
        Refused: It is not what the route takes.
    """
    validator = _validator(method, path)
    for error in validator.iter_errors(body):
        place = ".".join(str(each) for each in error.absolute_path)
        raise Refused(422, f"{place}: {error.message}"[:300] if place else error.message[:300])
    defaults = {key: schema["default"] for key, schema in validator.schema["properties"].items() if "default" in schema}
    found = {**defaults, **body}
    (route,) = [each for each in ROUTES if (each.method, each.path) == (method, path)]
    for key, schema in (route.takes or {}).items():
        if "items" in schema and key in body:
            _check_codes(key, body[key], deep=schema["items"] is CODE)
        if schema.get("type") == "integer":
            found[key] = int(found[key])  # JSON knows no difference between 1 and 1.0
    if not all(math.isfinite(value) for value in found.values() if isinstance(value, float)):
        raise Refused(422, "A number is not finite.")
    return found


def openapi() -> dict[str, Any]:
    """The table as an OpenAPI document."""
    paths: dict[str, Any] = {}
    for route in ROUTES:
        refused = {
            "description": "What is wrong, as a sentence.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
        answers = {"200": {"description": route.says, "content": {route.gives: {}}}}
        answers |= dict.fromkeys(("400", "401", "403", "404", "408", "409", "413", "421", "422", "429", "503"), refused)
        facts: dict[str, Any] = {"summary": route.says, "responses": answers}
        if route.binary:
            facts["requestBody"] = {"required": True, "content": {route.binary: {}}}
        elif route.takes is not None:
            facts["requestBody"] = {"required": True, "content": {"application/json": {"schema": _body(route)}}}
        names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
        if names:
            facts["parameters"] = [{"name": name, "in": "path", "required": True, "schema": NAME} for name in names]
        elif route.path in OF_MODEL:
            told = "The fingerprint that /api/model told; if another model is in use meanwhile, the answer is 409."
            facts["parameters"] = [{"name": MODEL, "in": "header", "description": told, "schema": {"type": "string"}}]
        paths.setdefault(route.path, {})[route.method.lower()] = facts
    return {"openapi": "3.1.0", "info": {"title": "betabloom studio", "version": __version__}, "paths": paths}
