"""Connections on which no whole request comes are closed: the guard sees a request only once its headers are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from betabloom.studio import guard

if TYPE_CHECKING:
    import asyncio

__all__ = ["PatientProtocol"]


class PatientProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """HTTP as uvicorn speaks it, but for a connection on which nothing whole is asked for `PATIENCE` seconds."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to watch a new connection."""
        super().connection_made(transport)
        self._seen: Any = None
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Watch no longer."""
        self._watching.cancel()
        super().connection_lost(exc)

    def _watch(self) -> None:
        self._watching = self.loop.call_later(guard.PATIENCE, self._look)

    def _look(self) -> None:
        """Close the connection if nothing is being answered and nothing new was asked for since the last look."""
        cycle = self.cycle
        answering = cycle is not None and not cycle.response_complete
        if not answering and cycle is self._seen:
            self.transport.close()
            return
        self._seen = cycle
        self._watch()
