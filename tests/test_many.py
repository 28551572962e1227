"""Generation of many: some in memory at a time, and each the picture that it is when all are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from betabloom.generate import drawing
from betabloom.imaging.files import write_each
from betabloom.imaging.output import read_record
from betabloom.model.without_torch import open_without_torch
from betabloom.seeds import pieces_of

GOLDEN = Path(__file__).parent / "golden" / "version-1"


def generate(folder, *words, measured=False):
    """Run `betabloom generate` in a process of its own; its stdout, or the most memory that it allocated, in bytes."""
    program = "import sys, tracemalloc\nfrom betabloom.cli.main import main\n"
    if measured:  # modules and their tables are loaded before the count begins
        program += (
            "import numpy, PIL.PngImagePlugin, betabloom.model.without_torch, betabloom.generate.writing\n"
            "tracemalloc.start()\ntry: main()\nfinally: print(tracemalloc.get_traced_memory()[1])\n"
        )
    else:
        program += "main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "generate", str(GOLDEN), *map(str, words)],
        capture_output=True, text=True, cwd=folder, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1]) if measured else done.stdout


def test_files_of_many_are_the_pictures_that_are_in_memory(tmp_path):
    n = drawing.MOST_AT_ONCE + 70  # more than one piece
    generate(tmp_path, "-n", n, "--seed", 5, "-o", "each")
    pictures = open_without_torch(GOLDEN).generate(n, seed=5)
    files = sorted((tmp_path / "each").iterdir())
    assert [file.name for file in files] == [f"{i:06}.png" for i in range(n)]
    assert np.array_equal(np.stack([np.asarray(Image.open(file)) for file in files]), pictures)
    assert [read_record(file)["start"] for file in files[::97]] == list(range(0, n, 97))


def test_memory_does_not_grow_with_their_number(tmp_path):
    few = generate(tmp_path, "-n", 2200, "-o", "few", measured=True)  # 18 pieces: some three are in memory at a time
    many = generate(tmp_path, "-n", 6600, "-o", "many", measured=True)
    assert len(list((tmp_path / "many").iterdir())) == 6600
    assert many < few + 1_700_000  # the pictures alone that are more have 3.4 MB; threads meet differently each time


def test_json_names_every_file(tmp_path):
    facts = json.loads(generate(tmp_path, "-n", 600, "-o", "each", "--named", "--json"))
    assert facts["n"] == len(set(facts["made"])) == len(facts["name"]) == 600
    assert all((tmp_path / file).is_file() for file in facts["made"])


def test_pieces_name_every_number_once_and_are_never_larger(tmp_path):
    numbers = [*range(3, 140), 7, 200, *range(500, 503)]
    pieces = list(pieces_of(lambda first, count: np.arange(first, first + count), numbers, at_once=64))
    assert [i for _, names in pieces for i in names] == numbers
    assert all(np.array_equal(drawn, names) and len(names) <= 64 for drawn, names in pieces)


def test_at_most_two_pieces_are_in_memory(tmp_path):
    """The third is not asked for before the first is written."""
    size = 20

    def pieces():
        for piece in range(5):
            assert len(list(tmp_path.glob("*.png"))) >= size * (piece - 1)
            pictures = np.full((size, 8, 8, 3), piece, np.uint8)
            yield [(size * piece + i, picture, {}) for i, picture in enumerate(pictures)]

    assert write_each(pieces(), tmp_path) == 5 * size
    assert len(list(tmp_path.iterdir())) == 5 * size


def test_what_cannot_be_written_stops_it(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        write_each([[(0, np.zeros((8, 8, 3), np.uint8), {})]], tmp_path / "file" / "folder")


def test_pieces_of_large_pictures_are_small():
    class Large:
        class config:  # noqa: N801
            shape = (3, 512, 512)

    assert drawing.at_once(Large) == drawing.BATCH
    assert drawing.at_once(open_without_torch(GOLDEN)) == drawing.MOST_AT_ONCE
