"""Install the wheel and the sdist as strangers do, and try them: `make test-install`.

Each is installed into an empty virtual environment with the newest dependencies, and with the lowest that
pyproject.toml allows (torch is what TORCH says, as "torch==2.13.0"). Then, with an empty home and a network that
refuses, the bundled model draws, and a tiny one is trained and used.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SMOKE = """
import socket, sys
def refuse(*_): raise OSError("no network here")
socket.socket.connect = refuse
from betabloom.cli.main import run
run(["--version"])
run(["generate", "-n", "4", "--seed", "7", "-o", "new.png"])
run(["train", "drawn:40", "--preset", "tiny", "--size", "16", "--steps", "5", "-o", "run"])
run(["generate", "run", "-n", "4", "--seed", "7", "-o", "mine.png"])
run(["reconstruct", "run", "new.png", "-o", "again.png"])
run(["info", "new.png"])
"""
SHOWN = ("numpy", "pillow", "scipy", "matplotlib", "torch", "safetensors", "rich", "filelock", "pyyaml", "platformdirs")


def uv(*words: str | Path) -> None:
    links = (
        [f"--find-links={os.environ['PIP_FIND_LINKS']}"] if words[0] == "pip" and "PIP_FIND_LINKS" in os.environ else []
    )
    subprocess.run([sys.executable, "-m", "uv", *words, *links, "--quiet"], check=True)


def built(folder: Path) -> list[Path]:
    """The wheel and the sdist."""
    for kind in ("wheel", "sdist"):
        subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", folder], cwd=ROOT, check=True)
    return sorted(folder.iterdir())


def direct() -> list[str]:
    """What the package needs; named beside it, since only what is named is taken in its lowest version."""
    return [each for each in importlib.metadata.requires("betabloom") or [] if "extra ==" not in each]


def tried(package: Path, resolution: str, torch: str, place: Path) -> None:
    """Install one, and try it where there is nothing else."""
    environment, home = place / "venv", place / "home"
    home.mkdir(parents=True)
    uv("venv", environment)
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    words = ["pip", "install", "--python", python, "--resolution", resolution, package, *direct()]
    for each in direct():  # the lowest version that has a wheel for this Python; others would have to be compiled
        words += ["--only-binary", re.split(r"[^\w.-]", each)[0]]
    if torch:
        (place / "torch.txt").write_text(torch + "\n", encoding="utf-8")
        words += ["--override", place / "torch.txt"]
    uv(*words)
    listed = subprocess.run(
        [sys.executable, "-m", "uv", "pip", "list", "--quiet", "--python", python],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    versions = dict(line.split()[:2] for line in listed.splitlines()[2:])
    print(f"\n{package.name}, {resolution}:", *(f"{name} {versions.get(name, '?')}" for name in SHOWN), flush=True)
    alone = {"PATH": os.environ["PATH"], "HOME": str(home), "USERPROFILE": str(home)}
    subprocess.run([python, "-c", SMOKE], cwd=home, env=alone, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--torch", default=os.environ.get("TORCH", ""), help="a requirement that replaces that of torch"
    )
    parser.add_argument("--only", default="", help="wheel or sdist")
    parser.add_argument("--resolution", default="", help="highest or lowest-direct")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for package in built(Path(folder) / "dist"):
            size = package.stat().st_size
            print(f"{package.name}: {size / 1e6:.1f} MB")
            if asked.only and (package.suffix == ".whl") != (asked.only == "wheel"):
                continue
            for resolution in [asked.resolution] if asked.resolution else ["highest", "lowest-direct"]:
                tried(package, resolution, asked.torch, Path(folder) / f"{package.suffix[1:]}-{resolution}")
    print("\ninstalled and tried")


if __name__ == "__main__":
    main()
