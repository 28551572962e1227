"""Logs beside metrics.jsonl: what was measured is in them, pictures too, and none of them can stop a run."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from betabloom.errors import UsageError
from betabloom.training import loop, trackers


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def interrupted(pictures, config, out, monkeypatch, at=13):
    """Train, stop at a step, and go on."""
    step = loop.train_step

    def step_and_stop(run):
        step(run)
        if run.state.step + 1 == at:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", step_and_stop)
        with pytest.raises(loop.Interrupted):
            loop.train(pictures, config, out)
    return loop.train(pictures, config, out, resume=True)


def test_csv_has_the_same_rows_as_the_metrics_also_after_an_interruption(
    small_store, tiny_config, tmp_path, monkeypatch
):
    interrupted(small_store, tiny_config.replace({"log": "csv"}), tmp_path, monkeypatch)
    with (tmp_path / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = lines(tmp_path)
    assert [(int(row["step"]), row["split"], float(row["distortion"])) for row in rows] == [
        (line["step"], line["split"], line["distortion"]) for line in expected
    ]


def test_tensorboard_has_numbers_and_pictures(small_store, tiny_config, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason="needs the extra: pip install 'betabloom[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    interrupted(small_store, tiny_config.replace({"log": "tensorboard"}), tmp_path, monkeypatch)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    expected = [(r["step"], r["distortion"]) for r in lines(tmp_path) if r["split"] == "validation"]
    assert [(e.step, pytest.approx(e.value, rel=1e-6)) for e in events.Scalars("validation/distortion")] == expected
    assert {"samples", "reconstructions"} <= set(events.Tags()["images"])
    assert events.Images("samples")[0].encoded_image_string.startswith(b"\x89PNG")


def test_wandb_works_offline(small_store, tiny_config, tmp_path):
    pytest.importorskip("wandb", reason="needs the extra: pip install 'betabloom[wandb]'")
    program = """
import sys
from pathlib import Path
from PIL import Image
from betabloom.training.trackers import open_trackers
opened = open_trackers("wandb", Path(sys.argv[1]), {"beta": 4.0}, [])
assert list(opened.trackers) == ["wandb"]
opened.numbers({"step": 1, "split": "train", "distortion": 5.0, "beta": 4.0, "seconds": 0.1})
opened.picture(1, "samples", Image.new("RGB", (8, 8), "red"))
opened.close()
assert list(opened.trackers) == ["wandb"], "it failed"
"""
    plain = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=120, env=plain)
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert list(folder.glob("*.wandb"))
    assert list(folder.rglob("*.png"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture
def mlflow_server(tmp_path, monkeypatch):
    """A real server with SQLite on this machine."""
    pytest.importorskip("mlflow", reason="needs the extra: pip install 'betabloom[mlflow]'")
    port, folder = free_port(), tmp_path / "server"
    folder.mkdir()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    with (folder / "log.txt").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1)
                break
            except OSError:
                assert server.poll() is None, (folder / "log.txt").read_text()
                time.sleep(0.5)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_real_mlflow_server_has_numbers_settings_and_pictures(
    mlflow_server, small_store, tiny_config, tmp_path, monkeypatch
):
    from mlflow import MlflowClient

    interrupted(small_store, tiny_config.replace({"log": "mlflow", "beta": 4.0}), tmp_path / "run", monkeypatch)
    client = MlflowClient(mlflow_server)
    (run,) = client.search_runs([client.get_experiment_by_name("betabloom").experiment_id])  # one, though interrupted
    assert run.info.status == "FINISHED"
    assert run.data.params["beta"] == "4.0"
    expected = [(r["step"], r["distortion"]) for r in lines(tmp_path / "run") if r["split"] == "validation"]
    history = client.get_metric_history(run.info.run_id, "validation/distortion")
    assert sorted((m.step, m.value) for m in history) == expected
    assert any("samples" in artifact.path for artifact in client.list_artifacts(run.info.run_id, "images"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_without_a_server_mlflow_writes_a_file_beside_the_run(small_store, tiny_config, tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="needs the extra: pip install 'betabloom[mlflow]'")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    loop.train(small_store, tiny_config.replace({"log": "mlflow"}), tmp_path / "runs" / "a")
    assert (tmp_path / "runs" / "mlflow.db").is_file()
    assert list((tmp_path / "runs" / "mlartifacts").rglob("*.png"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_server_that_is_down_is_left_out_with_one_warning(small_store, tiny_config, tmp_path, monkeypatch, caplog):
    pytest.importorskip("mlflow", reason="needs the extra: pip install 'betabloom[mlflow]'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    model = loop.train(small_store, tiny_config.replace({"log": "mlflow,csv"}), tmp_path)
    assert model.training["steps"] == 20
    assert caplog.text.count("Logging to mlflow failed") == 1
    assert (tmp_path / "metrics.csv").is_file()


@pytest.mark.parametrize("what", ["open", "numbers", "picture", "close"])
def test_whatever_a_tracker_raises_training_goes_on(what, small_store, tiny_config, tmp_path, monkeypatch, caplog):
    def fail(*arguments):
        raise RuntimeError(f"{what} failed\nand more")

    def make(out, settings, past):
        if what == "open":
            fail()
        calls = {name: fail if name == what else lambda *arguments: None for name in ("numbers", "picture", "close")}
        return trackers.Tracker(**calls)

    monkeypatch.setitem(trackers.TRACKERS, "csv", make)
    model = loop.train(small_store, tiny_config.replace({"log": "csv"}), tmp_path)
    assert model.training["steps"] == 20
    assert caplog.text.count(f"Logging to csv failed and has stopped (RuntimeError: {what} failed)") == 1
    assert len(lines(tmp_path)) >= 3


def test_logging_changes_nothing(small_store, tiny_config, tmp_path):
    plain = loop.train(small_store, tiny_config, tmp_path / "a")
    logged = loop.train(small_store, tiny_config.replace({"log": "csv"}), tmp_path / "b")
    for name, value in plain.vae.state_dict().items():
        assert value.equal(logged.vae.state_dict()[name])


def test_an_unknown_log_is_refused_before_anything_is_made(small_store, tiny_config, tmp_path):
    with pytest.raises(UsageError, match="Unknown log 'paper'"):
        loop.train(small_store, tiny_config.replace({"log": "paper"}), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_unknown_logs_and_missing_extras_say_what_to_type(monkeypatch):
    with pytest.raises(UsageError, match="csv, tensorboard, mlflow, wandb"):
        trackers.check_trackers("csv,paper")
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'betabloom\[wandb\]'"):
        trackers.check_trackers("wandb")
    assert trackers.check_trackers("") == []


def test_scalars_are_the_finite_numbers():
    record = {"step": 3, "split": "train", "loss": float("nan"), "rate": 2, "rate_per_dimension": [1.0], "x": "y"}
    assert trackers.scalars(record) == {"train/rate": 2.0}
