"""`studio`: the page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from betabloom.cli.command import Option
from betabloom.cli.options import AnyModel, Json

__all__ = ["studio"]


def studio(
    model: AnyModel = None,
    host: Annotated[str, Option(help="Where to listen; beyond this machine a token is needed.")] = "127.0.0.1",
    port: Annotated[int, Option(minimum=0, maximum=65535, help="The port; 0 for any that is free.")] = 8190,
    folder: Annotated[Path, Option(help="Where dropped photos and trainings are kept.")] = Path("studio"),
    name: Annotated[
        list[str] | None, Option(help="Another name that it answers to, as flowers.example.org; repeatable.")
    ] = None,
    token: Annotated[
        str, Option(help="Secret that every request must carry.", default="BETABLOOM_TOKEN, or generated where needed")
    ] = "",
    no_browser: Annotated[bool, Option(help="Do not open the page.")] = False,
    as_json: Json = False,
) -> None:
    """Open a page in the browser: draw, steer, keep, morph, drop a photo, train."""
    import json
    import os

    from betabloom.studio.serve import serve

    def told(address: str) -> None:
        text = f"The studio is open: {address} (Ctrl+C to close it)"
        print(json.dumps({"address": address}) if as_json else text, flush=True)  # noqa: T201

    token = token or os.environ.get("BETABLOOM_TOKEN", "")
    serve(model, host, port, folder, token, not no_browser, told, name or ())
