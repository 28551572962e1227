"""What all tests share."""

from __future__ import annotations

import json
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: busy neighbours must not slow tests down

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from betabloom import data
from betabloom.config import Config
from betabloom.model.model import Model
from betabloom.training import loop
from betabloom.vae.build import make_vae

torch.set_num_threads(1)

TINY = {
    "height": 16, "width": 16, "family": "conv", "widths": "8,16", "latents": 6, "batch": 16, "steps": 20,
    "warmup_steps": 4, "validations": 2, "device": "cpu", "precision": "fp32",
}  # fmt: skip

if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests that were started by nohup send it, too

# Forks a process that has imported all already for every request that it reads, and tells its number; asked for the end
# of one, waits for it and tells its exit code.
FORKS = """
import atexit, faulthandler, json, os, sys
import matplotlib.backends.backend_agg, scipy, torch
from betabloom import data, library
from betabloom.cli import main
from betabloom.data.inspection import inspect
from betabloom.data.sources import drawn
from betabloom.reports import evaluate, run_page
from betabloom.training import loop, finish, validate
torch.set_num_threads(1)

def run(request):
    os.setpgid(0, 0)
    for number, name in enumerate((os.devnull, request["out"], request["err"])):
        how = os.O_WRONLY | os.O_CREAT | os.O_APPEND if number else os.O_RDONLY
        os.dup2(os.open(name, how), number)
    faulthandler.dump_traceback_later(request["seconds"], exit=True)
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["cwd"])
    sys.argv = request["argv"]
    code = 0
    try:
        exec(request["program"], {"__name__": "__main__"})
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 99
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

for line in sys.stdin:
    request = json.loads(line)
    if "end" in request:
        print(os.waitstatus_to_exitcode(os.waitpid(request["end"], 0)[1]), flush=True)
        continue
    pid = os.fork()
    if not pid:
        run(request)
    print(pid, flush=True)
"""
COMMAND_LINE = "from betabloom.cli.main import main; main()"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests may take an hour each; others have the seconds that pyproject.toml gives."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(3600))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Programs end a little before the time of the test is over, and tell where they hang."""
    Forks.seconds = 3500 if item.get_closest_marker("slow") else 270


class Forks:
    """Runs programs, the command line above all, in processes of their own without importing torch again."""

    seconds = 270

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def start(self, words, cwd, out, err, program=COMMAND_LINE) -> int:
        """The number of a process that runs a program and appends what it prints to the files out and err."""
        request = {"argv": ["betabloom", *map(str, words)], "cwd": str(cwd), "out": str(out), "err": str(err)}
        return self._ask({**request, "program": program, "environ": dict(os.environ), "seconds": self.seconds})

    def end(self, pid: int) -> int:
        """Wait for a process, and return its exit code."""
        return self._ask({"end": pid})

    def run(self, words, cwd, program=COMMAND_LINE) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            code = self.end(self.start(words, cwd, out, err, program))
            return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())

    def close(self) -> None:
        self.process.communicate()

    def _ask(self, request: dict[str, object]) -> int:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


class Processes:
    """The same where there is no fork: everything is imported again for every program."""

    def run(self, words, cwd, program=COMMAND_LINE) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, *map(str, words)]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)

    def close(self) -> None:
        pass


@pytest.fixture(scope="session")
def processes():
    """What runs the command line, or another program, in a process of its own."""
    started = Forks() if hasattr(os, "fork") else Processes()
    yield started
    started.close()


@pytest.fixture(scope="session")
def betabloom(processes):
    """Run the command line as a person would, and return (stdout, stderr)."""

    def run(*words, cwd, code=0):
        result = processes.run(words, cwd)
        assert result.returncode == code, result.stderr
        assert "Traceback" not in result.stderr
        return result.stdout, result.stderr

    return run


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    """Settings of a training that takes a second."""
    return Config.preset("tiny", **TINY)


@pytest.fixture(scope="session")
def small_store() -> data.Store:
    """Sixty drawn flowers at 16×16, in memory."""
    source = data.Drawn(60, seed=3, size=32)
    pipeline = data.Pipeline.named("square", (16, 16))
    pictures = np.stack([pipeline(source.read(index)) for index in range(len(source))])
    return data.Store.from_array(pictures, names=source.names, labels=source.labels)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory, small_store, tiny_config) -> Path:
    """A model directory of a model that learned from the sixty flowers; not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("tiny") / "model"
    loop.train(small_store, tiny_config).save(folder)
    return folder


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 680 KB."""
    place = tmp_path / "disk"
    place.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root on Linux")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=680k", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A model that nobody trained, alone in a folder: it draws coloured noise."""
    torch.manual_seed(5)
    config = Config.preset("tiny", height=32, width=32, latents=8, family="residual", widths=(8, 16))
    vae = make_vae(config).requires_grad_(False).eval()
    for weight in vae.decoder.parameters():
        if weight.ndim > 1:
            weight.mul_(2.5)
    folder = tmp_path_factory.mktemp("noise") / "model"
    Model(vae, config, data.Pipeline.named("square", (32, 32), 3), {"source": "noise"}).save(folder)
    return folder
