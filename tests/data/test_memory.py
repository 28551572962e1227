"""A store may be larger than memory: what is kept of a picture while millions are prepared is a few numbers."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from betabloom.data import Pipeline, Source, prepare
from betabloom.errors import PictureError

TINY = Pipeline.named("square", (2, 2), 1)
BYTES_OF_NUMBERS = 120  # per picture, at most: index, digest, label, split, offsets, and copies of them


class Counted(Sequence[str]):
    """Long names that are made when they are asked for."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> str:  # type: ignore[override]
        return f"a folder of a long name/and another one in it/{index:012d} {'x' * 200}.jpg"


class Many(Source):
    """As many pictures as wanted, of which every tenth is bad for a reason of its own."""

    name = "many"

    def __init__(self, count: int) -> None:
        self.names, self.labels, self.splits = Counted(count), np.zeros(count, dtype=np.int64), {}

    def read(self, index: int) -> Image.Image:
        if index % 10 == 9:
            raise PictureError(f"bad number {index} {'y' * 100}")
        return Image.new("L", (2, 2), index % 251)

    def fingerprint(self) -> str:
        return f"many {len(self.names)}"


def _peak(count: int, cache: Path) -> int:
    tracemalloc.start()
    try:
        store = prepare(Many(count), TINY, cache=cache, workers=2)
        assert (len(store), len(store.skipped)) == (count * 9 // 10, count // 10)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_six_times_as_many_pictures_need_only_some_numbers_more(tmp_path: Path) -> None:
    _peak(100, tmp_path)
    few, many = _peak(1_000, tmp_path), _peak(6_000, tmp_path)
    assert many - few < 5_000 * BYTES_OF_NUMBERS


MILLION = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_memory import Many, TINY
from betabloom.data import prepare
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform != "darwin" else 1 << 20)
prepare(Many(1000), TINY, cache=Path(sys.argv[2]))
before = peak()
store = prepare(Many(1_000_000), TINY, cache=Path(sys.argv[2]))
train, held = store.split()
assert len(train) + len(held) == len(store) == len(store.names) == 900_000
assert len(store.skipped) == 100_000
assert store.names[-1] == Many(1_000_000).names[999_998]
assert store.skipped[-1]["reason"].startswith("bad number 999999")
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no getrusage on Windows")
def test_a_million_pictures_take_at_most_200_mb_more_than_a_thousand(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MILLION, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 200
