"""A training that the page started outlives the studio; the next one finds, stops and resumes it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("uvicorn", reason="the extra 'studio' is not installed")


class Served:
    """`betabloom studio` in a process of its own."""

    def __init__(self, model, folder) -> None:
        command = [sys.executable, "-m", "betabloom", "studio", str(model), "--port", "0", "--no-browser", "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)
        self.address = json.loads(self.process.stdout.readline())["address"]
        self.until(lambda: self.ask("health")["ok"])

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}{path}", data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def until(self, true, seconds=240):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if true():
                    return
            except OSError:
                pass
            time.sleep(0.3)
        raise AssertionError("it never came true")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)
        self.process.stdout.close()


@pytest.mark.slow
def test_a_training_outlives_the_studio_and_is_resumed_by_the_next(model_folder, tmp_path):
    (tmp_path / "photos").mkdir()
    for i in range(24):
        picture = np.random.default_rng(i).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / "photos" / f"{i}.png")

    def steps(studio):
        return max((record["step"] for record in studio.ask("api/runs/mine")["records"]), default=0)

    first = Served(model_folder, tmp_path)
    first.ask(
        "api/runs", {"source": str(tmp_path / "photos"), "name": "mine", "budget": "1h", "model": str(model_folder)}
    )
    first.until(lambda: steps(first) > 0)
    first.kill()
    second = Served(model_folder, tmp_path)
    try:
        assert second.ask("api/runs/mine")["state"] == "running"
        before = steps(second)
        second.until(lambda: steps(second) > before)
        second.ask("api/runs/mine/stop", {})
        second.until(lambda: second.ask("api/runs/mine")["state"] == "stopped")
        reached = steps(second)
        second.kill()
        third = second = Served(model_folder, tmp_path)
        assert third.ask("api/runs/mine")["state"] == "stopped"
        third.ask("api/runs/mine/resume", {})
        third.until(lambda: steps(third) > reached)
        third.ask("api/runs/mine/stop", {})
        third.until(lambda: third.ask("api/runs/mine")["state"] == "stopped")
        with pytest.raises(urllib.error.HTTPError):
            third.ask("api/runs/other")
    finally:
        second.kill()
