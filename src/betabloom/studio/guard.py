"""Who may ask, and how much: the limits of the server, around all of its routes.

- *Host and Origin*: only the names that the server was started for, so that neither a page from elsewhere nor a name
  that was made to point at this machine (DNS rebinding) can use it.
- *Token*: where the server listens to other machines, every request carries it, as `Authorization: Bearer`, as the
  cookie that opening `/?token=…` leaves, or not at all.
- *Size and time*: a body has at most `BODY` bytes and arrives within `PATIENCE` seconds; at most `WAITING` requests are
  worked on at once, and none for longer than `LONGEST` seconds.
- *Errors*: a client gets one sentence as JSON, never a traceback.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from betabloom.errors import BetabloomError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

__all__ = ["Guard", "Refused", "told"]

log = logging.getLogger(__name__)

BODY = 32 << 20
PATIENCE = 30.0
WAITING = 64
LONGEST = 120.0
COOKIE = "betabloom-token"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class Refused(Exception):  # noqa: N818  (it is no error of the program)
    """A request that is answered with a status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass
class Guard:
    """Wraps an ASGI application.

    Attributes:
        app: The application.
        hosts: Names in the Host header that are answered, with port.
        token: What every request has to carry; none if empty.
        counts: Requests by status, and those refused because too many waited.
    """

    app: App
    hosts: frozenset[str]
    token: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    busy: int = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", []), *HEADERS, *self._cookie(scope)]
                self._count(str(message["status"]))
            await send(message)

        try:
            self._check(scope)
            self.busy += 1
            try:
                await asyncio.wait_for(self.app(scope, await self._whole(scope, receive), sending), LONGEST)
            finally:
                self.busy -= 1
        except Exception as error:  # whatever it is, the client gets a sentence
            if started:
                raise
            await _answer(sending, *told(_in_words(error)))

    def _check(self, scope: MutableMapping[str, Any]) -> None:
        """Refuse requests that are not permitted."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if headers.get("host", "") not in self.hosts:
            raise Refused(421, "This server does not answer to that name.")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc not in self.hosts:
            raise Refused(403, "Requests from other pages are not answered.")
        if self.token and not self._knows(scope, headers) and scope["path"] != "/health":
            raise Refused(401, "Open the address that was printed when the studio was started: it has the token.")
        if self.busy >= WAITING:
            raise Refused(503, "Too many requests at once. Try again in a moment.")

    def _knows(self, scope: MutableMapping[str, Any], headers: dict[str, str]) -> bool:
        """Whether a request carries the token."""
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        offered = [headers.get("authorization", "").removeprefix("Bearer "), cookie.value if cookie else ""]
        return any(hmac.compare_digest(each.encode(), self.token.encode()) for each in [*offered, _asked(scope)])

    def _cookie(self, scope: MutableMapping[str, Any]) -> list[tuple[bytes, bytes]]:
        if not self.token or _asked(scope) != self.token:
            return []
        return [(b"set-cookie", f"{COOKIE}={self.token}; HttpOnly; SameSite=Strict; Path=/".encode())]

    async def _whole(self, scope: MutableMapping[str, Any], receive: Receive) -> Receive:
        """Take in the body, which has to be small and to come soon; what gives it to the application."""
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > BODY:
            raise Refused(413, f"A request may have {BODY >> 20} MiB at most.")
        try:
            body = await asyncio.wait_for(_body(receive), PATIENCE)
        except asyncio.TimeoutError as error:
            raise Refused(408, "The request took too long to arrive.") from error
        whole = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def again() -> Message:
            return next(whole, None) or await receive()

        return again

    def _count(self, status: str) -> None:
        self.counts[status] = self.counts.get(status, 0) + 1


async def _body(receive: Receive) -> bytes:
    """All of a body, if it is not too large."""
    body, more = bytearray(), True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > BODY:
            raise Refused(413, f"A request may have {BODY >> 20} MiB at most.")
    return bytes(body)


def _in_words(error: Exception) -> Exception:
    """An answer that took too long is refused like what comes when there is too much to do."""
    late = isinstance(error, asyncio.TimeoutError)
    return Refused(503, f"This took longer than {LONGEST:.0f} seconds.") if late else error


def _asked(scope: MutableMapping[str, Any]) -> str:
    """The token in the address."""
    query: bytes = scope.get("query_string", b"")
    return parse_qs(query.decode("latin-1")).get("token", [""])[0]


def told(error: Exception) -> tuple[int, str]:
    """Status and sentence for an error."""
    if isinstance(error, Refused):
        return error.status, str(error)
    if isinstance(error, BetabloomError):
        return 422, str(error)
    log.error("%s: %s", type(error).__name__, error, exc_info=error)
    return 500, "Something went wrong in the studio; its log says what."


async def _answer(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"error": sentence}, ensure_ascii=False).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"retry-after", b"1")] if status in (429, 503) else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
