"""Start the studio: a server on this machine, and a browser that shows it."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import webbrowser
from typing import TYPE_CHECKING

from betabloom.errors import BetabloomError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    import uvicorn

    from betabloom.studio.guard import Guard

__all__ = ["LOOPBACK", "serve", "server_of"]

CONNECTIONS = 512
GRACE = 5  # seconds that what is being answered may still take when the studio is closed
EXTRA = ("jsonschema", "starlette", "uvicorn")  # what the extra "studio" installs
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    model: str | Path | None,
    host: str,
    port: int,
    folder: Path,
    token: str = "",
    browser: bool = True,
    told: Callable[[str], None] = print,
    names: Collection[str] = (),
) -> None:
    """Serve the page until the process is asked to stop.

    Arguments:
        model: The model to begin with; the bundled one if None.
        host: Where to listen; beyond this machine, a token is needed, and made if there is none.
        port: 0 for any that is free.
        folder: Where dropped photos and trainings are kept.
        token: What every request must carry.
        browser: Whether to open the page.
        told: Called with the address when the page can be opened.
        names: Other names that it answers to, as "flowers.example.org", with a port unless it is the usual one.

    Raises:
        UsageError: There is no such host, or the folder is a file.
        BetabloomError: The port is taken, or the extra is not installed.
    """
    try:
        from betabloom.studio.app import create_app
        from betabloom.studio.atelier import Atelier
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        raise BetabloomError("The studio needs an extra: pip install 'betabloom[studio]'") from error
    _check_folder(folder)
    if host not in LOOPBACK and not token:
        token = secrets.token_urlsafe(16)
    listening = _listen(host, port)
    port = listening.getsockname()[1]
    known = {f"{name}:{port}" for name in (*LOOPBACK[:2], "[::1]", host)} | set(names)
    app = create_app(Atelier(model), folder, known, token)
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104  (compared, not bound)
    address = f"http://{shown}:{port}/" + (f"?token={token}" if token else "")
    told(address)
    if browser:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()  # it may wait for its end
    server_of(app).run(sockets=[listening])


def server_of(app: Guard) -> uvicorn.Server:
    """A server of the application, not yet running."""
    import uvicorn

    from betabloom.studio.patience import PatientProtocol

    class Server(uvicorn.Server):
        """It leaves a process of its own when the time is up: a thread that searches can only be waited for."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await super().shutdown(sockets)
            if self.server_state.tasks and threading.current_thread() is threading.main_thread():
                os._exit(130)  # as programs end after Ctrl-C

    config = uvicorn.Config(
        app, log_level="warning", http=PatientProtocol, lifespan="off", access_log=False, timeout_keep_alive=10,
        timeout_graceful_shutdown=GRACE, limit_concurrency=CONNECTIONS,
    )  # fmt: skip
    return Server(config)


def _check_folder(folder: Path) -> None:
    """Refuse a file, or a folder in one, where folders are to be made later."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not there.is_dir():
        raise UsageError(f"{there} is a file. Name a folder for photos and trainings: --folder studio")


def _listen(host: str, port: int) -> socket.socket:
    if not host:
        raise UsageError("--host needs a name or address. Leave it out to serve this machine alone.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(CONNECTIONS)  # who comes before the server runs waits for it
    except (socket.gaierror, UnicodeError) as error:  # UnicodeError: names that no resolver can be asked for
        listening.close()
        raise UsageError(f"There is no host {host}. Leave --host out to serve this machine alone.") from error
    except OSError as error:
        listening.close()
        raise BetabloomError(
            f"Port {port} of {host} cannot be used: {error.strerror}. Choose another: --port 0"
        ) from error
    return listening
