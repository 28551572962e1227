"""The pages on export, the Hub and serving: commands can be typed, Python runs, links lead somewhere."""

from __future__ import annotations

import base64
import importlib.util
import io
import re
import shlex
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import betabloom
from betabloom.cli import main
from betabloom.cli.main import COMMANDS, command

ROOT = Path(__file__).parents[2]
PAGES = {name: (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("export", "hub", "deploy")}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.DOTALL | re.M)


def commands(page: str) -> list[list[str]]:
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("betabloom ")]


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_config):
    """A folder with a small model as runs/mine."""
    from betabloom.data import Pipeline
    from betabloom.model.model import Model
    from betabloom.vae.build import make_vae

    folder = tmp_path_factory.mktemp("ship")
    vae = make_vae(tiny_config).eval().requires_grad_(False)
    facts = {"source": "drawn flowers"}
    Model(vae, tiny_config, Pipeline.named("square", (16, 16)), facts).save(folder / "runs" / "mine")
    return folder


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


@pytest.mark.parametrize("page", PAGES)
def test_its_commands_can_be_typed_and_its_links_lead_somewhere(page):
    for words in commands(page):
        assert words[1] in COMMANDS
        command(words[1]).parse(words[2:])
    for link in re.findall(r"\]\(([^)#:]+)\)", PAGES[page]):
        assert (ROOT / "docs" / link).exists(), link


def test_what_is_exported_runs_as_the_page_says(here, capsys):
    pytest.importorskip("onnxruntime", reason="the extra onnx")
    pytest.importorskip("onnx", reason="the extra onnx")
    for words in commands("export"):
        if "onnx" in words:
            main.run(words[1:])
    assert "within " in capsys.readouterr().out
    numpy_only, _, ours = blocks("export", "python")
    assert "betabloom" not in numpy_only.replace('"mine-onnx', "")
    assert "torch" not in numpy_only
    names: dict[str, np.ndarray] = {}
    exec(compile(numpy_only, "export.md", "exec"), names)
    expected = betabloom.load("runs/mine").generate(16, seed=7)
    assert np.abs(names["pictures"].astype(int) - expected).max() <= 1
    exec(compile(ours, "export.md", "exec"), {})
    assert capsys.readouterr().out.split()[-1] in "01"


@pytest.mark.slow
def test_programs_of_torch_run_as_the_page_says(here):
    main.run(next(words for words in commands("export") if "torch" in words)[1:])
    names: dict[str, np.ndarray] = {}
    exec(compile(blocks("export", "python")[1].replace("128", "6"), "export.md", "exec"), names)
    assert names["pictures"].shape == (4, 16, 16, 3)


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_what_is_pushed_is_used_as_the_page_says(here, monkeypatch, capsys):
    constants = pytest.importorskip("huggingface_hub.constants", reason="the extra hub")
    pytest.importorskip("onnx", reason="the extra onnx")
    spec = importlib.util.spec_from_file_location("hub_stand_in", ROOT / "tests" / "hub_stand_in.py")
    stand_in = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stand_in)
    (here / "report.json").write_text(
        '{"features": "pixels", "measures": {"fidelity": {}, "novelty": {}, "likelihood": {}}}'
    )
    hub = stand_in.Hub()
    with stand_in.serving(hub) as address:
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in {"ENDPOINT": address, "HUGGINGFACE_CO_URL_TEMPLATE": template, "HF_HUB_DISABLE_XET": True,
                            "HF_HUB_CACHE": str(here / "cache")}.items():  # fmt: skip
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", stand_in.TOKEN)
        for words in commands("hub"):
            main.run(words[1:])
        (code,) = blocks("hub", "python")
        exec(compile(code, "hub.md", "exec"), {})
    _, files = hub.files("you/flowers")
    assert {"onnx/generator.onnx", "shared.html", "samples.png", "README.md"} <= set(files)
    with Image.open(here / "flowers.png") as drawn:
        assert drawn.size[0] > 60
    assert (here / "flowers" / "hub.json").is_file()
    assert "sdk: static" in (here / "my-space" / "README.md").read_text("utf-8")
    assert (here / "my-space" / "index.html").stat().st_size > 10_000


def test_the_studio_behind_a_token_answers_as_the_page_says(here, monkeypatch):
    uvicorn = pytest.importorskip("uvicorn", reason="the extra studio")
    pytest.importorskip("starlette", reason="the extra studio")
    servers: list = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: (servers.append(self), _run(self, sockets))[0])
    monkeypatch.setattr("webbrowser.open", lambda address: pytest.fail("a browser was opened"))
    monkeypatch.setenv("BETABLOOM_TOKEN", "choose-a-long-one")
    (words,) = (words for words in commands("deploy") if words[1] == "studio")
    port = _free_port()
    main.run([*words[1:], "--port", str(port)])
    (code,) = blocks("deploy", "python")[:1]
    names: dict = {}
    until = time.monotonic() + 20
    while not servers[0].started and time.monotonic() < until:
        time.sleep(0.02)
    try:
        exec(compile(code.replace("8190", str(port)), "deploy.md", "exec"), names)
    finally:
        servers[0].should_exit = True
    assert len(names["answer"]["pictures"]) == 4


def _run(server, sockets) -> None:
    """Serve in a thread, so that this one can ask."""
    import asyncio

    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=sockets)), daemon=True)
    thread.start()


def _free_port() -> int:
    import socket

    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_logs_and_loads_it_as_the_page_says(here, monkeypatch):
    pytest.importorskip("mlflow", reason="the extra mlflow")
    code = blocks("deploy", "python")[1]
    names: dict = {}
    exec(compile(code, "deploy.md", "exec"), names)
    rows = names["rows"]
    assert list(rows["number"]) == [0, 1]
    expected = betabloom.load("runs/mine").generate(2, seed=7)
    made = [np.array(Image.open(io.BytesIO(base64.b64decode(png)))) for png in rows["png"]]
    assert np.abs(np.stack(made).astype(int) - expected).max() <= 1
