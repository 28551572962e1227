"""The container file and the workflows: rules that a machine can hold, and the container's steps done without one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "Containerfile").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """(instruction, what follows) of the container file, lines joined."""
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", TEXT, flags=re.M))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines() if line.strip()]


def values(name: str) -> list[str]:
    return [value for each, value in instructions() if each == name]


def test_the_container_file_keeps_the_rules():
    """Those of hadolint that matter here: a pinned base, no root, no caches, JSON forms, absolute folders."""
    (base,) = values("FROM")
    assert re.fullmatch(r"docker\.io/[\w/.-]+:\d+\.\d+[\w.-]*", base)
    assert instructions()[0][0] == "FROM"
    users = values("USER")
    assert users[-1] not in ("root", "0")
    assert "PIP_NO_CACHE_DIR=1" in TEXT
    for run in values("RUN"):
        assert not re.search(r"\b(sudo|ssh|curl|wget)\b|apt-get|;|\| ", run), run
        assert all("--constraint constraints.txt" in each for each in re.findall(r"pip install [^&]*", run))
    assert all(Path(value).is_absolute() for value in values("WORKDIR"))
    assert all(json.loads(value) for value in values("ENTRYPOINT"))
    assert len(values("ENTRYPOINT")) == len(values("HEALTHCHECK")) == 1
    assert not values("ADD")
    assert not any(re.search("token|secret|password", each, re.I) for each in values("ENV") + values("ARG"))
    names = [each[0] for each in instructions()]
    assert names.index("USER") < names.index("ENTRYPOINT")


def test_what_it_copies_is_sent_to_the_builder():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert ignored[0] == "*"
    for value in values("COPY"):
        for name in value.split()[:-1]:
            assert (ROOT / name).exists(), name
            assert f"!{name}" in ignored


def test_the_workflow_runs_what_ci_runs():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    runs = [step["run"] for step in workflow["jobs"]["check"]["steps"] if "run" in step]
    assert runs == [".ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert workflow["permissions"] == {"contents": "read"}
    wanted = workflow["jobs"]["install"]["strategy"]["matrix"]["python"]
    assert wanted == ["3.10", "3.11", "3.12", "3.13"]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'requires-python = ">={wanted[0]}"' in project


def test_only_the_release_may_publish_and_only_after_the_checks():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))
    jobs = workflow["jobs"]
    assert jobs["check"]["uses"] == "./.github/workflows/ci.yml"
    assert jobs["build"]["needs"] == "check"
    assert jobs["publish"]["needs"] == "build"
    assert [name for name, job in jobs.items() if "id-token" in job.get("permissions", {})] == ["publish"]
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML takes the key "on" for a truth value


@pytest.mark.slow
def test_its_steps_make_a_server_that_asks_for_the_token(tmp_path):
    """The steps RUN and COPY done in a folder instead of a container, and its entry point started."""
    venv, source, data = tmp_path / "venv", tmp_path / "betabloom", tmp_path / "data"
    for folder in (source, data):
        folder.mkdir()
    for value in values("COPY"):
        *names, _ = value.split()
        for name in names:
            whole = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            whole(ROOT / name, source / name)
    install = next(each for each in values("RUN") if "pip install" in each)
    install = (
        install.replace("/opt/venv", str(venv))
        .replace("/opt/betabloom", str(source))
        .replace("python -m", f"{sys.executable} -m")
    )
    install = re.sub(r'--extra-index-url "\$TORCH_INDEX"', "", install)
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if uv := shutil.which("uv", path=programs):  # pip unpacks for minutes what uv links in seconds
        install = install.replace(f"{venv}/bin/pip install", f"{uv} pip install --python {venv}/bin/python")
    links = {"UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", "")}
    subprocess.run(["sh", "-ec", install], cwd=source, check=True, env=os.environ | links)
    words = json.loads(values("ENTRYPOINT")[0])
    environment = {"PATH": os.environ["PATH"], "HOME": str(data), "BETABLOOM_TOKEN": "once"}
    server = subprocess.Popen([venv / "bin" / words[0], *words[1:], "--port", "8197"], cwd=data, env=environment)
    try:
        assert answered("http://127.0.0.1:8197/health", 120) == 200
        assert answered("http://127.0.0.1:8197/api/models") == 401
        assert answered("http://127.0.0.1:8197/api/models?token=once") == 200
    finally:
        server.terminate()
        assert server.wait(30) is not None


def answered(address: str, patience: float = 5) -> int:
    """The status of an answer, waited for."""
    until = time.monotonic() + patience
    while True:
        try:
            return int(urllib.request.urlopen(address, timeout=5).status)
        except urllib.error.HTTPError as error:
            return int(error.code)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)
