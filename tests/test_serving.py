"""`mlflow models serve` serves what is exported for it: a real server on this machine."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from betabloom import export
from betabloom.model.model import load

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # MLflow warns of much


def test_mlflow_serves_pictures_and_holds_no_pickle(tmp_path):
    pytest.importorskip("mlflow", reason="the extra mlflow")
    program = shutil.which("mlflow", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("there is no program mlflow beside this Python")
    model = load("flowers64")
    export.to_mlflow(model, tmp_path / "served")
    names = {path.name for path in (tmp_path / "served").rglob("*") if path.is_file()}
    assert not any(name.endswith((".pkl", ".pickle", ".pt", ".pth", ".joblib")) for name in names)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        program,
        "models",
        "serve",
        "--env-manager",
        "local",
        "-m",
        tmp_path / "served",
        "-h",
        "127.0.0.1",
        "-p",
        port,
    ]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    server = subprocess.Popen([*map(str, words)], env={**os.environ, "PATH": path}, start_new_session=True)
    try:
        rows = asked(port, {"dataframe_records": [{"seed": 7, "n": 2}, {"seed": 3, "n": 1}]}, patience=200)
        assert [(row["seed"], row["number"]) for row in rows] == [(7, 0), (7, 1), (3, 0)]
        made = np.stack([np.array(Image.open(io.BytesIO(base64.b64decode(row["png"])))) for row in rows])
        expected = np.concatenate([model.generate(2, 7), model.generate(1, 3)])
        assert np.abs(made.astype(int) - expected).max() <= 1
        with pytest.raises(urllib.error.HTTPError, match="400"):
            asked(port, {"dataframe_records": [{"seed": 7, "n": 100_000}]})
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def asked(port: int, body: dict, patience: float = 10) -> list[dict]:
    """The predictions for a request; the server is waited for."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    until = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["predictions"]
        except urllib.error.HTTPError:
            raise
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(1)
