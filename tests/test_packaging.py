"""What people install: the wheel holds the package and its models, and draws without a network."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from betabloom.version import __version__

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
LARGEST = 40_000_000  # bytes; the bundled models take 32 MB of it
NO_NETWORK = """
import socket, sys
def refuse(*_): raise OSError("no network here")
socket.socket.connect = refuse
sys.argv = ["betabloom", "generate", "-n", "4", "--seed", "1", "-o", "new.png"]
from betabloom.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling", reason="what builds the wheel; it is in the extra dev")
    place = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", place], cwd=ROOT, check=True)
    (made,) = place.glob("*.whl")
    return made


def test_it_holds_the_package_its_models_and_nothing_else(wheel):
    assert wheel.name == f"betabloom-{__version__}-py3-none-any.whl"
    assert wheel.stat().st_size < LARGEST
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names} == {"betabloom", f"betabloom-{__version__}.dist-info"}
    source = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*") if path.is_file()}
    kept = {name for name in source if "__pycache__" not in name}
    assert {name for name in names if name.startswith("betabloom/")} == kept
    assert "betabloom/bundled/flowers64/model.safetensors" in kept


def test_installed_in_an_empty_place_it_draws_without_a_network(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    (tmp_path / "home").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "HOME": str(tmp_path / "home")}
    subprocess.run([sys.executable, "-c", NO_NETWORK], cwd=tmp_path / "home", env=environment, check=True)
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["new.png"]
