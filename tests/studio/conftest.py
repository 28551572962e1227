"""A studio with a small model that draws coloured noise, without a browser."""

from __future__ import annotations

import pytest

HOST = "127.0.0.1:8190"


@pytest.fixture
def ask(model_folder, tmp_path):
    """A client of a studio of its own."""
    testclient = pytest.importorskip("starlette.testclient", reason="the extra 'studio' is not installed")
    from betabloom.studio.app import create_app
    from betabloom.studio.atelier import Atelier

    atelier = Atelier(model_folder)
    app = create_app(atelier, tmp_path, [HOST])
    yield testclient.TestClient(app, base_url=f"http://{HOST}", raise_server_exceptions=False)
    atelier.close()
