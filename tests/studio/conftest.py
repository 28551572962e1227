"""A studio with a small model that draws coloured noise, without a browser."""

from __future__ import annotations

import pytest
import torch

from betabloom.config import Config
from betabloom.data import Pipeline
from betabloom.model.model import Model
from betabloom.vae.build import make_vae

HOST = "127.0.0.1:8190"


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    torch.manual_seed(5)
    config = Config.preset("tiny", height=32, width=32, latents=8, family="residual", widths=(8, 16))
    vae = make_vae(config).requires_grad_(False).eval()
    for weight in vae.decoder.parameters():
        if weight.ndim > 1:
            weight.mul_(2.5)
    folder = tmp_path_factory.mktemp("model") / "model"
    Model(vae, config, Pipeline.named("square", (32, 32), 3), {"source": "noise"}).save(folder)
    return folder


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
