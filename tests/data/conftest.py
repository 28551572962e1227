"""Pictures made on the fly, and the real ones where they are at hand."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

REAL_DATA = Path(os.environ.get("BETABLOOM_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def _real(name: str) -> Path:
    path = REAL_DATA / name
    if not path.is_dir():
        pytest.skip(f"no {name} in {REAL_DATA}; set BETABLOOM_TEST_DATA to the folder that holds it")
    return path


@pytest.fixture(scope="session")
def flowers102_path() -> Path:
    return _real("flowers-102")


@pytest.fixture(scope="session")
def flower_photos_path() -> Path:
    return _real("flower-photos")


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests away from the caches, data and proxies of whoever runs them."""
    monkeypatch.setenv("BETABLOOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BETABLOOM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.chdir(tmp_path)


def picture(seed: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """A smooth colourful picture of (width, height) `size`."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def make_picture() -> Callable[..., Image.Image]:
    return picture


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 40 JPEGs."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(40):
        picture(i).save(folder / f"{i}.jpg")
    return folder


@pytest.fixture
def hashes() -> Callable[[Path], dict[str, str]]:
    def hash_all(folder: Path) -> dict[str, str]:
        files = (path for path in sorted(folder.rglob("*")) if path.is_file())
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    return hash_all
