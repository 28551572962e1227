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
import re, resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_memory import Many, TINY
from betabloom.data import prepare
prepare(Many(1000), TINY, cache=Path(sys.argv[2]))
kilobytes = int(re.search(r"VmData:\\s+([0-9]+) kB", Path("/proc/self/status").read_text())[1])
resource.setrlimit(resource.RLIMIT_DATA, (1024 * kilobytes + int(sys.argv[3]) * 1_000_000,) * 2)
store = prepare(Many(1_000_000), TINY, cache=Path(sys.argv[2]))
train, held = store.split()
assert len(train) + len(held) == len(store) == len(store.names) == 900_000
assert len(store.skipped) == 100_000
assert store.names[-1] == Many(1_000_000).names[999_998]
assert store.skipped[-1]["reason"].startswith("bad number 999999")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory that does not map files is Linux's")
def test_a_million_pictures_are_prepared_and_split_within_100_mb_more(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MILLION, str(Path(__file__).parent), str(tmp_path), "100"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
