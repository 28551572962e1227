"""The page "Your own pictures" says what is so: its commands and its Python run, on pictures made for it."""

from __future__ import annotations

import io
import re
import shlex
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from betabloom.cli import main
from betabloom.data.sources.drawn import draw, sample_factors

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (Path(__file__).parents[2] / "docs" / "your-own-pictures.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def commands() -> Iterator[list[str]]:
    for block in blocks("sh"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


def encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def photos(folder: Path) -> list[Image.Image]:
    """The folder that the page shows the report of."""
    pictures = [Image.fromarray(draw(factors, (120, 160))) for factors in sample_factors(200, seed=14)]
    (folder / "holiday").mkdir(parents=True)
    for i, picture in enumerate(pictures):
        picture.save(folder / f"flower {i}.jpg")
    for i, factors in enumerate(sample_factors(11, seed=4)):
        Image.fromarray(draw(factors, (36, 48))).save(folder / "holiday" / f"small {i}.jpg")
    (folder / "holiday" / "copy of flower 7.jpg").write_bytes((folder / "flower 7.jpg").read_bytes())
    pictures[9].resize((64, 48)).save(folder / "holiday" / "flower 9 small.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(draw(sample_factors(1, seed=5)[0], (160, 120))).save(folder / "phone.jpg", exif=exif)
    Image.new("RGBA", (100, 100), (255, 0, 0, 90)).save(folder / "sticker.png")
    (folder / "cut.jpg").write_bytes(encoded(pictures[0])[:2000])
    (folder / "empty.jpg").touch()
    (folder / "page.jpg").write_text("<!DOCTYPE html><html>404</html>")
    for name in ("notes.txt", ".hidden.jpg"):
        (folder / name).touch()
    return pictures


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the page names."""
    place = tmp_path_factory.mktemp("own")
    pictures = photos(place / "photos")
    with zipfile.ZipFile(place / "photos.zip", "w") as archive:
        for i in range(5):
            archive.writestr(f"{i}.jpg", encoded(pictures[i]))
    (place / "flowers.csv").write_text("path,label\nphotos/flower 1.jpg,rose\nphotos/flower 2.jpg,tulip\n")
    np.savez(place / "flowers.npz", images=np.stack([np.asarray(picture) for picture in pictures[:4]]))
    (place / "shards").mkdir()
    for shard in range(2):
        with tarfile.open(place / "shards" / f"flowers-{shard}.tar", "w") as tar:
            for i in range(30 * shard, 30 * shard + 30):
                info, content = tarfile.TarInfo(f"{i:03}.jpg"), encoded(pictures[i].resize((48, 36)))
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    (place / "soft.yaml").write_text(blocks("yaml")[0])
    return place


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BETABLOOM_CACHE", str(place / "cache"))
    monkeypatch.chdir(place)


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert words[0] == "betabloom"
    if words[1] == "train" and "--steps" not in words:
        words = [*words, "--preset", "tiny", "--steps", "20"]  # the page trains for longer
    target = words[words.index(">") + 1] if ">" in words else None
    words = words[: words.index(">")] if ">" in words else words
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        code = 0
        try:
            main.main()
        except SystemExit as end:
            code = end.code
        assert not code, (words, capsys.readouterr().err)
    out = capsys.readouterr().out
    if target:
        Path(target).write_text(out)
    return out


TRAINING = ("train", "generate")


def test_every_command_that_looks_at_pictures_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = [run(words, capsys) for words in commands() if words[1] not in TRAINING]
    assert len(ran) > 12
    assert all(ran)
    for name in ("contact.png", "preview.png", "wide.png", "own.png", "soft.png"):
        with Image.open(place / name) as sheet:
            assert min(sheet.size) > 30


@pytest.mark.slow
def test_every_command_that_trains_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = [run(words, capsys) for words in commands() if words[1] in TRAINING]
    assert len(ran) >= 4
    assert all(ran)
    assert (place / "new.png").is_file()


def test_the_report_is_the_one_on_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["betabloom", "inspect", "photos"], capsys) == blocks("text")[0]


@pytest.mark.parametrize("code", blocks("python"), ids=range(len(blocks("python"))))
def test_the_python_runs(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code, "your-own-pictures.md", "exec"), {})
    printed = capsys.readouterr().out
    for shown in re.findall(r"# (\(\d+, .*?\))", code):
        assert shown in printed


def test_what_it_says_of_a_table_is_a_table(tmp_path: Path) -> None:
    from betabloom.data import Table

    (tmp_path / "t.csv").write_text(blocks("text")[1])
    assert Table(tmp_path / "t.csv").label_names == ["rose", "tulip"]
