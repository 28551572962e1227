"""What is put into a folder, an archive, shards or a table is used, listed as unusable or counted: nothing disappears.

Each source is filled at random: pictures that tell their number by their colour, damaged ones, other files, hidden
files, names of all kinds, links, names that occur twice. What comes out is compared with a plain account of what went
in.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
import tarfile
import time
import zipfile
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from betabloom.data import open_source, open_stream
from betabloom.errors import PictureError, SourceError

if TYPE_CHECKING:
    from pathlib import Path

WORDS = ["a", "B", "tulip", "été", "日本", "photo 22.05", "x.y", "10", "9", "-", "#1", "[z]", "o'clock", "1" * 60]
ENDINGS = [".png", ".PNG", ".jpg", ".bmp", ".txt", "", ".json", ".mask.png", ".xmp"]
PICTURES = (".png", ".jpg", ".bmp")


def colour(number: int) -> tuple[int, int, int]:
    return number // 16 * 16 + 8, number % 16 * 16 + 8, 128


def content(name: str, number: int, rng: random.Random) -> bytes:
    """A picture of its number's colour, or something that is none."""
    if not name.lower().endswith(PICTURES) or rng.random() < 0.15:
        return b"no picture"
    out = io.BytesIO()
    Image.new("RGB", (24, 24), colour(number)).save(out, "BMP" if name.lower().endswith(".bmp") else "PNG")
    return out.getvalue()


def entries(rng: random.Random) -> list[tuple[str, bytes]]:
    """Up to 40 files with their relative names; some names occur twice, but none is a folder of another."""
    found = []
    for number in range(rng.randrange(1, 40)):
        folders = [rng.choice(WORDS) + "_d" for _ in range(rng.choice((0, 0, 1, 2)))]
        name = "/".join([*folders, ("." if rng.random() < 0.1 else "") + rng.choice(WORDS) + rng.choice(ENDINGS)])
        found.append((name, content(name, number, rng)))
    return found


def is_picture(name: str) -> bool:
    return name.lower().endswith(PICTURES) and not name.rpartition("/")[2].startswith(".")


def usable(data: bytes) -> tuple[int, ...] | None:
    """The colour of a picture, or None."""
    try:
        return Image.open(io.BytesIO(data)).convert("RGB").getpixel((0, 0))
    except OSError:
        return None


def seen_in(source) -> dict[str, tuple[int, ...] | None]:
    """What each listed name stands for: its colour, or None where it is named as unusable."""
    seen = {}
    for index, name in enumerate(source.names):
        try:
            seen[name] = source.read(index).convert("RGB").getpixel((0, 0))
        except PictureError:
            seen[name] = None
    return seen


def check(path: Path, wanted: dict[str, tuple[int, ...] | None], others: int) -> None:
    """What is listed is `wanted`; everything else is counted."""
    try:
        source = open_source(path)
    except SourceError:
        if wanted:
            raise
        return
    assert seen_in(source) == wanted
    assert sum(source.left_alone.values()) == others, dict(source.left_alone)


def folder_round(place: Path, rng: random.Random) -> None:
    files = dict(entries(rng))
    if os.path.normcase("A") == "a":
        files = {name.lower(): data for name, data in files.items()}
    for name, data in files.items():
        (place / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "f" / name).write_bytes(data)
    pictures = {name: usable(data) for name, data in files.items() if is_picture(name)}
    check(place / "f", pictures, len(files) - len(pictures))


def zip_round(place: Path, rng: random.Random) -> None:
    files = entries(rng)
    with zipfile.ZipFile(place / "z.zip", "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, data in files:
            if name in archive.namelist():
                with pytest.warns(UserWarning, match="Duplicate"):
                    archive.writestr(name, data)
            else:
                archive.writestr(name, data)
    pictures = {name: usable(data) for name, data in files if is_picture(name)}
    check(place / "z.zip", pictures, len(files) - len(pictures))


def tar_round(place: Path, rng: random.Random) -> None:
    kind = rng.choice(("", ":gz", ":bz2", ":xz"))
    files, links = entries(rng), {}
    with tarfile.open(place / "t.tar", f"w{kind}") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for number in range(rng.randrange(4)):
            info = tarfile.TarInfo(f"link{number}.png")
            info.type, target = rng.choice((tarfile.LNKTYPE, tarfile.SYMTYPE)), rng.choice([*files, ("gone.png", b"")])
            info.linkname = target[0]
            links[info.name] = target[0]
            archive.addfile(info)
    last = dict(files)
    pictures = {name: usable(data) for name, data in last.items() if is_picture(name)}
    pictures |= {name: pictures[target] for name, target in links.items() if target in pictures}
    ending = "tar" + kind.replace(":", ".")
    (place / "t.tar").rename(place / f"t.{ending}")
    check(place / f"t.{ending}", pictures, len(files) + len(links) - len(pictures))


def shard_round(place: Path, rng: random.Random) -> None:
    files = entries(rng)
    with tarfile.open(place / "s-0.tar", "w") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    stream = open_stream(f"{place}/s-*.tar")
    came = [image.convert("RGB").getpixel((0, 0)) for _, image, _ in stream]
    put_in = [usable(data) for name, data in files if is_picture(name)]
    assert len(came) + stream.skipped.count >= len(put_in)
    assert set(came) <= set(put_in)


def table_round(place: Path, rng: random.Random) -> None:
    """Rows with labels before or behind the path, without a path, with strange cells; as CSV, TSV and JSON lines."""
    files = [(name.replace("/", "_"), data) for name, data in entries(rng)]
    files = [(name, data) for name, data in dict(files).items() if is_picture(name)]
    for name, data in files:
        (place / name).write_bytes(data)
    rows = [
        {"label": rng.choice(["rose", "a,b", 'q"q', "line\u2028sep", "two\nlines", ""]), "path": n} for n, _ in files
    ]
    rows += [{"label": "nothing", "path": ""} for _ in range(rng.randrange(3))]
    rows += [{"label": "gone", "path": f"gone{number}.png"} for number in range(rng.randrange(3))]
    rng.shuffle(rows)
    ending = rng.choice(("csv", "tsv", "jsonl"))
    with (place / f"t.{ending}").open("w", encoding="utf-8", newline="") as file:
        if ending == "jsonl":
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(file, ["label", "path"], delimiter="," if ending == "csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    if not files:
        return
    source = open_source(place / f"t.{ending}")
    assert len(source) + sum(source.left_alone.values()) == len(rows)
    seen = seen_in(source)
    assert {name: seen[name] for name, _ in files} == {name: usable(data) for name, data in files}
    assert all(value is None for name, value in seen.items() if name not in dict(files))
    assert source.labels is None or len(source.labels) == len(source)


ROUNDS = [folder_round, zip_round, tar_round, shard_round, table_round]


@pytest.mark.parametrize("play", ROUNDS)
def test_nothing_disappears(play, tmp_path):
    for seed in range(5):
        (tmp_path / str(seed)).mkdir()
        play(tmp_path / str(seed), random.Random(seed))


@pytest.mark.slow
@pytest.mark.parametrize("play", ROUNDS)
def test_nothing_disappears_in_many_more(play, tmp_path):
    begun, seed = time.monotonic(), 1000
    while time.monotonic() - begun < 6:
        (tmp_path / str(seed)).mkdir()
        play(tmp_path / str(seed), random.Random(seed))
        seed += 1
